"""What a plain installation can do, and what is said where an extra is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hf_lip2speech_extras as extras
from hf_lip2speech.errors import MissingExtraError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech_extras import EXTRAS, needs_extra, require_extra, requirement

from .conversion.published_files import small_lip2speech
from .documentation.stand_ins import TALKER
from .test_package import ROOT, declared, distributions
from .tiny_model import tiny_model
from .training.prepared_folder import write_prepared_folder

RUN_ALL = """
import contextlib, io, json, runpy, sys
lines, blocked = json.load(sys.stdin)
for name in blocked:
    sys.modules[name] = None
import hf_lip2speech_cli as cli
done = []
for program, *arguments in lines:
    err, sys.argv = io.StringIO(), [program, *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            code = cli.main(arguments) if program == "cli" else 0
            program == "cli" or runpy.run_path(program, run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
            if isinstance(code, str):
                code = print(code, file=err) or 1
        except BaseException as error:
            code = repr(error)
    done.append((code, err.getvalue()))
print(json.dumps(done))
"""
# Without any extra: None for what works, else how the one line of the error ends.
PLAIN = {
    "cli speak mouth.mp4 -m model --cropped": None,
    "cli speak mouth.mp4 -m model --cropped -o x.wav --plot x.png": '[plot]"',
    "cli compose model/lip2speech model/vocoder composed --units prepared": None,
    "cli compose model/lip2speech model/vocoder composed2 --voices prepared": '[train]"',
    "cli compose bundled bundled composed3": None,
    "cli convert published/lip2speech.pt converted": None,
    "cli convert --composite published/lip2speech.pt model/vocoder converted2": None,
    "cli prepare folder videos out --units mfcc": '[train]"',
    "cli personalise videos mine": '[train,eval,pitch]"',
    "cli render out --clips 1": '[render]"',
    "cli reface folder videos prepared videos out": '[render,train]"',
    "cli evaluate model videos --out out": '[eval]"',
    "cli demo -m model": '[demo]"',
    "cli record prompts.txt videos": '[demo]"',
    "cli export model exported": '[onnx]"',
    "cli speak mouth.mp4 -m model --cropped --engine ray": '[ray]"',
    "cli live": '[live]"',
    "cli publish bundled anna/ann": "or set HF_TOKEN.",
    "examples/train.py lrs3.yaml": '[train]"',
    "examples/train_vocoder.py lrs3_vocoder.yaml": '[train]"',
    "examples/train_flow.py bundled_flow.yaml": '[train]"',
    "examples/ablations/run.py prepared prepared --out runs": '[train]"',
    "scripts/measure_limits.py prepared": '[eval]"',
    "scripts/measure_loader.py prepared": '[train]"',
    "scripts/measure_throughput.py examples/train.py lrs3.yaml": '[train]"',
    "scripts/measure_flow.py prepared model": '[eval]"',
    "scripts/measure_voices.py prepared": '[eval]"',
    "scripts/revoice.py prepared revoiced": '[train]"',
}


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.figure"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(module):
    with pytest.raises(
        MissingExtraError, match=r'^no_such_library is not installed.*pip install ".*\[plot\]"'
    ):
        require_extra(module, "plot")


def test_a_script_ends_with_a_line_that_names_the_extra(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["examples/train.py"])
    with pytest.raises(SystemExit, match=r'^train.py: error: no_such_library is not installed.*\[train\]"$'):
        with needs_extra("train"):
            import no_such_library  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="hf_lip2speech.nowhere"), needs_extra("train"):
        import hf_lip2speech.nowhere  # noqa: F401


def test_what_an_installed_library_lacks_is_said_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="^No module named 'no_such_library'"):
        require_extra("broken_library", "plot")


def test_in_a_clone_the_advice_is_to_install_the_clone(monkeypatch, tmp_path):
    clone = Path(__file__).parents[1]
    monkeypatch.chdir(clone)
    assert requirement("train") == ".[train]"
    monkeypatch.chdir(tmp_path)
    assert requirement("train") == f"{clone}[train]"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "hf-lip2speech[train]"),
        ({"url": "file:///nowhere/clone", "dir_info": {}}, ".[train]"),
        ({"url": "file://{here}", "dir_info": {}}, "{here}[train]"),
        (
            {"url": "https://host/x.git", "vcs_info": {"vcs": "git"}},
            "hf-lip2speech[train] @ git+https://host/x.git",
        ),
    ],
    ids=["an index", "a clone that is gone", "a clone", "a repository"],
)
def test_elsewhere_the_advice_is_what_the_package_was_installed_from(monkeypatch, tmp_path, origin, expected):
    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return origin and json.dumps(origin).replace("{here}", str(tmp_path))

    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site" / "hf_lip2speech_extras.py"))
    monkeypatch.setattr(extras, "distribution", lambda name: Distribution())
    assert requirement("train") == expected.format(here=tmp_path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, tuple[int | str, str]]:
    """Every command and script, one after the other in one interpreter without the packages of the extras."""
    folder = tmp_path_factory.mktemp("plain")
    model = tiny_model()
    for name, part in {"": model, "lip2speech": model.lip2speech, "vocoder": model.vocoder}.items():
        part.save_pretrained(folder / "model" / name)
    Lip2SpeechFeatureExtractor().save_pretrained(folder / "model")
    write_prepared_folder(folder / "prepared", train=1, val=1)
    (folder / "videos").mkdir()
    (folder / "prompts.txt").write_text("bin blue at f two now")
    (folder / "mouth.mp4").symlink_to(folder / "prepared" / "video" / "s1" / "clip0.mp4")
    (folder / "videos" / "talker.mp4").symlink_to(TALKER)
    (folder / "published").mkdir()
    small_lip2speech(folder / "published")
    for scripts in ("examples", "scripts"):
        (folder / scripts).symlink_to(ROOT / scripts)
    optional = declared("all", "pitch") | declared(*EXTRAS.values())
    blocked = [name for name, brought_by in distributions().items() if brought_by & (optional - declared())]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps([[line.split() for line in PLAIN], blocked]),
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(PLAIN, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("line", PLAIN)
def test_without_extras_a_command_works_or_names_the_extra_in_one_line(plain, line):
    code, said = plain[line]
    if PLAIN[line] is None:
        assert code == 0, said
        return
    assert code == 1, said
    assert said.strip().splitlines()[-1].endswith(PLAIN[line]) and "Traceback" not in said


AT_ONCE = """
import json, sys
for name in ("pyarrow", "gradio", "pesq", "cv2"):
    sys.modules[name] = None
import hf_lip2speech_cli as cli
for line in ("prepare folder . out", "demo", "evaluate bundled . --out out", "render out --clips 1"):
    assert cli.main(line.split()) == 1
assert not {"torch", "transformers", "hf_lip2speech"} & {*sys.modules}, "the package was imported"
"""


def test_a_command_says_what_it_lacks_before_it_imports_anything(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    extras_named = [line.rpartition("[")[2] for line in done.stderr.splitlines()]
    assert extras_named == ['train]"', 'demo]"', 'eval]"', 'render]"']
