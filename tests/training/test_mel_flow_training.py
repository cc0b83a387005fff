"""Stage 3 as a user starts it: predictions, a run, a killed run, refusals."""

import re

import numpy as np
import pytest
import torch

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechModel, MelFlowModel, SpeechUnitExtractor
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.data.sampling import PredictedClips
from hf_lip2speech.errors import ConfigError
from hf_lip2speech.models.voices import read_voices
from hf_lip2speech.training.arguments import MelFlowTrainingArguments
from hf_lip2speech.training.config import load_arguments
from hf_lip2speech.training.predictions import StoredPredictions

from .conftest import STAGES, Killed, assert_same_states, checkpoints, kill
from .prepared_folder import NUM_UNITS


@pytest.fixture(scope="module")
def lip2speech(tmp_path_factory) -> str:
    torch.manual_seed(0)
    model = Lip2SpeechModel(Lip2SpeechConfig(**STAGES["train"]["model"], max_av_offset=1))
    model.save_pretrained(folder := tmp_path_factory.mktemp("lip2speech"))
    return str(folder)


def test_a_run_leaves_a_flow_for_the_reader_that_it_was_trained_on(train, lip2speech, tmp_path, capsys):
    trainer = train("train_flow", lip2speech=lip2speech, num_samples=1)
    run = tmp_path / "run"
    assert len(list((run / "predictions").glob("*.npz"))) == 6
    assert len(list((run / "predictions_val").glob("*.npz"))) == 2
    for name in ("best", "last"):
        model, report = MelFlowModel.from_pretrained(run / name, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert model.config.num_units == NUM_UNITS
        extractor = SpeechUnitExtractor.from_pretrained(run / name / "unit_extractor")
        assert extractor.config.num_units == NUM_UNITS and list(read_voices(run / name)) == ["s1"]
    said = capsys.readouterr().out
    measured = re.findall(r"^valid \d+ \| loss ([\d.]+)", said, re.MULTILINE)
    assert len(measured) == 3 and float(measured[-1]) < float(measured[0])
    assert trainer.state.best_metric == pytest.approx(float(measured[-1]), rel=1e-3)
    assert {path.name for path in (run / "samples/s1_clip6").iterdir()} == {"sampled.wav", "targets.png"}


def test_a_killed_run_resumes_to_the_bits_of_one_that_never_stopped(train, lip2speech, tmp_path):
    whole = tmp_path / "whole"
    train("train_flow", f"output_dir={whole}", lip2speech=lip2speech)
    with pytest.raises(Killed):
        train("train_flow", lip2speech=lip2speech, at={4: kill}, save_steps=3)
    assert checkpoints(tmp_path / "run") == ["checkpoint-3"]
    train("train_flow", "--resume", lip2speech=lip2speech)
    assert_same_states(whole / "checkpoint-6", tmp_path / "run/checkpoint-6")
    for name in ("best", "last"):
        one, other = (run / name / "model.safetensors" for run in (whole, tmp_path / "run"))
        assert one.read_bytes() == other.read_bytes()


def test_a_recording_is_cut_with_its_prediction_and_moved_to_where_it_fits_best(prepared, tmp_path):
    clips = PreparedDataset(prepared, "train", fields=("mel", "speaker_embeddings"))
    for index, clip in enumerate(clips):  # the picture is two mel frames ahead of the sound
        early = np.roll(clip["mel"], -2, axis=0)
        np.savez(tmp_path / f"{index:07d}.npz", mel=early, unit_ids=np.arange(len(early) // 2))
    stored = StoredPredictions(tmp_path, len(clips))
    item = PredictedClips(clips, stored, max_av_offset=2)[0]
    frames = len(item["spectrogram"])
    assert torch.equal(item["mel_labels"][: frames - 2], item["spectrogram"][: frames - 2])
    item = PredictedClips(clips, stored)[0]
    np.testing.assert_array_equal(item["mel_labels"], clips[0]["mel"])
    starts = set()
    cut = PredictedClips(clips, stored, max_frames=3, max_av_offset=2)
    for epoch in range(8):
        cut.set_epoch(epoch)
        item = cut[0]
        start = int(item["unit_ids"][0]) // 2
        assert item["unit_ids"].tolist() == list(range(2 * start, 2 * start + 6))
        whole = torch.from_numpy(stored[0]["mel"])
        assert torch.equal(item["spectrogram"], whole[4 * start : 4 * start + 12])
        assert item["mel_labels"].shape == (12, 80)
        starts.add(start)
    assert len(starts) > 2


def test_a_run_without_a_reader_or_with_another_size_is_refused(tmp_path, train, lip2speech):
    (path := tmp_path / "flow.yaml").write_text("data: d\noutput_dir: o\nreport_to: none\n")
    with pytest.raises(ConfigError, match="lip2speech is missing: give the trained model"):
        load_arguments(MelFlowTrainingArguments, path)
    with pytest.raises(ConfigError, match="metric_for_best_model is mel_l1; expected one of loss"):
        load_arguments(MelFlowTrainingArguments, path, ["lip2speech=bundled", "metric_for_best_model=mel_l1"])
    with pytest.raises(ConfigError, match=r"init_from .* holds lip2speech; expected a lip2speech_mel_flow"):
        train("train_flow", lip2speech=lip2speech, init_from=lip2speech)
