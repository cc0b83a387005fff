"""STOI, ESTOI, PESQ and WER against the libraries beneath them, on speech whose damage is known."""

import jiwer
import numpy as np
import pesq
import pystoi
import pytest

from hf_lip2speech.data.corpora import spell_grid_id
from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid
from hf_lip2speech.media.audio import read_audio
from tests.evaluation.sounds import RATE, add_noise
from tests.media.voices import babble

CLIPS = 8
DAMAGE = {
    "clean": lambda speech, seed: speech,
    "20 dB": lambda speech, seed: add_noise(speech, 20, seed),
    "0 dB": lambda speech, seed: add_noise(speech, 0, seed),
}
LIBRARIES = {
    "stoi": lambda true, given: pystoi.stoi(true, given, RATE),
    "estoi": lambda true, given: pystoi.stoi(true, given, RATE, extended=True),
    "pesq_wb": lambda true, given: pesq.pesq(RATE, true, given, "wb"),
    "pesq_nb": lambda true, given: pesq.pesq(RATE, true, given, "nb"),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_score_is_the_librarys_and_falls_with_the_noise(name):
    speech = babble(2.0, seed=3)
    ours = []
    for damage in DAMAGE.values():
        given = damage(speech, 0)
        ours.append(getattr(metrics, name)(speech, given))
        assert ours[-1] == pytest.approx(LIBRARIES[name](speech.astype(float), given.astype(float)), abs=1e-9)
    assert ours[0] > ours[1] > ours[2]


@pytest.mark.slow
def test_on_real_speech_all_scores_are_the_libraries_and_words_are_lost_to_noise(grid_dir):
    """Prints the table of docs/evaluation.md: `pytest -s -k real_speech tests/evaluation/`."""
    ids = (grid_dir / "splits" / "s1_val.txt").read_text().split()[:CLIPS]
    texts = [spell_grid_id(clip) for clip in ids]
    clips = [read_audio(grid_dir / "audio_16k" / "s1" / f"{clip}.flac") for clip in ids]
    listen = PocketsphinxGrid()
    rows = {}
    for title, damage in DAMAGE.items():
        given = [damage(clip, seed) for seed, clip in enumerate(clips)]
        row = {}
        for name, library in LIBRARIES.items():
            pairs = list(zip(clips, given, strict=True))
            row[name] = float(np.mean([getattr(metrics, name)(true, heard) for true, heard in pairs]))
            theirs = np.mean([library(true.astype(float), heard.astype(float)) for true, heard in pairs])
            assert row[name] == pytest.approx(theirs, abs=1e-6)
        heard = [listen(speech) for speech in given]
        row["wer"], row["cer"] = metrics.wer(texts, heard), metrics.cer(texts, heard)
        assert row["wer"] == jiwer.wer(texts, heard)
        assert row["cer"] == jiwer.cer(texts, heard)
        rows[title] = row
    print(f"\n{listen.name}; {CLIPS} clips\n| | " + " | ".join(rows["clean"]) + " |")
    for title, row in rows.items():
        print(f"| {title} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")
    for name in LIBRARIES:
        assert rows["clean"][name] > rows["20 dB"][name] > rows["0 dB"][name]
    assert rows["clean"]["wer"] < 0.25 < rows["0 dB"]["wer"]
