"""Model cards: the filled ones are what the templates make, and each says what a card has to say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from hf_lip2speech import Lip2SpeechWithVocoder
from hf_lip2speech.cards import KINDS, model_card, read_facts
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.evaluation.measures import MEASURES
from hf_lip2speech.evaluation.systems import ROWS, fingerprint
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.pipeline import load_pipeline
from hf_lip2speech.results_text import summary

from ..conftest import load_script
from ..hub_server.cards import problems
from .conftest import FACTS, some_results

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "model_cards"
SECTIONS = ("What it is for, and what not", "Evaluation", "How to use it", "Licence")
FOLDED = ("Limits", "Intended use", "Misuse", "Training data", "Training")
SCREEN = 60  # lines of a card before the first that is folded


@pytest.fixture(scope="module")
def build():
    return load_script("model_cards/build.py")


def test_the_filled_cards_are_what_the_templates_make_of_facts_and_results(build):
    made = build.files()
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python model_cards/build.py"
    assert {path.name for path in CARDS.glob("*.md")} - {"README.md"} == {
        path.name for path in made if path.parent == CARDS
    }
    beside = {path.name for path in build.BUNDLED.iterdir()}
    assert {"README.md", "results.json"} <= {path.name for path in made if path.parent == build.BUNDLED}
    assert not [name for name in beside if "results" in name and build.BUNDLED / name not in made]


def test_the_figures_are_those_of_the_weights_beside_them(build):
    model = Lip2SpeechWithVocoder.from_pretrained(build.BUNDLED)
    for path in build.BUNDLED.glob("results*.json"):
        results = json.loads(path.read_text(encoding="utf-8"))
        assert results["facts"]["weights_sha256"] == fingerprint(model), f"{path.name} is of other weights"


def test_the_sample_is_what_the_weights_beside_it_say_of_the_drawn_talker(build):
    speech = load_pipeline(device="cpu")(str(ROOT / "examples" / "sample" / "talker.mp4"))["audio"]
    sample = read_audio(build.BUNDLED / build.SAMPLE)
    shown = read_audio(ROOT / "docs" / "talker_speaks.mp4")[: len(speech)]
    for sound in (sample, shown):
        assert np.corrcoef(sound, speech[: len(sound)])[0, 1] > 0.9, "run python model_cards/build.py"


def test_an_evaluation_is_taken_without_this_machines_paths(build, tmp_path, monkeypatch):
    results = json.loads((build.BUNDLED / "results.json").read_text(encoding="utf-8"))
    said = ["hf-lip2speech", "evaluate", "/here/model", "/here/grid", "--split", "val", "--out", "/here/out"]
    results["facts"] |= {"command": said, "model": "/here/model"}
    (tmp_path / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(build, "HERE", tmp_path)
    taken = build.take_results(tmp_path)
    assert taken.name == "lip2speech_grid_s1.results.json" and "/here/" not in taken.read_text()
    assert taken.read_text(encoding="utf-8") == (CARDS / taken.name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(CARDS.glob("lip2speech*.md")), ids=lambda path: path.stem)
def test_the_hub_finds_nothing_wrong_with_a_filled_card(path):
    content = path.read_text(encoding="utf-8")
    assert problems(content) == []
    card = ModelCard(content)
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


def test_the_bundled_models_card_names_data_recipe_and_licence():
    card = ModelCard.load(CARDS / "lip2speech_grid_s1.md")
    assert card.data.license == "cc-by-nc-4.0"
    text = " ".join(card.text.split())
    for said in (
        "Cooke",
        "2006",
        "890",
        "680 clips",
        "awb, kal, rms and slt",
        "bundled.yaml",
        "max_av_offset: 3",
        "51 words",
    ):
        assert said in text, said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("results", [None, "some"], ids=["unmeasured", "measured"])
def test_every_card_has_every_section_and_valid_metadata(kind, results):
    results = some_results() if results else None
    card = model_card(kind, yaml.safe_load(FACTS), results, repo_id="anna/small")
    assert re.findall(r"^## (.+)$", card.text, re.MULTILINE) == list(SECTIONS)
    assert re.findall(r"^### (.+)$", card.text, re.MULTILINE) == list(FOLDED)
    unfolded = re.sub(r"(?s)<details>.*?</details>\n*", "", card.text)
    assert unfolded.count("\n") < SCREEN and not set(FOLDED) & set(
        re.findall(r"^#+ (.+)$", unfolded, re.MULTILINE)
    )
    assert card.text.count("<details>") == card.text.count("</details>")
    assert "covert listening" in card.text and "impersonation" in card.text
    assert '"anna/small"' in card.text and "{{" not in card.text and "None" not in card.text
    assert "\n\n\n" not in card.text
    again = ModelCard(str(card))
    assert again.data.to_dict() == card.data.to_dict()
    assert card.data.tags == ["lip-to-speech", "video-to-speech"]
    assert card.data.library_name == "transformers" and card.data.language == ["en"]
    if results:
        assert "| end-to-end | 33.3" in card.text and "recogniser: pocketsphinx" in card.text
    else:
        assert "No measurements came with these weights" in card.text
    measured_whole = bool(results) and kind == "lip2speech_with_vocoder"
    assert bool(card.data.eval_results) == measured_whole
    assert problems(str(card)) == []


def test_a_card_shows_one_table_of_two_rows_and_four_measures_and_links_the_glossary_once():
    card = model_card(
        KINDS[0], {"title": "Small"}, [some_results(), some_results()], samples=["samples/a.wav"]
    )
    unfolded = re.sub(r"(?s)<details>.*?</details>", "", card.text)
    table = [line for line in unfolded.splitlines() if line.startswith("|")]
    assert [re.split(r"\s*\|\s*", line)[1] for line in table] == ["", "---", "ground truth", "end-to-end"]
    assert len(table[0].split("|")) - 3 <= 4
    assert unfolded.index("<audio") < unfolded.index(table[0]) < unfolded.index("## How to use it")
    assert card.text.count("docs/glossary.md") == 1


def test_the_glossary_explains_every_measure_and_row():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = ("ground_truth", "copy_synthesis", "end_to_end", "shuffled", "noise")
    for name in [*(measure.label for measure in MEASURES), *(ROWS[row][0] for row in rows)]:
        assert name in text, name


def test_several_evaluations_share_a_section():
    card = model_card(KINDS[0], {"title": "Small"}, [some_results(), some_results()])
    assert (
        card.text.count("## Evaluation") == 1 and card.text.count("**Two clips, split test, 2 clips**") == 2
    )


@pytest.mark.parametrize(
    ("split", "note"),
    [
        ("val", "chose the model, the figures are optimistic"),
        ("test", "chose nothing"),
        ("train", "trained on"),
    ],
)
def test_a_table_says_whether_its_clips_chose_the_model(split, note):
    results = some_results()
    results["facts"]["split"] = split
    text = model_card(KINDS[0], {"title": "Small"}, results).text
    assert note in text and note in summary(results)
    assert sum(one in text for one in ("optimistic", "chose nothing", "trained on these")) == 1


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "title"),
        ({"title": "a", "licence": "mit"}, "'licence'"),
        ({"title": "a", "data": {"corpus": "GRID"}}, "data"),
        ({"title": ["a"]}, "title"),
    ],
)
def test_facts_that_have_no_place_are_refused(facts, said):
    with pytest.raises(Lip2SpeechError, match=said):
        model_card(KINDS[0], facts)


def test_an_unknown_kind_is_refused():
    with pytest.raises(Lip2SpeechError, match="'bert'"):
        model_card("bert", {"title": "a"})


def test_facts_are_read_from_yaml_or_it_is_said_why_not(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text(FACTS)
    assert read_facts(path)["title"] == "Small"
    for text in ("- a\n- b\n", "a: [", "x: \x00"):
        path.write_text(text)
        with pytest.raises(Lip2SpeechError, match="card.yaml"):
            read_facts(path)
    with pytest.raises(Lip2SpeechError, match="nowhere"):
        read_facts(tmp_path / "nowhere.yaml")
