"""The page and the card of an evaluation: their numbers are the results', and no network is needed."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import numpy as np
import pytest
import yaml
from matplotlib import colormaps, image

from hf_lip2speech.evaluation.card import card_section, write_card
from hf_lip2speech.evaluation.folder import EvaluationFolder
from hf_lip2speech.evaluation.page import _marked, write_page
from hf_lip2speech.evaluation.pictures import write_spectrogram
from hf_lip2speech.evaluation.results import measures_of, show_score, summarise

from ..media.voices import babble


class Page(HTMLParser):
    """The tags of a page, the table's cells, and what stands in each clip's rows."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.cells: dict[tuple[str, str], list[str]] = {}
        self._row, self._cell = "", None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "tr":
            self._row = attributes.get("data-row", "")
        if tag == "td":
            self._cell = self.cells.setdefault((self._row, attributes["data-measure"]), [])

    def handle_endtag(self, tag):
        if tag == "td":
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None and data.strip():
            self._cell.append(data.strip())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(evaluated) -> Page:
    return Page(evaluated[0] / "index.html")


def test_every_number_of_the_tables_is_the_results(page, evaluated):
    _, results = evaluated
    shown = {}
    for row in results["rows"]:
        for measure in measures_of(results):
            value, ends = show_score(measure, row["scores"][measure.key])
            shown[row["row"], measure.key] = [value, ends] if ends else [value]
    assert page.cells == shown
    wer = next(row for row in results["rows"] if row["row"] == "noise")["scores"]["wer"]
    assert page.cells["noise", "wer"][0] == f"{100 * wer['value']:.1f}"
    assert page.cells["truth", "unit_accuracy"] == ["-"]


def test_the_page_fetches_nothing_from_a_network(evaluated, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(evaluated[0], moved)
    page = Page(moved / "index.html")
    links = [
        value
        for _, attributes in page.tags
        for name in ("src", "href", "poster", "data")
        if (value := attributes.get(name))
    ]
    assert len(links) > 20
    for link in links:
        if not link.startswith("#"):
            parts = urlsplit(link)
            assert not parts.scheme and not parts.netloc and not link.startswith("/")
            assert (moved / unquote(link)).is_file()
    assert not page.all("link") and not any("src" in script for script in page.all("script"))
    text = (moved / "index.html").read_text()
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest", text.replace("// One sound", "")
    )


def test_every_clip_has_its_mouth_and_every_row_a_player_and_a_spectrogram(page, evaluated):
    out, _ = evaluated
    rows = ("truth", "vocoder", "whole_path", "noise")  # the shuffled row's sound is the whole path's
    clips = ("ann/clip%200", "ann/clip%202", "carl/clip%201")
    sounds = [audio["src"] for audio in page.all("audio")]
    assert sorted(sounds) == sorted(f"samples/{row}/{clip}.wav" for row in rows for clip in clips)
    assert all("controls" in audio and audio["preload"] == "none" for audio in page.all("audio"))
    assert sorted(picture["src"] for picture in page.all("img")) == sorted(
        f"spectrograms/{row}/{clip}.png" for row in rows for clip in clips
    )
    assert sorted(video["src"] for video in page.all("video")) == [f"mouth/{clip}.mp4" for clip in clips]


def test_worst_and_best_clips_lie_open_and_each_clip_is_there_once(page, evaluated):
    _, results = evaluated
    ranking = results["ranking"]
    open_clips = [attributes["data-clip"] for attributes in page.all("article")]
    folded = [attributes["data-clip"] for attributes in page.all("details") if "data-clip" in attributes]
    assert open_clips == [ranking[-1], ranking[0]] and folded == ranking[1:-1]


def test_the_ranking_goes_from_the_fewest_wrong_words_to_the_most():
    def clip(name: str, errors: float, estoi: float) -> dict:
        numbers = {"word_errors": errors, "words": 6.0, "estoi": estoi}
        entry = {"voice": "v", "against": name, "text": "t", "heard": "h", "sound": "s", "numbers": numbers}
        return {"id": name, "speaker": "s", "seconds": 1.0, "rows": {"whole_path": entry}}

    clips = [clip("a", 2, 0.9), clip("b", 1, 0.2), clip("c", 1, 0.3), clip("d", 6, 0.1)]
    results = summarise(clips, ["whole_path"], {}, [], seed=0)
    assert results["ranking"] == ["c", "b", "a", "d"]
    assert [measure["key"] for measure in results["measures"]] == ["wer", "estoi"]


def test_what_is_said_and_named_is_text_and_never_markup(evaluated, tmp_path):
    out, results = evaluated
    clips = []
    for clip_id in results["ranking"]:
        numbers = {"estoi": 0.5}
        entry = {
            "voice": "<b>",
            "against": clip_id,
            "text": "<script>alert(1)</script> now",
            "heard": "now </p>",
        }
        entry |= {"sound": "samples/a.wav", "numbers": numbers}
        clips.append(
            {"id": clip_id, "speaker": "s", "seconds": 1.0, "rows": {"truth": entry, "whole_path": entry}}
        )
    write_page(EvaluationFolder(tmp_path), results, clips)
    page = Page(tmp_path / "index.html")
    assert len(page.all("script")) == 1 and len(page.all("audio")) == 2 * len(clips)
    assert "&lt;script&gt;" in (tmp_path / "index.html").read_text()


def test_the_true_sentence_is_normalised_before_words_are_marked():
    assert all(right for _, right in _marked("Place BLUE at F2, now!", "place blue at f two now"))


def test_words_that_were_not_said_are_marked(evaluated):
    text = (evaluated[0] / "index.html").read_text()
    assert (
        re.search(r'class="heard">lay red by k nine soon', text) is None
    )  # nobody hears anything but the first
    assert '<p class="heard">bin blue at f two now ' in text
    assert "<em>bin</em> <em>blue</em>" in text


def test_a_spectrogram_is_one_pixel_a_bin_and_frame_with_low_frequencies_below(tmp_path):
    time = np.arange(16_000) / 16_000
    low = (0.5 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    write_spectrogram(tmp_path / "low.png", low, like=babble(1.0))
    picture = image.imread(tmp_path / "low.png")
    assert picture.shape[:2] == (80, 101)
    brightness = picture[..., :3].sum(axis=2).mean(axis=1)
    assert brightness.argmax() > 70
    np.testing.assert_allclose(picture[5, 50, :3], colormaps["magma"](0.0)[:3], atol=0.01)


def test_the_cards_section_holds_the_tables_and_what_they_depend_on(evaluated):
    _, results = evaluated
    section = card_section(results)
    assert section.startswith("## Evaluation\n")
    score = next(row for row in results["rows"] if row["row"] == "whole_path")["scores"]["estoi"]
    assert f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})" in section
    for part in (
        "loudness 1.0",
        "split: val",
        "Voice: ann, of the model",
        "bootstrap over clips",
        "PESQ's own",
    ):
        assert part in section
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) == 2 * (2 + len(results["rows"]))


def test_the_cards_header_is_a_model_index_that_the_hub_reads(evaluated):
    out, results = evaluated
    card = huggingface_hub.ModelCard((out / "card/README.md").read_text())
    assert card.data.model_name == "model"
    found = {result.metric_type: result for result in card.data.eval_results}
    scores = next(row for row in results["rows"] if row["row"] == "whole_path")["scores"]
    assert found["wer"].metric_value == round(100 * scores["wer"]["value"], 1)
    assert found["stoi"].metric_value == round(scores["stoi"]["value"], 3)
    assert "loudness 1.0" in found["wer"].metric_name and found["wer"].dataset_split == "val"
    assert found["wer"].dataset_type == "owner/babble"


def test_eval_results_are_entries_that_the_hub_reads(evaluated, tmp_path):
    out, results = evaluated
    (path,) = (out / "card/.eval_results").iterdir()
    entries = huggingface_hub.parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert {entry.dataset_id for entry in entries} == {"owner/babble"}
    wer = next(entry for entry in entries if entry.task_id == "wer")
    assert "loudness 1.0" in wer.notes and "split val, 3 clips" in wer.notes
    write_card(tmp_path, results | {"facts": results["facts"] | {"hub_dataset": None}})
    assert [found.name for found in tmp_path.iterdir()] == ["README.md"]
