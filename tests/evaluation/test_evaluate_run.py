"""An evaluation of three clips with an untrained model: its numbers, its files, killed and resumed."""

import json
import shutil
from collections import Counter
from typing import Literal

import numpy as np
import pyarrow.parquet
import pytest

from hf_lip2speech.errors import DatasetError, Lip2SpeechError
from hf_lip2speech.evaluation import metrics, run
from hf_lip2speech.evaluation.clips import open_evaluation_set
from hf_lip2speech.evaluation.run import derangement, evaluate
from hf_lip2speech.evaluation.systems import MEL_ONLY, UNITS_ONLY, Systems
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

from ..tiny_model import tiny_model
from .small_set import FRAMES, HearsLoudness, write_prepared


def lines_of(out) -> list[dict]:
    return pyarrow.parquet.read_table(out / "per_clip.parquet").to_pylist()


def row_of(results: dict, row: str) -> dict:
    return next(entry for entry in results["rows"] if entry["row"] == row)


def test_every_row_stands_in_the_table_and_names_its_voice(evaluated):
    _, results = evaluated
    assert {row["row"]: row["voice"] for row in results["rows"]} == {
        "truth": "ann, as recorded; carl, as recorded",
        "vocoder": "ann, of the model",  # carl's: the default voice
        "whole_path": "ann, of the model",
        "shuffled": "ann, of the model",
        "noise": "none",
    }


def test_the_truth_is_scored_as_perfect_and_noise_is_not(evaluated):
    _, results = evaluated
    truth, noise = row_of(results, "truth")["scores"], row_of(results, "noise")["scores"]
    assert truth["stoi"]["value"] == pytest.approx(1) and truth["pesq_wb"]["value"] > 4.6
    assert truth["log_spectral_distance"]["value"] == truth["delay"]["value"] == 0
    assert truth["speaker_similarity"]["value"] == pytest.approx(1)
    assert noise["estoi"]["value"] < 0.2 and noise["log_spectral_distance"]["value"] > 10
    assert truth["unit_accuracy"] is None  # nothing predicted its units


def test_a_figure_is_that_of_its_clips_with_their_interval(evaluated):
    out, results = evaluated
    lines = [line for line in lines_of(out) if line["row"] == "whole_path"]
    scores = row_of(results, "whole_path")["scores"]
    assert scores["estoi"]["value"] == pytest.approx(np.mean([line["estoi"] for line in lines]))
    errors, words = (sum(line[name] for line in lines) for name in ("word_errors", "words"))
    assert (scores["wer"]["count"], scores["wer"]["total"]) == (errors, words) and words == 18
    assert scores["wer"]["value"] == errors / words
    assert scores["delay"]["value"] == np.median([line["delay"] for line in lines])
    assert scores["stoi"]["undefined"] == 0
    for score in filter(None, scores.values()):
        assert score["low"] <= score["value"] <= score["high"] and score["clips"] + score["undefined"] == 3


def test_the_parquet_holds_a_line_for_every_clip_and_row(evaluated):
    out, _ = evaluated
    lines = lines_of(out)
    assert Counter(line["row"] for line in lines) == dict.fromkeys(
        ("truth", "vocoder", "whole_path", "shuffled", "noise"), 3
    )
    assert {line["voice"] for line in lines if line["id"] == "carl/clip 1"} == {
        "carl, as recorded",
        "ann, of the model",
        "none",
    }
    assert all(line["heard"] and line["text"] and (out / line["sound"]).is_file() for line in lines)


def test_the_numbers_can_be_had_again_from_the_sounds_that_were_kept(evaluated):
    out, _ = evaluated
    for line in lines_of(out):
        truth, speech = (
            read_audio(path)
            for path in (out / "samples/truth" / f"{line['against']}.wav", out / line["sound"])
        )
        assert len(speech) == 640 * FRAMES
        assert metrics.stoi(truth, speech) == line["stoi"]
        assert metrics.mel_cepstral_distortion(truth, speech) == line["mel_cepstral_distortion"]


def test_shuffled_speech_is_the_whole_paths_against_another_clip(evaluated):
    out, _ = evaluated
    by_row = {
        row: {line["id"]: line for line in lines_of(out) if line["row"] == row}
        for row in ("whole_path", "shuffled")
    }
    for clip_id, line in by_row["shuffled"].items():
        assert line["against"] != clip_id and line["sound"] == by_row["whole_path"][clip_id]["sound"]
        assert line["text"] == by_row["whole_path"][line["against"]]["text"]
        assert line["heard"] == by_row["whole_path"][clip_id]["heard"]
    assert sorted(line["against"] for line in by_row["shuffled"].values()) == sorted(by_row["shuffled"])


def test_the_results_name_recogniser_split_alignment_and_interval(evaluated):
    _, results = evaluated
    facts = results["facts"]
    assert facts["recogniser"]["name"] == "loudness 1.0, threshold, none"
    assert {"version", "prompt", "text_normalisation"} <= set(facts["recogniser"])
    assert facts["split"] == "val" and facts["clips"] == 3 and facts["input"] == "mouth crops made beforehand"
    assert "bootstrap over clips" in facts["interval"] and facts["command"] == ["hf-lip2speech", "evaluate"]
    alignment = {measure["key"]: measure["alignment"] for measure in results["measures"]}
    assert alignment["stoi"].startswith("none") and alignment["pesq_wb"].startswith("PESQ's own")


def test_two_runs_give_the_same_numbers(evaluated, make_systems, tmp_path):
    out, results = evaluated
    again = evaluate(
        make_systems(),
        tmp_path,
        recogniser=HearsLoudness(),
        facts={name: results["facts"][name] for name in ("model", "command", "hub_dataset")},
        progress=False,
    )
    assert again == results
    assert lines_of(tmp_path) == lines_of(out)
    assert (tmp_path / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_a_killed_run_goes_on_and_does_nothing_twice(evaluated, make_systems, monkeypatch, tmp_path):
    spoken = []

    def speak(self, clip):
        spoken.append(clip.id)
        if len(spoken) == 2:
            raise KeyboardInterrupt
        return whole(self, clip)

    whole = Systems.__call__
    monkeypatch.setattr(Systems, "__call__", speak)
    with pytest.raises(KeyboardInterrupt):
        evaluate(make_systems(), tmp_path, recogniser=HearsLoudness(), progress=False)
    assert not (tmp_path / "results.json").exists() and not (tmp_path / "index.html").exists()
    resumed = evaluate(make_systems(), tmp_path, recogniser=HearsLoudness(), progress=False)
    assert Counter(spoken) == {"ann/clip 0": 1, "ann/clip 2": 2, "carl/clip 1": 1}
    assert resumed["rows"] == evaluated[1]["rows"]
    assert lines_of(tmp_path) == lines_of(evaluated[0])
    finished = evaluate(make_systems(), tmp_path, recogniser=HearsLoudness(), progress=False)
    assert len(spoken) == 4 and finished == resumed


def test_a_folder_of_another_evaluation_is_refused_and_says_what_differs(evaluated, make_systems):
    out, _ = evaluated
    before = (out / "results.json").read_bytes()
    with pytest.raises(DatasetError, match="differs in: speaker, recogniser, seed"):
        evaluate(make_systems(speaker="bob", seed=1), out, seed=1, progress=False)
    with pytest.raises(DatasetError, match="differs in: clips"):
        evaluate(make_systems(limit=2), out, recogniser=HearsLoudness(), progress=False)
    assert (out / "results.json").read_bytes() == before


def test_a_folder_with_other_files_is_refused(make_systems, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DatasetError, match="holds other files"):
        evaluate(make_systems(), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_clip_that_cannot_be_used_counts_for_no_row_and_is_named(untrained, few_measures, tmp_path):
    folder = write_prepared(tmp_path / "set", clips=2)
    (folder / "video/carl/clip 1.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    results = evaluate(Systems(untrained, open_evaluation_set(folder)), out, progress=False)
    assert [(clip["id"], clip["skipped"]) for clip in results["skipped"]] == [
        ("carl/clip 1", "UnreadableVideoError")
    ]
    assert results["facts"]["clips"] == 1
    assert {score["clips"] for row in results["rows"] for score in row["scores"].values() if score} == {1}
    assert "left out of every row: carl/clip 1" in (out / "index.html").read_text()
    for path in (folder / "video").rglob("*.mp4"):
        path.write_bytes(b"no video")
    with pytest.raises(DatasetError, match="None of the 2 clips"):
        evaluate(Systems(untrained, open_evaluation_set(folder)), tmp_path / "none", progress=False)


def test_a_clip_without_sound_takes_no_other_clip_with_it(untrained, few_measures, tmp_path):
    folder = write_prepared(tmp_path / "set", clips=4)
    for silent, kept in ((("ann/clip 0", "carl/clip 1"), 2), (("ann/clip 2",), 1)):
        for name in silent:
            (folder / f"audio/{name}.flac").write_bytes(b"no sound")
        out = tmp_path / str(kept)
        results = evaluate(Systems(untrained, open_evaluation_set(folder)), out, progress=False)
        assert results["facts"]["clips"] == kept and len(results["skipped"]) == 4 - kept
        shuffled = [line for line in lines_of(out) if line["row"] == "shuffled"]
        # set against each other; where there is no other, there is no such row
        assert {line["id"]: line["against"] for line in shuffled} == (
            {"ann/clip 2": "carl/clip 3", "carl/clip 3": "ann/clip 2"} if kept == 2 else {}
        )
        assert ("shuffled" in {row["row"] for row in results["rows"]}) == bool(shuffled)


def test_without_recogniser_and_second_clip_there_are_no_word_errors_and_no_shuffled_row(
    make_systems, few_measures, tmp_path
):
    results = evaluate(make_systems(limit=1), tmp_path, progress=False)
    assert [row["row"] for row in results["rows"]] == ["truth", "vocoder", "whole_path", "noise"]
    assert "wer" not in {measure["key"] for measure in results["measures"]}
    assert results["facts"]["recogniser"] is None and "highest ESTOI" in results["ranked_by"]


@pytest.mark.parametrize(
    ("speaker", "voices"),
    [
        pytest.param(
            None, ["ann, of the model", "ann, of the model"], id="named like the speaker, or default"
        ),
        pytest.param("bob", ["bob, of the model", "bob, of the model"], id="of the model"),
        pytest.param(
            "own", ["ann, from the clip's true sound", "carl, from the clip's true sound"], id="own"
        ),
        pytest.param(
            "other", [f"{name}, from another clip's true sound" for name in ("carl", "ann")], id="other"
        ),
        pytest.param("audio/carl/clip 1.flac", ["of the recording clip 1.flac"] * 2, id="a recording"),
    ],
)
def test_the_voice_is_the_one_that_was_asked_for(make_systems, prepared_set, speaker, voices):
    recording = speaker is not None and "/" in speaker
    systems = make_systems(speaker=str(prepared_set / speaker) if recording else speaker)
    spoken = [systems(systems.clips.clips[place]) for place in (0, 2)]
    assert [speech.voices["whole_path"] for speech in spoken] == voices
    default = make_systems(speaker="ann")(systems.clips.clips[0]).waveforms
    for row in ("vocoder", "whole_path"):
        assert np.array_equal(spoken[0].waveforms[row], default[row]) == (voices[0] == "ann, of the model")


def test_an_unknown_voice_is_refused_before_the_first_clip(make_systems):
    with pytest.raises(Lip2SpeechError, match="'dora' is neither a voice"):
        make_systems(speaker="dora")


def hearing(inputs: Literal["both", "mel", "units"]) -> UnitVocoderModel:
    vocoder = tiny_model().vocoder
    vocoder.config.inputs = inputs
    return vocoder


def test_a_vocoder_that_hears_what_its_row_does_not_is_refused(make_systems):
    with pytest.raises(Lip2SpeechError, match="mel only has inputs 'units' in its config"):
        make_systems(vocoders={MEL_ONLY: hearing("units")})


def test_vocoders_of_one_input_hear_nothing_of_the_other(make_systems, few_measures, tmp_path):
    vocoders = {UNITS_ONLY: hearing("units"), MEL_ONLY: hearing("mel")}
    systems = make_systems(vocoders=vocoders, limit=2)
    clip = systems.clips.clips[0]
    speech = systems(clip).waveforms
    reference = systems.reference(clip)
    assert reference.mel is not None and reference.units is not None
    real = systems.reference
    for changed, deaf in (("mel", UNITS_ONLY), ("units", MEL_ONLY)):
        other = real(clip)
        setattr(other, changed, np.roll(getattr(other, changed), 7, axis=0))
        systems.reference = lambda _clip, other=other: other
        moved = systems(clip).waveforms
        assert {row for row in speech if not np.array_equal(speech[row], moved[row])} == {
            "vocoder",
            *({UNITS_ONLY, MEL_ONLY} - {deaf}),
        }
    systems.reference = real
    results = evaluate(systems, tmp_path, progress=False)
    assert [row["row"] for row in results["rows"]][1:4] == ["vocoder", "vocoder_units", "vocoder_mel"]


def test_vocoders_and_extractors_of_other_units_are_refused(make_systems, prepared_set, untrained, tmp_path):
    other = write_prepared(tmp_path / "set", clips=2, num_units=12)
    with pytest.raises(Lip2SpeechError, match="12 units and the model 20"):
        Systems(untrained, open_evaluation_set(other))


@pytest.mark.parametrize("count", [2, 3, 49])
def test_a_derangement_leaves_nothing_in_place_and_comes_back_with_its_seed(count):
    for seed in range(20):
        order = derangement(count, seed)
        assert sorted(order) == list(range(count))
        assert all(place != partner for place, partner in enumerate(order))
        assert order == derangement(count, seed)
    with pytest.raises(DatasetError, match="at least 2"):
        derangement(1, 0)


def test_another_seed_is_another_derangement_and_another_noise(make_systems):
    assert derangement(49, 0) != derangement(49, 1)
    clip = make_systems().clips.clips[0]
    first, same, other = (make_systems(seed=seed)(clip).waveforms for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["noise"], same["noise"])
    assert not np.array_equal(first["noise"], other["noise"])
    np.testing.assert_array_equal(first["whole_path"], other["whole_path"])
    level = [np.sqrt(np.mean(first[row] ** 2)) for row in ("truth", "noise")]
    assert level[0] == pytest.approx(level[1], rel=0.02)


def test_results_are_json_without_nan(evaluated):
    out, results = evaluated
    text = (out / "results.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == results


def test_settings_are_read_before_any_work(make_systems, monkeypatch, tmp_path, evaluated):
    shutil.copytree(evaluated[0] / ".evaluation", tmp_path / "out" / ".evaluation")
    monkeypatch.setattr(run, "_evaluate_clip", pytest.fail)
    with pytest.raises(DatasetError, match="differs in: recogniser"):
        evaluate(make_systems(), tmp_path / "out", progress=False)
