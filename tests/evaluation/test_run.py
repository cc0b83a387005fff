"""An evaluation of three clips with an untrained model: its numbers and files, interrupted and resumed."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet
import pytest

from hf_lip2speech.errors import DatasetError, Lip2SpeechError, NotLoadedError
from hf_lip2speech.evaluation import metrics, run
from hf_lip2speech.evaluation.clips import open_evaluation_set
from hf_lip2speech.evaluation.run import derangement, evaluate
from hf_lip2speech.evaluation.systems import MEL_ONLY, UNITS_ONLY, RowSpeaker, find_unit_extractor
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.video.mouth import mouth_crops

from ..fake_corpora import two_talkers
from ..tiny_model import tiny_model
from .small_set import FRAMES, HearsLoudness, write_prepared

ROWS = ("ground_truth", "copy_synthesis", "end_to_end", "shuffled", "noise")


def lines_of(out: Path, row: str | None = None) -> list[dict]:
    lines = pyarrow.parquet.read_table(out / "per_clip.parquet").to_pylist()
    return [line for line in lines if row in (None, line["row"])]


def row_of(results: dict, row: str) -> dict:
    return next(entry for entry in results["rows"] if entry["row"] == row)


def test_every_row_is_in_the_table_and_names_its_voice(evaluated):
    out, results = evaluated
    assert {row["row"]: row["voice"] for row in results["rows"]} == {
        "ground_truth": "ann, as recorded; carl, as recorded",
        "copy_synthesis": "ann, of the model",  # carl's: the default voice
        "end_to_end": "ann, of the model",
        "shuffled": "ann, of the model",
        "noise": "none",
    }
    lines = lines_of(out)
    assert Counter(line["row"] for line in lines) == dict.fromkeys(ROWS, 3)
    voices = {line["voice"] for line in lines if line["id"] == "carl/clip 1"}
    assert voices == {"carl, as recorded", "ann, of the model", "none"}
    assert all(line["heard"] and line["text"] and (out / line["sound"]).is_file() for line in lines)


def test_the_ground_truth_is_scored_as_perfect_and_noise_is_not(evaluated):
    _, results = evaluated
    truth, noise = row_of(results, "ground_truth")["scores"], row_of(results, "noise")["scores"]
    assert truth["stoi"]["value"] == pytest.approx(1) and truth["pesq_wb"]["value"] > 4.6
    assert truth["log_spectral_distance"]["value"] == truth["delay"]["value"] == 0
    assert truth["speaker_similarity"]["value"] == pytest.approx(1)
    assert noise["estoi"]["value"] < 0.2 and noise["log_spectral_distance"]["value"] > 10
    assert truth["unit_accuracy"] is None  # its units were not predicted


def test_a_figure_is_that_of_its_clips_with_their_interval(evaluated):
    out, results = evaluated
    lines = lines_of(out, "end_to_end")
    scores = row_of(results, "end_to_end")["scores"]
    assert scores["estoi"]["value"] == pytest.approx(np.mean([line["estoi"] for line in lines]))
    errors, words = (sum(line[name] for line in lines) for name in ("word_errors", "words"))
    assert (scores["wer"]["count"], scores["wer"]["total"]) == (errors, words) and words == 18
    assert scores["wer"]["value"] == errors / words
    assert scores["delay"]["value"] == np.median([line["delay"] for line in lines])
    assert scores["stoi"]["undefined"] == 0
    for score in filter(None, scores.values()):
        assert score["low"] <= score["value"] <= score["high"] and score["clips"] + score["undefined"] == 3


def test_the_numbers_are_those_of_the_stored_sounds(evaluated):
    out, _ = evaluated
    for line in lines_of(out):
        truth = read_audio(out / "samples" / "ground_truth" / f"{line['against']}.wav")
        speech = read_audio(out / line["sound"])
        assert len(speech) == 640 * FRAMES
        assert metrics.stoi(truth, speech) == line["stoi"]
        assert metrics.mel_cepstral_distortion(truth, speech) == line["mel_cepstral_distortion"]


def test_the_shuffled_row_is_the_end_to_end_speech_against_another_clip(evaluated):
    out, _ = evaluated
    whole, shuffled = (
        {line["id"]: line for line in lines_of(out, row)} for row in ("end_to_end", "shuffled")
    )
    for clip_id, line in shuffled.items():
        assert line["against"] != clip_id and line["sound"] == whole[clip_id]["sound"]
        assert line["text"] == whole[line["against"]]["text"] and line["heard"] == whole[clip_id]["heard"]
    assert sorted(line["against"] for line in shuffled.values()) == sorted(shuffled)


def test_the_results_name_recogniser_split_alignment_and_interval_in_json_without_nan(evaluated):
    out, results = evaluated
    facts = results["facts"]
    assert facts["recogniser"]["name"] == "loudness 1.0, threshold, none"
    assert {"version", "prompt", "text_normalisation"} <= set(facts["recogniser"])
    assert facts["split"] == "val" and facts["clips"] == 3 and facts["input"] == "prepared mouth crops"
    assert "bootstrap over clips" in facts["interval"] and facts["command"] == ["hf-lip2speech", "evaluate"]
    alignment = {measure["key"]: measure["alignment"] for measure in results["measures"]}
    assert alignment["stoi"].startswith("none") and alignment["pesq_wb"].startswith("PESQ's own")
    assert json.loads((out / "results.json").read_text(), parse_constant=pytest.fail) == results


def test_an_interrupted_run_resumes_without_doing_anything_twice_and_gives_the_same_numbers(
    make_systems, quick_measures, monkeypatch, tmp_path
):
    def run_once(name: str) -> dict:
        out = tmp_path / name
        return evaluate(make_systems(), out, recogniser=HearsLoudness(), facts={"model": "m"}, progress=False)

    uninterrupted = run_once("whole")
    spoken, whole = [], RowSpeaker.__call__

    def speak(self, clip):
        spoken.append(clip.id)
        if len(spoken) == 2:
            raise KeyboardInterrupt
        return whole(self, clip)

    monkeypatch.setattr(RowSpeaker, "__call__", speak)
    with pytest.raises(KeyboardInterrupt):
        run_once("killed")
    assert not {"results.json", "index.html"} & {path.name for path in (tmp_path / "killed").iterdir()}
    assert run_once("killed") == uninterrupted
    assert Counter(spoken) == {"ann/clip 0": 1, "ann/clip 2": 2, "carl/clip 1": 1}
    for name in ("per_clip.parquet", "index.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run_once("killed") == uninterrupted and len(spoken) == 4


def test_a_full_disk_is_named_and_the_evaluation_goes_on_where_there_is_room(
    make_systems, quick_measures, tmp_path, disk
):
    def once(out):
        return evaluate(make_systems(), out, recogniser=HearsLoudness(), facts={"model": "m"}, progress=False)

    expected, failures = once(tmp_path / "whole"), 0
    for kilobytes in (64, 200, 400, 600, 16 << 10):
        disk.resize(kilobytes)
        try:
            found = once(disk.path / "out")
        except OSError as error:
            failures += 1
            assert "No space left on device" in str(error) and str(disk.path / "out") in str(error)
            assert not list(disk.path.rglob("*.partial*"))
    assert failures >= 2 and found["rows"] == expected["rows"]
    disk.read_only()
    with pytest.raises(OSError, match="cannot be written: Read-only file system"):
        evaluate(make_systems(), disk.path / "other", recogniser=HearsLoudness(), progress=False)


def test_a_folder_of_another_evaluation_is_refused_before_any_work(
    evaluated, make_systems, monkeypatch, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(evaluated[0], out)
    before = (out / "results.json").read_bytes()
    monkeypatch.setattr(run, "_evaluate_clip", pytest.fail)
    with pytest.raises(DatasetError, match="differs in: speaker, recogniser, measures, seed"):
        evaluate(make_systems(speaker="bob", seed=1), out, seed=1, progress=False)
    with pytest.raises(DatasetError, match="differs in: clips"):
        evaluate(make_systems(limit=2), out, recogniser=HearsLoudness(), progress=False)
    assert (out / "results.json").read_bytes() == before
    (out / ".evaluation" / "settings.json").write_bytes(b"cut")
    with pytest.raises(DatasetError, match="settings.json is damaged: give another folder, or remove"):
        evaluate(make_systems(), out, recogniser=HearsLoudness(), progress=False)


@pytest.mark.parametrize("damage", [b"", b"[", b"{}"])
def test_a_clip_whose_numbers_are_damaged_is_to_be_done_again(tmp_path, damage):
    marker = run._marker(tmp_path, "ann/clip")
    marker.parent.mkdir(parents=True)
    marker.write_bytes(damage)
    assert run._done(tmp_path, "ann/clip") is None
    marker.write_text('{"skipped": "NoFaceError", "message": "no face"}')
    assert run._done(tmp_path, "ann/clip") == {"skipped": "NoFaceError", "message": "no face"}


def test_a_folder_with_other_files_is_refused(make_systems, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DatasetError, match="holds other files"):
        evaluate(make_systems(), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_clip_that_cannot_be_used_counts_in_no_row_and_is_named(untrained, quick_measures, tmp_path):
    folder = write_prepared(tmp_path / "set", clips=2)
    (folder / "video/carl/clip 1.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    results = evaluate(RowSpeaker(untrained, open_evaluation_set(folder)), out, progress=False)
    skipped = [(clip["id"], clip["skipped"]) for clip in results["skipped"]]
    assert skipped == [("carl/clip 1", "UnreadableVideoError")] and results["facts"]["clips"] == 1
    assert {score["clips"] for row in results["rows"] for score in row["scores"].values() if score} == {1}
    assert "left out of every row: carl/clip 1" in (out / "index.html").read_text()
    for path in (folder / "video").rglob("*.mp4"):
        path.write_bytes(b"no video")
    with pytest.raises(DatasetError, match="None of the 2 clips"):
        evaluate(RowSpeaker(untrained, open_evaluation_set(folder)), tmp_path / "none", progress=False)


@pytest.mark.parametrize("file", ["mel", "units"])
def test_a_clip_of_damaged_targets_is_left_out_and_named(untrained, tmp_path, file):
    folder = write_prepared(tmp_path / "set", clips=2)
    (folder / file / "ann" / "clip 0.npy").write_bytes(b"no array")
    systems = RowSpeaker(untrained, open_evaluation_set(folder))
    with pytest.raises(DatasetError, match="of ann/clip 0 in .* is damaged"):
        systems.reference(systems.clips.clips[0])
    assert systems.reference(systems.clips.clips[1]).units.shape == (2 * FRAMES,)


def test_a_clip_without_sound_takes_no_other_clip_with_it(untrained, quick_measures, tmp_path):
    folder = write_prepared(tmp_path / "set", clips=4)
    for silent, kept in ((("ann/clip 0", "carl/clip 1"), 2), (("ann/clip 2",), 1)):
        for name in silent:
            (folder / f"audio/{name}.flac").write_bytes(b"no sound")
        out = tmp_path / str(kept)
        results = evaluate(RowSpeaker(untrained, open_evaluation_set(folder)), out, progress=False)
        assert results["facts"]["clips"] == kept and len(results["skipped"]) == 4 - kept
        shuffled = {line["id"]: line["against"] for line in lines_of(out, "shuffled")}
        # scored against each other; where there is no other, there is no such row
        expected = {"ann/clip 2": "carl/clip 3", "carl/clip 3": "ann/clip 2"} if kept == 2 else {}
        assert shuffled == expected
        assert ("shuffled" in {row["row"] for row in results["rows"]}) == bool(shuffled)


def test_without_recogniser_and_second_clip_there_are_no_word_errors_and_no_shuffled_row(
    make_systems, quick_measures, tmp_path
):
    results = evaluate(make_systems(limit=1), tmp_path, progress=False)
    assert [row["row"] for row in results["rows"]] == [row for row in ROWS if row != "shuffled"]
    assert "wer" not in {measure["key"] for measure in results["measures"]}
    assert results["facts"]["recogniser"] is None and "highest ESTOI" in results["ranked_by"]


@pytest.mark.parametrize(
    ("speaker", "voices"),
    [
        pytest.param(None, ["ann, of the model"] * 2, id="named like the speaker, or default"),
        pytest.param("bob", ["bob, of the model"] * 2, id="of the model"),
        pytest.param("own", [f"{name}, from the clip's recording" for name in ("ann", "carl")], id="own"),
        pytest.param(
            "other", [f"{name}, from another clip's recording" for name in ("carl", "ann")], id="other"
        ),
        pytest.param("audio/carl/clip 1.flac", ["of the recording clip 1.flac"] * 2, id="a recording"),
    ],
)
def test_the_voice_is_the_one_that_was_asked_for(make_systems, prepared_set, speaker, voices):
    recording = speaker is not None and "/" in speaker
    systems = make_systems(speaker=str(prepared_set / speaker) if recording else speaker)
    spoken = [systems(systems.clips.clips[place]) for place in (0, 2)]
    assert [speech.voices["end_to_end"] for speech in spoken] == voices
    default = make_systems(speaker="ann")(systems.clips.clips[0]).waveforms
    for row in ("copy_synthesis", "end_to_end"):
        assert np.array_equal(spoken[0].waveforms[row], default[row]) == (voices[0] == "ann, of the model")


def test_of_several_faces_the_one_that_was_asked_for_is_evaluated_and_resumed(untrained, tmp_path):
    talkers = two_talkers(tmp_path / "videos" / "call.mp4")
    clips = open_evaluation_set(tmp_path / "videos")
    (clip,) = clips.clips
    for face, talker in enumerate(talkers):
        mouth = RowSpeaker(untrained, clips, face=face)(clip).mouth
        assert np.abs(mouth.astype(int) - mouth_crops(talker)).mean() < 3
    evaluate(RowSpeaker(untrained, clips, face=1), tmp_path / "out", progress=False)
    with pytest.raises(DatasetError, match="differs in: face"):
        evaluate(RowSpeaker(untrained, clips, face=0), tmp_path / "out", progress=False)


def hearing(inputs: Literal["both", "mel", "units"]) -> UnitVocoderModel:
    vocoder = tiny_model().vocoder
    vocoder.config.inputs = inputs
    return vocoder


def test_voices_vocoders_and_extractors_that_do_not_fit_are_refused_before_the_first_clip(
    make_systems, untrained, tmp_path
):
    with pytest.raises(Lip2SpeechError, match="'dora' is neither a voice"):
        make_systems(speaker="dora")
    with pytest.raises(Lip2SpeechError, match="mel only has inputs 'units' and 20 units in its config"):
        make_systems(vocoders={MEL_ONLY: hearing("units")})
    with pytest.raises(Lip2SpeechError, match="face=0, but .* is a prepared folder, of mouths alone"):
        make_systems(face=0)
    other = write_prepared(tmp_path / "set", clips=2, num_units=12)
    with pytest.raises(Lip2SpeechError, match="12 units and the model 20"):
        RowSpeaker(untrained, open_evaluation_set(other))


def test_the_unit_extractor_comes_with_the_model_or_is_named(prepared_set, tmp_path):
    assert find_unit_extractor(None, str(tmp_path)) is None
    named = find_unit_extractor(str(prepared_set), str(tmp_path))
    assert named is not None and named.config.num_units == 20
    named.save_pretrained(tmp_path / "unit_extractor")
    assert find_unit_extractor(None, str(tmp_path)) is not None
    (tmp_path / "unit_extractor" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(NotLoadedError, match="its weights are damaged"):  # not left out without a word
        find_unit_extractor(None, str(tmp_path))
    with pytest.raises(Lip2SpeechError, match="nothing holds no unit extractor"):
        find_unit_extractor(str(tmp_path / "nothing"), str(tmp_path))


def test_vocoders_of_one_input_hear_nothing_of_the_other(make_systems, quick_measures, tmp_path):
    vocoders = {UNITS_ONLY: hearing("units"), MEL_ONLY: hearing("mel")}
    systems = make_systems(vocoders=vocoders, limit=1)
    clip, real = systems.clips.clips[0], systems.reference
    speech = systems(clip).waveforms
    for changed, deaf in (("mel", UNITS_ONLY), ("units", MEL_ONLY)):
        other = real(clip)
        setattr(other, changed, np.roll(getattr(other, changed), 7, axis=0))
        systems.reference = lambda _clip, other=other: other
        moved = systems(clip).waveforms
        changed_rows = {row for row in speech if not np.array_equal(speech[row], moved[row])}
        assert changed_rows == {"copy_synthesis", UNITS_ONLY, MEL_ONLY} - {deaf}
    systems.reference = real
    results = evaluate(systems, tmp_path, progress=False)
    assert [row["row"] for row in results["rows"]][1:4] == ["copy_synthesis", UNITS_ONLY, MEL_ONLY]


@pytest.mark.parametrize("count", [2, 3, 49])
def test_a_derangement_leaves_nothing_in_place_and_comes_back_with_its_seed(count):
    for seed in range(20):
        order = derangement(count, seed)
        assert sorted(order) == list(range(count)) and order == derangement(count, seed)
        cycle = [0]
        while order[cycle[-1]] != 0:
            cycle.append(order[cycle[-1]])
        assert sorted(cycle) == list(range(count))
        assert all(place != partner for place, partner in enumerate(order))
    with pytest.raises(DatasetError, match="at least 2"):
        derangement(1, 0)


def test_another_seed_is_another_derangement_and_another_noise(make_systems):
    assert derangement(49, 0) != derangement(49, 1)
    clip = make_systems().clips.clips[0]
    first, same, other = (make_systems(seed=seed)(clip).waveforms for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["noise"], same["noise"])
    assert not np.array_equal(first["noise"], other["noise"])
    np.testing.assert_array_equal(first["end_to_end"], other["end_to_end"])
    truth, noise = (np.sqrt(np.mean(first[row] ** 2)) for row in ("ground_truth", "noise"))
    assert truth == pytest.approx(noise, rel=0.02)
