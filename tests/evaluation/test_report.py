"""Intervals, ranking, page and card of an evaluation, which show the results and need no network."""

import json
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

from hf_lip2speech.cards import evaluation_section, write_evaluation_card
from hf_lip2speech.errors import MetricError
from hf_lip2speech.evaluation.page import _marked, write_page, write_spectrogram
from hf_lip2speech.evaluation.results import interval, read_results, summarise
from hf_lip2speech.results_text import show_score

from ..media.voices import babble


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution_where_clips_are_many():
    numbers = np.random.default_rng(1).normal(3, 2, 400)
    found = interval(numbers)
    error = numbers.std() / np.sqrt(400)
    assert found.value == pytest.approx(numbers.mean())
    assert found.low == pytest.approx(numbers.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(numbers.mean() + 1.96 * error, abs=0.1 * error)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(2)
    found = [interval(random.normal(1, 2, size=60), resamples=1000) for _ in range(300)]
    assert 0.90 <= np.mean([one.low <= 1 <= one.high for one in found]) <= 0.98


def test_a_rate_is_the_ratio_of_the_sums_and_a_median_is_drawn_as_a_median():
    rate = interval([0, 30], [10, 90])
    assert (rate.value, rate.low) == (0.3, 0) and rate.high == pytest.approx(1 / 3)
    median = interval([1, 2, 3, 4, 1000], statistic="median")
    assert median.value == 3 and median.high == 1000 and interval([0, 0, 0, 0, 9]).value == 1.8
    alike = interval([0.25] * 7)
    assert (alike.low, alike.value, alike.high) == (0.25, 0.25, 0.25)


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    numbers = np.random.default_rng(3).normal(size=49)
    assert interval(numbers, seed=5) == interval(numbers, seed=5)
    assert interval(numbers, seed=5) != interval(numbers, seed=6)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([], None), ([1.0], [1.0, 2.0]), ([float("nan")], None), ([1.0, 2.0], [0.0, 0.0]), ([1.0], [-1.0])],
)
def test_numbers_without_a_mean_are_refused(numbers, words):
    with pytest.raises(MetricError, match="expected"):
        interval(numbers, words)


class Page(HTMLParser):
    """The tags of a page, and the table's cells."""

    def __init__(self, path: Path):
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.cells: dict[tuple[str, str], list[str]] = {}
        self._row, self._cell = "", None
        self.feed(self.text)

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
        for measure in results["measures"]:
            value, ends = show_score(measure, row["scores"][measure["key"]])
            shown[row["row"], measure["key"]] = [value, ends] if ends else [value]
    assert page.cells == shown
    wer = next(row for row in results["rows"] if row["row"] == "noise")["scores"]["wer"]
    assert page.cells["noise", "wer"][0] == f"{100 * wer['value']:.1f}"
    assert page.cells["ground_truth", "unit_accuracy"] == ["-"]


def test_the_page_fetches_nothing_from_a_network(evaluated, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(evaluated[0], moved)
    page = Page(moved / "index.html")
    names = ("src", "href", "poster", "data")
    links = [value for _, attributes in page.tags for name in names if (value := attributes.get(name))]
    assert len(links) > 20
    for link in links:
        if not link.startswith("#"):
            parts = urlsplit(link)
            assert not parts.scheme and not parts.netloc and not link.startswith("/")
            assert (moved / unquote(link)).is_file()
    assert not page.all("link") and not any("src" in script for script in page.all("script"))
    text = page.text.replace("// One sound", "")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest", text)


def test_every_clip_has_its_mouth_and_every_row_a_player_and_a_spectrogram(page):
    rows = ("ground_truth", "copy_synthesis", "end_to_end", "noise")  # shuffled: the end-to-end sound
    clips = ("ann/clip%200", "ann/clip%202", "carl/clip%201")

    def files(folder: str, suffix: str) -> list[str]:
        return sorted(f"{folder}/{row}/{clip}.{suffix}" for row in rows for clip in clips)

    assert sorted(audio["src"] for audio in page.all("audio")) == files("samples", "wav")
    assert all("controls" in audio and audio["preload"] == "none" for audio in page.all("audio"))
    assert sorted(picture["src"] for picture in page.all("img")) == files("spectrograms", "png")
    assert sorted(video["src"] for video in page.all("video")) == [f"mouth/{clip}.mp4" for clip in clips]


def test_worst_and_best_clips_are_unfolded_and_each_clip_is_there_once(page, evaluated):
    ranking = evaluated[1]["ranking"]
    folded = [attributes["data-clip"] for attributes in page.all("details") if "data-clip" in attributes]
    assert [attributes["data-clip"] for attributes in page.all("article")] == [ranking[-1], ranking[0]]
    assert folded == ranking[1:-1]


def test_the_ranking_goes_from_the_fewest_wrong_words_to_the_most():
    def clip(name: str, errors: float, estoi: float) -> dict:
        numbers = {"word_errors": errors, "words": 6.0, "estoi": estoi}
        entry = {"voice": "v", "against": name, "text": "t", "heard": "h", "sound": "s", "numbers": numbers}
        return {"id": name, "speaker": "s", "seconds": 1.0, "rows": {"end_to_end": entry}}

    clips = [clip("a", 2, 0.9), clip("b", 1, 0.2), clip("c", 1, 0.3), clip("d", 6, 0.1)]
    results = summarise(clips, ["end_to_end"], {}, [], seed=0)
    assert results["ranking"] == ["c", "b", "a", "d"]
    assert [measure["key"] for measure in results["measures"]] == ["wer", "estoi"]


def test_sentences_and_names_are_text_and_never_markup(evaluated, tmp_path):
    _, results = evaluated
    entry = {"voice": "<b>", "text": "<script>alert(1)</script> now", "heard": "now </p>"}
    entry |= {"sound": "samples/a.wav", "spectrogram": "a.png", "numbers": {"estoi": 0.5}}
    about = {"speaker": "s", "seconds": 1.0, "mouth": "a.mp4"}
    rows = {"ground_truth": entry, "end_to_end": entry}
    clips = [{"id": clip_id, "rows": rows} | about for clip_id in results["ranking"]]
    write_page(tmp_path / "index.html", results, clips)
    page = Page(tmp_path / "index.html")
    assert len(page.all("script")) == 1 and len(page.all("audio")) == 2 * len(clips)
    assert "&lt;script&gt;" in page.text


def test_words_that_were_not_said_are_marked(page):
    assert all(right for _, right in _marked("place blue at f two now", "place blue at f two now"))
    assert 'class="heard">lay red by k nine soon' not in page.text  # only the first is ever recognised
    assert (
        '<p class="heard">bin blue at f two now ' in page.text and "<em>bin</em> <em>blue</em>" in page.text
    )


def test_a_spectrogram_is_one_pixel_per_bin_and_frame_with_low_frequencies_below(tmp_path):
    time = np.arange(16_000) / 16_000
    low = (0.5 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    write_spectrogram(tmp_path / "low.png", low, like=babble(1.0))
    picture = image.imread(tmp_path / "low.png")
    assert picture.shape[:2] == (80, 101)
    assert picture[..., :3].sum(axis=2).mean(axis=1).argmax() > 70
    np.testing.assert_allclose(picture[5, 50, :3], colormaps["magma"](0.0)[:3], atol=0.01)


def test_the_cards_section_holds_the_tables_and_what_they_depend_on(evaluated):
    _, results = evaluated
    section = evaluation_section(results)
    assert section.startswith("## Evaluation\n")
    score = next(row for row in results["rows"] if row["row"] == "end_to_end")["scores"]["estoi"]
    assert f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})" in section
    parts = ("loudness 1.0", "split: val", "Voice: ann, of the model", "bootstrap over clips", "PESQ's own")
    assert [part for part in parts if part not in section] == []
    short, everything = section.split("<details>")
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in (short, everything)]
    assert len(tables[0]) == 2 + 2 and len(tables[1]) == 2 * (2 + len(results["rows"]))


def test_the_cards_header_is_a_model_index_of_four_measures(evaluated):
    out, results = evaluated
    card = huggingface_hub.ModelCard((out / "card/README.md").read_text())
    assert card.data.model_name == "model"
    found = {result.metric_type: result for result in card.data.eval_results}
    names = {"wer": "WER %", "stoi": "STOI", "estoi": "ESTOI", "pesq_wb": "PESQ-WB"}
    assert {key: result.metric_name for key, result in found.items()} == names
    scores = next(row for row in results["rows"] if row["row"] == "end_to_end")["scores"]
    assert found["wer"].metric_value == round(100 * scores["wer"]["value"], 1)
    assert found["stoi"].metric_value == round(scores["stoi"]["value"], 3)
    assert found["wer"].dataset_split == "val" and found["wer"].dataset_type == "owner/babble"


def test_eval_results_are_entries_of_all_measures_that_the_hub_reads(evaluated, tmp_path):
    out, results = evaluated
    (path,) = (out / "card/.eval_results").iterdir()
    entries = huggingface_hub.parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert {entry.dataset_id for entry in entries} == {"owner/babble"}
    scores = next(row for row in results["rows"] if row["row"] == "end_to_end")["scores"]
    assert {entry.task_id for entry in entries} == {key for key, score in scores.items() if score}
    wer = next(entry for entry in entries if entry.task_id == "wer")
    assert "loudness 1.0" in wer.notes and "split val, 3 clips" in wer.notes
    write_evaluation_card(tmp_path, results | {"facts": results["facts"] | {"hub_dataset": None}})
    assert [found.name for found in tmp_path.iterdir()] == ["README.md"]


def test_results_of_an_older_version_are_read_under_todays_names(evaluated, tmp_path):
    _, results = evaluated
    old = json.loads(json.dumps(results))
    names = {"ground_truth": "truth", "copy_synthesis": "vocoder", "end_to_end": "whole_path"}
    for row in old["rows"]:
        row |= {"row": names.get(row["row"], row["row"]), "name": "old", "about": "old"}
    for measure in old["measures"]:
        for name in ("digits", "main", "columns"):
            del measure[name]
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert read_results(tmp_path / "results.json") == results
