"""Make the cards here, and the files beside the weights of the bundled model.

python model_cards/build.py [EVALUATION ...]

NAME.yaml holds the stated facts: `common`, and those of each kind of model. All figures come from
NAME.results*.json, which `hf-lip2speech evaluate` wrote; an EVALUATION, a folder that it wrote, replaces the
one of the same corpus. The composite's card and the results also go beside the bundled weights, so that
`hf-lip2speech publish bundled` publishes them, with what the model says of the drawn talker
(examples/sample/talker.mp4): samples/talker.flac, which the card plays, and docs/talker_speaks.mp4.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_lip2speech.cards import HERE as THIS_FOLDER
from hf_lip2speech.cards import KINDS, model_card, read_facts
from hf_lip2speech.evaluation.results import read_results
from hf_lip2speech.loading import BUNDLED, BUNDLED_NAME
from hf_lip2speech.media.audio import write_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.pipeline import load_pipeline
from hf_lip2speech_cli import make_parser

HERE = Path(__file__).parent
NAME = "lip2speech_grid_s1"
SAMPLE = "samples/talker.flac"
SUFFIXES = dict(zip(KINDS, ("", "_lip2speech", "_vocoder", "_unit_extractor"), strict=True))
# By corpus: the results' file, and the name of the data in the command that made them.
EVALUATED = {"grid": ("results.json", "GRID_DIR"), "rendered": ("results_rendered.json", "RENDERED")}


def take_results(evaluation: Path) -> Path:
    """Copy an evaluation's results.json to its place here, without local paths in its command."""
    results = read_results(evaluation / "results.json")
    facts = results["facts"]
    name, data = EVALUATED[facts["corpus"]]
    said = make_parser().parse_args(facts["command"][1:])
    names = {said.model: BUNDLED_NAME, said.dataset: data, said.out: "DIR"}
    facts["command"] = [names.get(word, word) for word in facts["command"]]
    facts["model"] = NAME
    path = HERE / f"{NAME}.{name}"
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def files() -> dict[Path, str]:
    """The contents of each file."""
    facts = read_facts(HERE / f"{NAME}.yaml")
    paths = sorted(HERE.glob(f"{NAME}.results*.json"))
    texts = {BUNDLED / path.name.removeprefix(f"{NAME}."): path.read_text(encoding="utf-8") for path in paths}
    results = [read_results(path) for path in paths]

    def card(kind: str, repo_id: str, samples: Sequence[str] = ()) -> str:
        stated = facts["common"] | facts[kind]
        return str(model_card(kind, stated, results, repo_id=repo_id, samples=samples))

    made = {
        HERE / f"{NAME}{suffix}.md": card(kind, f"user/{NAME}{suffix}") for kind, suffix in SUFFIXES.items()
    }
    return made | {BUNDLED / "README.md": card(KINDS[0], THIS_FOLDER, [SAMPLE])} | texts


def speak() -> None:
    """Let the bundled model speak for the drawn talker."""
    root = HERE.parent
    video = root / "examples" / "sample" / "talker.mp4"
    speech = load_pipeline(device="cpu")(str(video))
    write_audio(BUNDLED / SAMPLE, speech["audio"], speech["sampling_rate"])
    mux_speech(video, speech["audio"], root / "docs" / "talker_speaks.mp4", speech["sampling_rate"])


if __name__ == "__main__":
    for evaluation in sys.argv[1:]:
        print(take_results(Path(evaluation)))
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path)
    speak()
