"""What becomes of clips: targets, skipped clips, bugs, units, choice, report, dry run, command line."""

import errno
import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
import torch

import hf_lip2speech_cli
from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.data import clip_files
from hf_lip2speech.data import units as unit_targets
from hf_lip2speech.data.clip_files import common_frames, kept_frames
from hf_lip2speech.data.corpora import GRID, LRS3, Clip, FaceVideoFolder, Word
from hf_lip2speech.data.corpora.clip import shuffled
from hf_lip2speech.data.dry_run import estimate
from hf_lip2speech.data.layout import PreparedFolder, read_crops
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.errors import ClipLengthError, DatasetError, Lip2SpeechError, NoFaceError, UnexpectedError
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.video import open_video
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor
from hf_lip2speech.video.mouth import MouthClip, mouth_crops
from hf_lip2speech_cli.terminal import print_report

from ..fake_corpora import RENDERED, two_talkers
from ..tiny_model import save_tiny_hubert
from .conftest import ListCorpus, contents, manifest, records, write_talking_video


@pytest.fixture(scope="module")
def prepared_grid(grid_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("grid")
    arguments = {"unit_extractor": "mfcc", "num_units": 20, "limit": 2, "progress": False}
    return out, prepare(GRID(grid_dir), out, **arguments)


class TestRealClips:
    def test_report_counts_clips_and_hours(self, prepared_grid):
        out, report = prepared_grid
        assert report == json.loads((out / "report.json").read_text())
        assert (report["corpus"], report["found"], report["clips"], report["skipped"]) == ("grid", 4, 4, {})
        assert report["hours"] == round(4 * 74 / 25 / 3600, 4)
        hours = round(2 * 74 / 25 / 3600, 4)
        assert report["splits"]["val"] == {"found": 2, "clips": 2, "hours": hours, "speakers": 1}
        assert report["lost"] == {"clips": 0, "hours": 0.0, "unknown": 0}
        assert report["unit_extractor"]["clips"] == 2

    def test_targets_are_those_of_the_source_cut_to_the_common_length(self, prepared_grid, grid_dir):
        out, _ = prepared_grid
        item = PreparedDataset(out, "train")[0]
        sound = read_audio(grid_dir / "audio_16k" / f"{item['id']}.flac")
        frames = 74  # the video has 75, the sound 74.45
        np.testing.assert_array_equal(item["waveform"], sound[: 640 * frames])
        mel = log_mel_spectrogram(torch.from_numpy(sound)).numpy()[: 4 * frames]
        np.testing.assert_allclose(item["mel"], mel, atol=1e-5)
        extractor = SpeechUnitExtractor.from_pretrained(out / "unit_extractor")
        np.testing.assert_array_equal(item["unit_ids"], extractor.encode(sound[: 640 * frames]))
        speaker = SpeakerEncoder.bundled().embed(sound[: 640 * frames])
        np.testing.assert_allclose(item["speaker_embeddings"], speaker, atol=1e-5)
        assert len(np.unique(item["unit_ids"])) > 5

    def test_stored_crops_are_the_mouth_to_a_gray_level(self, prepared_grid, grid_dir):
        item = PreparedDataset(prepared_grid[0], "val", fields=["frames"])[1]
        with open_video(grid_dir / f"{item['id']}.mp4") as video:
            crops = mouth_crops(video)
        assert item["frames"].shape == (74, 96, 96)
        assert np.abs(item["frames"].astype(int) - crops[:74]).mean() < 1

    def test_manifest_tells_where_everything_is_and_what_is_said(self, prepared_grid):
        rows = manifest(prepared_grid[0])
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
        row = rows[0]
        assert (row["id"], row["speaker"], row["split"], row["frames"]) == ("s1/bbaf3s", "s1", "train", 74)
        assert row["text"] == "bin blue at f three soon"
        assert json.loads(row["words"])[0] == {"word": "bin", "start": 0.71, "end": 0.9}
        for column in ("video", "audio", "mel", "units", "speaker_embedding"):
            assert (prepared_grid[0] / row[column]).is_file()

    def test_a_clip_as_distributed_brings_its_own_sound(self, prepared_grid, grid_dir, run, out):
        clip = Clip("s1/bwim6p", grid_dir / "original" / "bwim6p.mpg", None, "s1", "train")
        run(ListCorpus([clip]), out, unit_extractor=prepared_grid[0] / "unit_extractor")
        item = PreparedDataset(out)[0]
        sound = read_audio(grid_dir / "audio_16k" / "s1" / "bwim6p.flac")[: len(item["waveform"])]
        assert 73 <= len(item["frames"]) <= 75
        assert np.corrcoef(item["waveform"][: len(sound)], sound)[0, 1] > 0.99


class TestLength:
    @pytest.mark.parametrize(
        ("frames", "samples", "common"),
        [
            *[(75, 48_000, 75), (75, 47_648, 74), (75, 49_900, 75), (75, 46_080, 72), (1, 640, 1)],
            *[(75, 56_000, 75), (75, 40_000, 62)],
        ],
        ids="equal a_little_shorter longer 3_frames_shorter 1_frame longest shortest".split(),
    )
    def test_the_shorter_of_video_and_sound_counts(self, frames, samples, common):
        assert common_frames(frames, samples) == common
        whole = frames if samples <= 640 * (frames - 1) else common
        assert kept_frames(frames, samples) == whole

    @pytest.mark.parametrize(
        ("frames", "samples"), [(75, 39_999), (75, 56_001), (1, 639)], ids=["short", "long", "not one frame"]
    )
    def test_more_than_half_a_second_off_is_refused(self, frames, samples):
        with pytest.raises(ClipLengthError):
            common_frames(frames, samples)

    def test_up_to_half_a_second_of_sound_is_cut_or_padded_and_counted(self, cropped, clip_maker, run, out):
        frames = {"a/longer": 24, "a/shorter": 16, "a/alike": 22}  # of the sound
        report = run(ListCorpus(clip_maker(name, 20, 640 * count) for name, count in frames.items()), out)
        assert (report["clips"], report["trimmed"], report["padded"], report["skipped"]) == (3, 1, 1, {})
        assert {row["id"]: row["frames"] for row in manifest(out)} == dict.fromkeys(frames, 20)
        assert report["warnings"] == [
            {"id": "a/longer", "message": "the sound is 0.16 s longer than the video; its end was cut."},
            {"id": "a/shorter", "message": "the sound is 0.16 s shorter than the video; silence was added."},
        ]
        assert [len(item["waveform"]) for item in PreparedDataset(out)] == [640 * 20] * 3
        sound = next(item for item in PreparedDataset(out) if item["id"] == "a/shorter")["waveform"]
        assert not sound[640 * 16 :].any() and sound[: 640 * 16].any()

    def test_frames_without_a_face_are_counted(self, cropped, clip_maker, run, out, monkeypatch):
        good = clip_files.read_mouth

        def half_seen(source, **options):
            mouth = good(source, **options)
            return MouthClip(mouth.crops, np.arange(len(mouth.crops)) < 12)

        monkeypatch.setattr(clip_files, "read_mouth", half_seen)
        report = run(ListCorpus(clip_maker(f"a/{k}", 20, 640 * 20) for k in range(3)), out)
        assert report["faceless"] == {"frames": 24, "clips": 3}


class TestSkipping:
    def test_what_cannot_be_used_is_named_with_the_reason_and_not_tried_again(
        self, clip_maker, cropped, corpus, run, out, tmp_path
    ):
        (tmp_path / "corpus" / "text.mp4").write_text("no video")
        sound = corpus[0].audio
        corpus += [
            clip_maker("anna/silent", samples=0),
            clip_maker("anna/short", frames=30, samples=640 * 6),
            Clip("anna/gone", tmp_path / "gone.mp4", sound, "anna", "train"),
            Clip("anna/text", tmp_path / "corpus" / "text.mp4", sound, "anna", "train"),
        ]
        report = run(corpus, out)
        reasons = {clip["id"]: reason for reason, clips in report["skipped"].items() for clip in clips}
        assert reasons == {
            "anna/silent": "NoAudioError",
            "anna/short": "ClipLengthError",
            "anna/gone": "MissingVideoError",
            "anna/text": "UnreadableVideoError",
        }
        assert "30 frames" in report["skipped"]["ClipLengthError"][0]["message"]
        assert (report["found"], report["clips"]) == (7, 3)
        known = (6 * 640 + 2 * len(read_audio(sound))) / 16_000 / 3600
        assert report["lost"] == {"clips": 4, "hours": round(known, 4), "unknown": 1}
        assert [row["id"] for row in manifest(out)] == ["anna/one", "anna/two", "ben/one"]
        cropped.clear()
        assert run(corpus, out) == report == json.loads((out / "report.json").read_text())
        assert cropped == []

    @pytest.mark.parametrize(
        "error",
        [av.error.InvalidDataError(1094995529, "Invalid data"), PermissionError(13, "Permission denied")],
        ids=["FFmpeg's own", "no permission"],
    )
    def test_a_foreign_error_of_reading_the_file_skips_its_clip(self, corpus, run, out, before_crops, error):
        def fail(video):
            if video == corpus[2].video:
                raise error

        before_crops(fail)
        report = run(corpus, out)
        ((reason, clips),) = report["skipped"].items()
        assert (reason, clips[0]["id"], report["failed"]) == ("UnreadableVideoError", "ben/one", {})
        assert error.strerror in clips[0]["message"]

    def test_a_full_disk_stops_the_work_and_the_clip_is_named(self, cropped, corpus, run, out, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(clip_files, "write_video", full)
        with pytest.raises(OSError, match="No space left") as caught:
            run(corpus, out)
        assert "while preparing anna/one" in caught.value.__notes__[0]
        with pytest.raises(DatasetError, match="preparation was not finished"):
            PreparedDataset(out)

    def test_no_usable_clip_at_all_is_an_error_that_says_why(self, corpus, run, out, before_crops):
        def faceless(video):
            raise NoFaceError("no face was found")

        before_crops(faceless)
        with pytest.raises(DatasetError, match="None of the 3 clips could be prepared: 3 x NoFaceError"):
            run(corpus, out)
        assert len(json.loads((out / "report.json").read_text())["skipped"]["NoFaceError"]) == 3

    def test_warnings_of_a_clip_are_in_the_report(self, corpus, run, out, before_crops):
        before_crops(lambda video: warnings.warn("two faces", stacklevel=1))
        assert run(ListCorpus(corpus[:1]), out)["warnings"] == [{"id": "anna/one", "message": "two faces"}]

    def test_of_a_damaged_lrs3_every_clip_is_stored_or_named_with_its_reason(self, cropped, lrs3, run, out):
        with pytest.warns(UserWarning, match="files are not named as clips"):
            corpus = LRS3(lrs3.root)
        report = run(corpus, out, max_seconds=2)
        reasons = {clip["id"]: reason for reason, clips in report["skipped"].items() for clip in clips}
        assert lrs3.unwatchable <= set(reasons) <= lrs3.unwatchable | lrs3.cut_off
        assert reasons["trainval/_0bAdFiLeS_/50004"] == "MissingVideoError"
        assert reasons["trainval/_0bAdFiLeS_/50003"] in ("EmptyVideoError", "UnreadableVideoError")
        rows = manifest(out)
        assert {row["source"] for row in rows} | set(reasons) == set(lrs3.splits)
        assert lrs3.untold <= {warning["id"] for warning in report["warnings"]}
        long = [row for row in rows if row["source"] == "pretrain/-pAQW3_1dEk/00002"]
        assert len(long) > 1 and max(row["frames"] for row in long) <= 50
        assert report["cut"] >= 1 and len(PreparedDataset(out)) == report["clips"]


def test_the_face_that_is_asked_for_is_prepared_and_another_one_anew(run, out, tmp_path):
    talkers = two_talkers(tmp_path / "videos" / "call.mp4")
    corpus = FaceVideoFolder(tmp_path / "videos")
    for face, talker in enumerate(talkers):
        assert run(corpus, out, face=face)["clips"] == 1
        crops = read_crops(out / manifest(out)[0]["video"])
        assert np.abs(crops.astype(int) - mouth_crops(talker)).mean() < 4
    with pytest.raises(DatasetError, match="1 x NoFaceError"):
        run(corpus, out, face=2)
    assert "shows 2 faces, counted from left to right" in (out / "report.json").read_text()
    with pytest.raises(Lip2SpeechError, match="face='loudest': expected 'talking'"):
        run(corpus, out, face="loudest")


def test_of_several_sound_tracks_the_one_with_speech_is_taken_and_named(cropped, run, out, tmp_path):
    speech = read_audio(RENDERED / "audio_16k" / "slt" / "pgay4a.flac")
    noise = np.random.default_rng(0).uniform(-0.01, 0.01, len(speech)).astype(np.float32)
    path = tmp_path / "videos" / "a.mkv"
    path.parent.mkdir()
    frames = np.zeros((75, 96, 96, 3), dtype=np.uint8)
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 96, 96, "yuv420p"
        sounds = [(file.add_stream("pcm_s16le", rate=16_000, layout="mono"), s) for s in (noise, speech)]
        sounds[1][0].metadata["title"] = "Mic"
        for picture in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(video.encode(None))
        for stream, sound in sounds:
            pcm = av.AudioFrame.from_ndarray(
                (sound[None] * 32767).astype(np.int16), format="s16", layout="mono"
            )
            pcm.sample_rate, pcm.pts = 16_000, 0
            file.mux([*stream.encode(pcm), *stream.encode(None)])
    report = run(FaceVideoFolder(path.parent), out)
    (warning,) = report["warnings"]
    assert "has 2 sound tracks; track 2 (Mic), which has most speech, is used" in warning["message"]
    item = PreparedDataset(out)[0]
    assert np.corrcoef(item["waveform"], speech[: len(item["waveform"])])[0, 1] > 0.99


class TestBugs:
    def test_a_bug_is_not_a_skipped_clip_its_traceback_is_kept_and_the_clip_is_tried_again(
        self, corpus, run, out, before_crops
    ):
        before_crops(lambda video: [][0] if video == corpus[2].video else None)
        report = run(corpus, out)
        assert (report["clips"], report["lost"]["clips"], report["skipped"]) == (2, 1, {})
        ((where, bug),) = report["failed"].items()
        assert where.startswith("IndexError at test_prepare.py:") and bug["ids"] == ["ben/one"]
        assert "[][0] if video" in bug["traceback"]
        assert bug["traceback"] in [record.get("traceback") for record in records(out)]
        before_crops(lambda video: None)
        report = run(corpus, out)
        assert (report["clips"], report["failed"]) == (3, {})

    def test_one_bug_at_three_clips_stops_the_run_with_its_traceback(
        self, cropped, corpus, clip_maker, run, out, tmp_path, monkeypatch
    ):
        corpus.append(clip_maker("zoe/one"))
        monkeypatch.setattr(clip_files, "segments_of", lambda clip, frames, limit: frames.length)
        with pytest.raises(UnexpectedError, match="ben/one the last .*(?s:.)*has no attribute 'length'"):
            run(corpus, out)
        assert [record["id"] for record in records(out)] == ["anna/one", "anna/two", "ben/one"]
        with pytest.raises(UnexpectedError, match="No clip could be prepared because of a bug(?s:.)*Trace"):
            run(corpus, tmp_path / "other", limit=1)


@pytest.fixture(scope="module")
def tiny_hubert(tmp_path_factory) -> Path:
    """A HuBERT with random weights, whose first normalisation is over time as in the Base models."""
    folder = tmp_path_factory.mktemp("hubert")
    save_tiny_hubert(folder)
    return folder


def test_data_prepared_from_another_corpus_stay(cropped, corpus, run, out):
    run(corpus, out)
    before = contents(out)
    corpus.name = "another"
    with pytest.raises(DatasetError, match=f"{out} holds data prepared from made up. Name another"):
        run(corpus, out)
    assert contents(out) == before
    (out / "report.json").write_text("cut")
    assert run(corpus, out)["corpus"] == "another"


class TestUnits:
    def test_fitted_on_the_train_split_and_fitted_anew_when_that_changes(
        self, cropped, clip_maker, corpus, run, out
    ):
        arguments = {"unit_extractor": "mfcc", "num_units": 5}
        first = run(corpus, out, **arguments)["unit_extractor"]
        assert (first["units"], first["num_units"], first["clips"]) == ("mfcc", 5, 2)
        before = contents(out)
        cropped.clear()
        assert run(corpus, out, **arguments)["unit_extractor"] == first
        assert contents(out) == before
        second = run(corpus, out, limit=1, **arguments)["unit_extractor"]
        assert second["clips"] == 1 and cropped == []
        assert contents(out)["units/anna/one.npy"] != before["units/anna/one.npy"]
        place = next(place for place, clip in enumerate(corpus) if clip.split == "train")
        corpus[place] = clip_maker("dora/one", frames=25)
        third = run(corpus, out, **arguments)["unit_extractor"]
        assert third["clips"] == 2 and third["fingerprint"] != first["fingerprint"]

    def test_where_a_new_extractor_cannot_be_written_units_of_the_old_one_do_not_stay(
        self, cropped, corpus, run, out, monkeypatch
    ):
        run(corpus, out, unit_extractor="mfcc", num_units=5)
        assert (out / "manifest.parquet").exists()
        full = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(SpeechUnitExtractor, "save_pretrained", Mock(side_effect=full))
        with pytest.raises(OSError, match="No space left"):
            run(corpus, out, unit_extractor="mfcc", num_units=6)
        assert not [name for name in ("manifest.parquet", "units", "unit_extractor") if (out / name).exists()]

    def test_a_given_extractor_is_the_same_by_hand_and_by_path(
        self, cropped, corpus, units, run, out, tmp_path
    ):
        by_hand = run(corpus, out)["unit_extractor"]
        units.save_pretrained(tmp_path / "units")
        by_path = run(corpus, out, unit_extractor=tmp_path / "units")["unit_extractor"]
        assert by_path["fingerprint"] == by_hand["fingerprint"]
        assert (by_hand["units"], by_path["units"]) == ("given", str(tmp_path / "units"))
        placed = SpeechUnitExtractor.from_pretrained(out / "unit_extractor")
        assert torch.equal(placed.centroids, units.centroids)
        placed.centroids += 1
        assert (
            run(corpus, out, unit_extractor=placed)["unit_extractor"]["fingerprint"] != by_hand["fingerprint"]
        )

    def test_features_to_fit_need_a_train_split(self, corpus, run, out):
        with pytest.raises(DatasetError, match="fitted on the train split, but the clips are of val only"):
            run(corpus, out, splits=["val"], unit_extractor="mfcc")

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (None, "has no config.json"),
            ("{", "is neither a folder with a config.json"),
            ('{"model_type": "bert", "hidden_size": 8}', "is not a speech model that units can come from"),
        ],
        ids=["no config", "a damaged config", "another kind of model"],
    )
    def test_what_is_no_unit_model_is_named_before_any_work(
        self, cropped, corpus, run, out, tmp_path, config, message
    ):
        folder = tmp_path / "model"
        folder.mkdir()
        if config is not None:
            (folder / "config.json").write_text(config)
        with pytest.raises(DatasetError, match=f"{message}.*Give a saved SpeechUnitExtractor"):
            run(corpus, out, unit_extractor=folder)
        with pytest.raises(
            DatasetError, match="neither a folder with a config.json nor available from the Hub"
        ):
            run(corpus, out, unit_extractor="no/such-model")
        assert cropped == [] and not out.exists()

    def test_where_no_clip_has_sound_to_fit_units_on_the_reasons_of_the_clips_are_told(
        self, cropped, clip_maker, run, out
    ):
        corpus = ListCorpus(clip_maker(f"a/{number}", samples=0) for number in range(2))
        with pytest.raises(DatasetError, match="None of the 2 clips could be prepared: 2 x NoAudioError"):
            run(corpus, out, unit_extractor="mfcc")
        with pytest.raises(Lip2SpeechError, match="200 units need at least"):
            run(ListCorpus([clip_maker("a/0")]), out, unit_extractor="mfcc")

    def test_clips_of_one_length_go_through_the_model_together_and_get_what_each_gets_alone(
        self, cropped, corpus, clip_maker, tiny_hubert, run, out, monkeypatch
    ):
        corpus += [clip_maker(f"carl/{n}", frames=12) for n in range(5)]
        sizes = []
        forward = SpeechUnitExtractor.forward

        def watched(self, waveforms, *rest, **options):
            sizes.append(tuple(waveforms.shape))
            return forward(self, waveforms, *rest, **options)

        monkeypatch.setattr(SpeechUnitExtractor, "forward", watched)
        run(corpus, out, unit_extractor=tiny_hubert, num_units=6)
        assert sorted(sizes) == [(1, 10 * 640), (1, 11 * 640), (6, 12 * 640)]
        extractor = SpeechUnitExtractor.from_pretrained(out / "unit_extractor")
        for item in PreparedDataset(out):
            np.testing.assert_array_equal(item["unit_ids"], extractor.encode(item["waveform"]))

    def test_where_there_is_a_gpu_this_process_makes_the_units_there(
        self, cropped, corpus, run, out, monkeypatch
    ):
        placed = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            SpeechUnitExtractor, "to", lambda self, device: placed.append((device, os.getpid())) or self
        )
        run(corpus, out)
        assert placed == [("cuda", os.getpid())]
        assert len(PreparedDataset(out)[0]["unit_ids"]) == 20

    def test_the_fit_reads_no_more_sound_than_it_needs_of_clips_that_the_seed_draws(
        self, corpus, clip_maker, out, run, cropped, monkeypatch
    ):
        corpus += [clip_maker(f"carl/{n}", frames=25) for n in range(12)]
        monkeypatch.setattr(unit_targets, "FITTING_SECONDS", 3)
        read = []
        good = unit_targets.read_sound
        monkeypatch.setattr(unit_targets, "read_sound", lambda clip: read.append(clip.id) or good(clip))
        seeds = []
        fit = SpeechUnitExtractor.fit
        monkeypatch.setattr(
            SpeechUnitExtractor, "fit", lambda *args, seed: seeds.append(seed) or fit(*args, seed=seed)
        )
        run(corpus, out, unit_extractor="mfcc", num_units=5)
        first = read.copy()
        assert 3 <= len(first) <= 7 and "anna/two" not in first, "train only"
        run(corpus, out, unit_extractor="mfcc", num_units=5, seed=1)
        assert read[len(first) :] != first and seeds == [0, 1]


class TestHeldOutClips:
    @pytest.fixture
    def videos(self, tmp_path) -> FaceVideoFolder:
        for name in "abcdef":
            write_talking_video(tmp_path / "videos" / f"{name}.mp4")
        return FaceVideoFolder(tmp_path / "videos")

    def test_validation_clips_are_drawn_among_those_that_are_usable(self, cropped, videos, run, out):
        (drawn,) = [clip for clip, split in videos.splits.items() if split == "val"]
        write_talking_video(videos.data_dir / f"{drawn}.mp4", silent=True)
        report = run(videos, out)
        assert {split: counts["clips"] for split, counts in report["splits"].items()} == {
            "train": 4,
            "val": 1,
        }
        second = shuffled(videos.splits, seed=0)[1]
        assert {row["id"] for row in manifest(out) if row["split"] == "val"} == {second}
        write_talking_video(videos.data_dir / f"{drawn}.mp4")  # mended
        assert run(videos, out)["splits"]["train"]["clips"] == 5
        assert {row["id"] for row in manifest(out) if row["split"] == "val"} == {drawn}

    def test_a_split_that_loses_all_clips_is_an_error_with_advice(
        self, cropped, corpus, clip_maker, run, out
    ):
        corpus[1] = clip_maker("anna/two", samples=0, split="val")
        corpus[1].video.with_suffix(".wav").unlink(missing_ok=True)
        with pytest.raises(
            DatasetError, match=r"split val could be prepared \(1 x NoAudioError.*Add or mend"
        ):
            run(corpus, out)
        assert json.loads((out / "report.json").read_text())["splits"]["val"]["clips"] == 0
        assert not (out / "manifest.parquet").exists()
        assert run(corpus, out, splits=["train"])["clips"] == 2

    def test_a_drawn_clip_is_replaced_by_one_of_the_same_speaker(self, tmp_path):
        for speaker in ("s1", "s2"):
            for digit in "z123456789":
                for end in "an":
                    path = tmp_path / speaker / f"bbaf{digit}{end}.mpg"
                    path.parent.mkdir(exist_ok=True)
                    path.touch()
        corpus = GRID(tmp_path)
        assert corpus.draw_seed == 0
        assert {corpus.drawn_from(clip) for clip in corpus.splits} == {"s1", "s2"}


class TestChoice:
    @pytest.mark.parametrize(
        ("data_dir", "out"),
        [("videos", "videos"), ("videos", "videos/prepared"), ("prepared/video", "prepared")],
        ids=["the same folder", "inside the corpus", "the corpus inside"],
    )
    def test_the_corpus_is_not_written_to(self, cropped, run, tmp_path, data_dir, out):
        write_talking_video(tmp_path / data_dir / "a.mp4")
        before = contents(tmp_path)
        with pytest.raises(DatasetError, match="Choose a folder beside it"):
            run(FaceVideoFolder(tmp_path / data_dir), tmp_path / out)
        assert contents(tmp_path) == before

    def test_splits_and_limit_choose_the_first_clips_of_each(self, cropped, corpus, run, out, tmp_path):
        run(corpus, out, limit=1)
        assert [row["id"] for row in manifest(out)] == ["anna/one", "anna/two"]
        run(corpus, tmp_path / "b", splits=["val"])
        assert [row["id"] for row in manifest(tmp_path / "b")] == ["anna/two"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"splits": ["dev"]}, r"splits=\['dev'\].*expected some of \['train', 'val'\]"),
            ({"num_proc": 0}, "must be at least 1"),
            ({"limit": 0}, "must be at least 1"),
            ({"shard": (0, 2)}, "expected i/n with i from 1 to n"),
            ({"shard": (3, 2)}, "expected i/n with i from 1 to n"),
            ({"engine": "spark"}, "engine='spark'; expected one of local, ray"),
        ],
        ids=str,
    )
    def test_an_impossible_argument_is_refused(self, corpus, run, out, arguments, message):
        with pytest.raises(DatasetError, match=message):
            run(corpus, out, **arguments)
        assert not out.exists()


class TestLongClips:
    @pytest.fixture
    def long(self, clip_maker, corpus):
        words = tuple(Word(f"w{n}", 0.3 * n + 0.1, 0.3 * n + 0.3) for n in range(13))
        corpus[0] = clip_maker("anna/long", frames=100, words=words, text="W0 AND SO ON")
        return corpus

    def test_parts_hold_what_the_whole_clip_holds_there(self, cropped, long, run, out, tmp_path):
        run(long, tmp_path / "whole")
        report = run(long, out, max_seconds=1)
        assert (report["cut"], report["found"], report["clips"]) == (1, 3, 7)
        assert report["hours"] == round((100 + 11 + 12) / 25 / 3600, 4)
        whole = PreparedDataset(tmp_path / "whole")[0]
        parts = [item for item in PreparedDataset(out) if "long" in item["id"]]
        assert all(len(part["frames"]) <= 25 for part in parts)
        for name in ("mel", "waveform"):
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])
        frames = np.concatenate([part["frames"] for part in parts]).astype(int)
        assert np.abs(frames - whole["frames"]).mean() < 3, "encoded anew"
        assert [len(part["unit_ids"]) for part in parts] == [2 * len(part["frames"]) for part in parts]
        for part in parts:
            np.testing.assert_array_equal(part["speaker_embeddings"], whole["speaker_embeddings"])
        rows = [row for row in manifest(out) if row["source"] == "anna/long"]
        assert " ".join(row["text"] for row in rows) == " ".join(f"w{n}" for n in range(13))
        starts = np.cumsum([0] + [row["frames"] for row in rows])[:-1]
        assert [row["start"] for row in rows] == starts.tolist()

    def test_another_limit_does_only_the_clips_anew_that_it_concerns(self, cropped, long, run, out):
        run(long, out, max_seconds=1)
        cropped.clear()
        run(long, out, max_seconds=2)
        assert [path.stem for path in cropped] == ["long"]
        assert [row["id"] for row in manifest(out)][:2] == ["anna/long_00", "anna/long_01"]
        run(long, out)
        assert [path.stem for path in cropped] == ["long"] * 2
        cropped.clear()
        run(long, out, max_seconds=4)
        assert cropped == []


def test_the_contact_sheet_shows_the_middle_of_each_clip_where_the_report_says(cropped, larger, run, out):
    report = run(larger, out)
    with av.open(str(out / "contact_sheet.png")) as picture:
        page = next(picture.decode(video=0)).to_ndarray(format="gray")
    assert page.shape == (96, 7 * 98 - 2) and len(report["contact_sheet"]) == 7
    for number, clip in enumerate(report["contact_sheet"]):
        crops = read_crops(PreparedFolder(out).path("video", clip))
        np.testing.assert_array_equal(page[:, 98 * number : 98 * number + 96], crops[len(crops) // 2])


class TestDryRun:
    def test_tells_what_the_preparation_then_takes_and_leaves_nothing(
        self, cropped, larger, run, out, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        (tmp_path / "tmp").mkdir()
        arguments = {"unit_extractor": "mfcc", "num_units": 5}
        cost = estimate(larger, **arguments)
        assert not list((tmp_path / "tmp").iterdir())
        run(larger, out, **arguments)
        folders = ("video", "audio", "mel", "units", "speaker")
        files = [path for name in folders for path in (out / name).rglob("*") if path.is_file()]
        assert cost["files"] == len(files) == 35
        disk = sum(path.stat().st_blocks * 512 for path in files)
        assert cost["gigabytes"] * 1e9 == pytest.approx(disk, rel=0.1)
        assert (cost["clips"], cost["sample"]) == (9, 9)
        assert cost["skipped"] == {"NoAudioError": 1, "ClipLengthError": 1}
        took = [record["took"] for record in records(out)]
        assert 0.1 < cost["crop_hours"] * 3600 / sum(took) < 10
        assert cost["wall_hours"] >= cost["crop_hours"] + cost["unit_hours"]

    def test_a_sample_stands_for_the_rest(self, cropped, clip_maker, units):
        corpus = ListCorpus(clip_maker(f"a/{n}", frames=25) for n in range(6))
        cost = estimate(corpus, unit_extractor=units, sample=2)
        assert cost["hours"] == pytest.approx(6 / 3600) and cost["sample"] == 2 and cost["fit_hours"] == 0
        assert cost["files"] == 30

    def test_an_unfitted_model_of_any_width_is_measured(self, cropped, corpus, tiny_hubert):
        cost = estimate(corpus, unit_extractor=tiny_hubert, num_units=6)
        assert cost["unit_hours"] > 0 and cost["fit_hours"] > 0


class TestCommandLine:
    arguments = ("--units", "mfcc", "--num-units", "20")

    def test_prepares_a_folder_and_says_what_was_skipped(self, cropped, tmp_path, grid_dir, out, capsys):
        videos = tmp_path / "videos" / "s1"
        videos.mkdir(parents=True)
        for path in (grid_dir / "original").iterdir():
            (videos / path.name).symlink_to(path)
        (videos / "silent.mp4").symlink_to(grid_dir / "s1" / "bbaf3s.mp4")
        command = ["prepare", "folder", str(videos.parent), str(out), *self.arguments]
        assert hf_lip2speech_cli.main([*command, "--speaker", "carla"]) == 0
        printed = capsys.readouterr().err
        assert "Skipped 1, NoAudioError:" in printed and "s1/silent: " in printed
        assert f"3 clips (train 2, val 1), 0.00 hours in {out}" in printed
        assert "Lost 1 of 4 clips: 0.00 hours, and 1 of unknown length." in printed
        assert {row["speaker"] for row in manifest(out)} == {"carla"}

    def test_whatever_was_done_to_clips_is_told(self, before_crops, corpus, clip_maker, run, out, capsys):
        corpus += [clip_maker("carl/long", samples=640 * 16), clip_maker("carl/short", samples=640 * 8)]
        corpus += [clip_maker(f"dora/{number}", samples=0) for number in range(5)]
        before_crops(lambda video: [][0] if video == corpus[2].video else None)
        print_report(run(corpus, out), "OUT")
        told = "\n".join(capsys.readouterr().err.splitlines())
        assert "Skipped 5, NoAudioError:\n  dora/0: " in told
        assert (
            "  dora/2: " in told and "  dora/3: " not in told and "  and 2 more, see OUT/report.json" in told
        )
        assert "Failed 1 because of a bug, IndexError at test_prepare.py" in told and "\n  ben/one\n" in told
        assert "4 clips (train 3, val 1), 0.00 hours in OUT" in told
        assert "Trimmed 1 clips whose sound was longer than the video, see OUT/report.json" in told
        assert "Padded 1 clips whose sound was shorter than the video, see OUT/report.json" in told
        assert "Lost 6 of 10 clips: 0.00 hours, and 5 of unknown length." in told

    def test_shards_and_then_all_after_a_dry_run_that_writes_nothing(self, cropped, out, grid_dir, capsys):
        command = ["prepare", "grid", str(grid_dir), str(out), *self.arguments, "--limit", "2"]
        assert hf_lip2speech_cli.main([*command, "--dry-run"]) == 0
        printed = capsys.readouterr().out
        assert "From 4 of 4 clips" in printed and "GB in 20 files" in printed
        assert not out.exists()
        cropped.clear()
        for shard in ("1/2", "2/2"):
            assert hf_lip2speech_cli.main([*command, "--shard", shard]) == 0
        assert "the same command without --shard writes the manifest" in capsys.readouterr().err
        assert hf_lip2speech_cli.main(command) == 0
        assert len(cropped) == len(manifest(out)) == 4

    def test_the_bundled_units_have_a_name(self, cropped, out, grid_dir):
        command = ["prepare", "grid", str(grid_dir), str(out), "--units", "bundled", "--limit", "1"]
        assert hf_lip2speech_cli.main(command) == 0
        placed = SpeechUnitExtractor.from_pretrained(out / "unit_extractor")
        assert torch.equal(placed.centroids, SpeechUnitExtractor.from_pretrained("bundled").centroids)

    @pytest.mark.parametrize("shard", ["2", "0/2", "3/2", "a/b"])
    def test_what_is_no_shard_is_wrong_usage(self, shard, capsys):
        with pytest.raises(SystemExit) as stop:
            hf_lip2speech_cli.main(["prepare", "grid", "a", "b", "--shard", shard])
        assert stop.value.code == 2 and "expected i/n" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["grid", "CORPUS"], "holds nothing; expected one folder of videos per speaker"),
            (
                ["lrs3", "CORPUS", "--speaker", "s1"],
                "--speaker is for grid, rendered, folder, not for lrs3",
            ),
        ],
        ids=["another folder", "an option of another corpus"],
    )
    def test_a_wrong_corpus_fails_with_one_line(self, tmp_path, out, capsys, arguments, message):
        corpus, _, *options = arguments
        command = ["prepare", corpus, str(tmp_path), str(out), *options, "--units", "mfcc"]
        assert hf_lip2speech_cli.main(command) == 1
        assert message in capsys.readouterr().err

    def test_ctrl_c_says_how_to_resume(self, tmp_path, out, capsys, before_crops):
        def interrupt(video):
            raise KeyboardInterrupt

        before_crops(interrupt)
        (tmp_path / "corpus").mkdir()
        shutil.copy(Path(__file__).parents[2] / "examples/sample/talker_with_sound.mp4", tmp_path / "corpus")
        command = ["prepare", "folder", str(tmp_path / "corpus"), str(out), *self.arguments]
        assert hf_lip2speech_cli.main(command) == 130
        assert "same command again" in capsys.readouterr().err


def test_a_users_folder_takes_speakers_from_its_folders(cropped, run, out, tmp_path, grid_dir):
    for speaker, name in (("anna", "bwim6p"), ("ben", "pbwx3a")):
        folder = tmp_path / "videos" / speaker
        folder.mkdir(parents=True)
        (folder / f"{name}.mpg").symlink_to(grid_dir / "original" / f"{name}.mpg")
    run(FaceVideoFolder(tmp_path / "videos"), out)
    assert [(row["id"], row["speaker"]) for row in manifest(out)] == [
        ("anna/bwim6p", "anna"),
        ("ben/pbwx3a", "ben"),
    ]


@pytest.mark.skipif(shutil.which("bash") is None, reason="runs a shell script")
def test_the_job_array_script_runs_each_shard_and_then_all(tmp_path):
    """Slurm's variables are set by hand, and the command is one that notes how it was called."""
    script = Path(__file__).parents[2] / "examples" / "prepare_array.sh"
    fake = tmp_path / "hf-lip2speech"
    fake.write_text('#!/bin/sh\necho "$@" >> "$CALLS"\n')
    fake.chmod(0o755)
    calls = tmp_path / "calls"
    common = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "SLURM_CPUS_PER_TASK": "16"}
    arguments = ["bash", str(script), "lrs3", "/data/lrs3", "/data/out"]
    for index in (1, 2):
        array = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": "2"}
        subprocess.run(arguments, env=common | array, check=True)
    subprocess.run(arguments, env=common, check=True)
    expected = "prepare lrs3 /data/lrs3 /data/out --num-proc 16"
    assert calls.read_text().splitlines() == [f"{expected} --shard 1/2", f"{expected} --shard 2/2", expected]
