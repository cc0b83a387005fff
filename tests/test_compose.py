"""`hf-lip2speech compose`: two trained models and the voices of a prepared folder become what speaks."""

import numpy as np
import pytest
import torch
from transformers import pipeline

import hf_lip2speech_cli
from hf_lip2speech import Lip2SpeechWithVocoder
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.data.voices import speaker_voices

from .tiny_model import tiny_model
from .training.prepared_folder import write_prepared_folder


@pytest.fixture
def parts(tmp_path):
    model = tiny_model()
    model.lip2speech.save_pretrained(tmp_path / "lip2speech")
    model.vocoder.save_pretrained(tmp_path / "vocoder")
    write_prepared_folder(tmp_path / "prepared")
    return model, tmp_path


def compose(folder, *more) -> int:
    places = [str(folder / name) for name in ("lip2speech", "vocoder", "out")]
    return hf_lip2speech_cli.main(["compose", *places, "--voices", str(folder / "prepared"), *more])


def test_the_composed_folder_speaks_through_the_pipeline(parts):
    model, folder = parts
    assert compose(folder) == 0
    loaded = Lip2SpeechWithVocoder.from_pretrained(folder / "out")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    speak = pipeline("lip-to-speech", model=str(folder / "out"))
    assert speak.voices == ["s1"]
    frames = np.random.default_rng(0).integers(0, 256, (9, 96, 96), dtype=np.uint8)
    assert speak({"frames": frames, "fps": 25}, cropped=True)["audio"].shape == (9 * 640,)
    assert sorted(path.name for path in folder.iterdir()) == ["lip2speech", "out", "prepared", "vocoder"]


def test_a_voice_is_the_mean_of_the_speakers_training_clips(parts):
    _, folder = parts
    train = PreparedDataset(folder / "prepared", "train", fields=("speaker_embedding",))
    mean = np.mean([item["speaker_embedding"] for item in (train[i] for i in range(len(train)))], axis=0)
    voice = speaker_voices(folder / "prepared")["s1"]
    assert voice.dtype == np.float32
    np.testing.assert_allclose(voice, mean / np.linalg.norm(mean), atol=1e-6)


def test_an_existing_folder_is_left_alone(parts, capsys):
    _, folder = parts
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("keep")
    assert compose(folder) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in (folder / "out").iterdir()] == ["mine.txt"]


def test_an_unknown_default_voice_names_the_speakers(parts, capsys):
    _, folder = parts
    assert compose(folder, "--default-voice", "s9") == 1
    message = capsys.readouterr().err
    assert "'s9'" in message and "s1" in message
    assert not (folder / "out").exists()
