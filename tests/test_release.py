"""What is released: a changelog, a citation, and a wheel that speaks where nothing else is installed."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import hf_lip2speech
from hf_lip2speech.evaluation.metrics import wer
from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid
from hf_lip2speech.media.audio import read_audio

ROOT = Path(__file__).resolve().parents[1]
TORCH = "2.13.0"
KINDS_OF_CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
LICENCES = ["LICENSE", "LICENSE-WEIGHTS", "NOTICE"]
# What the package reads at run time, besides its code.
SHIPPED = {
    "hf_lip2speech/py.typed",
    "hf_lip2speech/assets/face/face_detection_short_range.tflite",
    "hf_lip2speech/assets/face/face_landmark.tflite",
    "hf_lip2speech/assets/speaker_encoder/model.safetensors",
    "hf_lip2speech/templates/evaluation.html",
    "hf_lip2speech/hub/sample/talker.mp4",
    "hf_lip2speech/templates/model.md",
}


def test_the_changelog_has_the_form_of_keep_a_changelog_and_knows_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one) for one in versions)
    assert {*re.findall(r"^### (.+)$", text, re.MULTILINE)} <= KINDS_OF_CHANGES
    assert hf_lip2speech.__version__ in text


def test_the_citation_names_the_software_and_the_paper_and_repeats_no_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= {*citation} and "version" not in citation
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Choi", "Kim", "Ro"]
    assert "2305.19603" in paper["identifiers"][0]["value"]


def run(*command: object, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=1800, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


def contents(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


@pytest.mark.slow
def test_the_sdist_gives_the_wheel_that_the_repository_gives_and_both_pass_twine(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT)
    (other,) = tmp_path.glob("*.whl")
    assert wheel.name == other.name and contents(wheel) == contents(other)
    assert f"-{hf_lip2speech.__version__}-" in wheel.name
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_the_repository_holds_and_nothing_else(built):
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout: what belongs to the repository cannot be told")
    tracked = {*run("git", "ls-files", cwd=ROOT).splitlines()}
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    assert packed - tracked == {"PKG-INFO"}
    code = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert code == {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    bundled = {name for name in code if "/assets/lip2speech_" in name}
    assert [name.rpartition("/")[2] for name in contents(wheel) if "/licenses/" in name] == LICENCES
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        assert b"\nLicense-Expression: Apache-2.0 AND CC-BY-NC-4.0\n" in archive.read(metadata)
    assert code >= SHIPPED and any(name.endswith("model.safetensors") for name in bundled)


@pytest.mark.slow
def test_the_wheel_speaks_in_an_environment_of_its_own(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    bin_ = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = (bin_ / "python", "-m", "pip", "install", "--quiet")
    run(*pip, f"torch=={TORCH}")
    run(*pip, wheel)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    sample = ROOT / "examples" / "sample"
    speak = (
        bin_ / "hf-lip2speech",
        "speak",
        sample / "talker.mp4",
        "-o",
        "speech.wav",
        "--video",
        "speech.mp4",
    )
    # an empty home: neither a cache nor a token; offline: nothing may be fetched
    run(*speak, cwd=tmp_path, env=clean | {"HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"})
    heard = PocketsphinxGrid()(read_audio(tmp_path / "speech.wav"))
    assert wer([(sample / "talker.txt").read_text().strip()], [heard]) <= 1 / 6, heard
    assert (tmp_path / "speech.mp4").is_file()
    typed = run(
        bin_ / "python", "-c", "import hf_lip2speech as h; print(h.__version__, h.__file__)", env=clean
    )
    assert typed.split()[0] == hf_lip2speech.__version__ and str(tmp_path) in typed
