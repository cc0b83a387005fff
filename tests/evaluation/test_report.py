import json

import numpy as np
import pytest

from hf_lip2speech.evaluation.metrics import MetricError
from hf_lip2speech.evaluation.report import derangement, score, to_json, to_markdown

RATE = 16_000


class HearsLoudness:
    """A recogniser that can be foreseen: "loud" above 0.1, "quiet" below."""

    name = "loudness 1.0"

    def __call__(self, waveform: np.ndarray, sampling_rate: int = RATE) -> str:
        return "loud" if np.abs(waveform).mean() > 0.1 else "quiet"


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    time = np.arange(RATE) / RATE
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, None)
    voice = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 20))
    return [0.5 * voice * syllables, 0.05 * voice * syllables]


TEXTS = ["loud", "quiet"]


def test_a_row_scores_every_clip_against_its_own_sentence_and_recording(clips):
    row = score("truth", HearsLoudness(), TEXTS, clips, clips)
    assert row.words.errors == 0 and row.words.words == 2
    assert row.stoi == pytest.approx(1) and row.estoi == pytest.approx(1) and row.pesq_wb > 4.6
    assert row.heard == ["loud", "quiet"]
    swapped = score("swapped", HearsLoudness(), TEXTS, clips, clips[::-1])
    assert swapped.words.rate == 1


def test_the_change_is_the_mean_absolute_difference_of_the_waveforms(clips):
    louder = [clip + 0.25 for clip in clips]
    assert score("r", HearsLoudness(), TEXTS, clips, louder, change_from=clips).change == pytest.approx(0.25)


def test_clips_that_pesq_is_not_defined_on_are_counted_not_averaged(clips):
    row = score("r", HearsLoudness(), TEXTS, clips, [clips[0], np.zeros(RATE)])
    assert row.without_pesq == 1 and row.pesq_wb > 4.6
    assert "(1 undefined)" in to_markdown([row], {})


def test_uneven_lists_are_refused(clips):
    with pytest.raises(MetricError, match="2 sentences, 2 true and 1 system"):
        score("r", HearsLoudness(), TEXTS, clips, clips[:1])


@pytest.mark.parametrize("count", [2, 3, 49])
def test_a_derangement_leaves_nothing_in_place_and_comes_back_with_its_seed(count):
    for seed in range(20):
        order = derangement(count, seed)
        assert sorted(order) == list(range(count))
        assert all(place != partner for place, partner in enumerate(order))
        assert order == derangement(count, seed)


def test_another_seed_is_another_derangement():
    assert derangement(49, 0) != derangement(49, 1)


def test_one_clip_cannot_be_deranged():
    with pytest.raises(MetricError, match="at least 2"):
        derangement(1, 0)


def test_the_table_shows_counts_and_the_facts_below_it(clips):
    row = score("whole path", HearsLoudness(), TEXTS, clips, clips[::-1])
    table = to_markdown([row], {"recogniser": "loudness 1.0", "command": "`evaluate`"})
    lines = table.splitlines()
    assert lines[2].startswith("| whole path | 100.0 | 2 / 2 | ")
    assert lines[-2:] == ["- recogniser: loudness 1.0", "- command: `evaluate`"]
    assert len({line.count("|") for line in lines[:3]}) == 1


def test_json_keeps_what_was_heard_and_survives_a_row_without_pesq(clips):
    silent = [np.zeros(RATE), np.zeros(RATE)]
    row = score("silence", HearsLoudness(), TEXTS, clips, silent)
    read = json.loads(json.dumps(to_json([row], {"split": "val"}), allow_nan=False))
    assert read["facts"] == {"split": "val"}
    assert read["rows"][0]["pesq_wb"] is None
    assert read["rows"][0]["heard"] == ["quiet", "quiet"]
    assert read["rows"][0]["wer"] == 0.5
