"""`hf-lip2speech compose`: two trained models and the voices of a prepared folder become what speaks."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

import hf_lip2speech_cli
from hf_lip2speech import Lip2SpeechWithVocoder, SpeechUnitExtractor
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
    train = PreparedDataset(folder / "prepared", "train", fields=("speaker_embeddings",))
    mean = np.mean([item["speaker_embeddings"] for item in (train[i] for i in range(len(train)))], axis=0)
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


def test_the_unit_extractor_that_made_the_units_comes_along(parts):
    _, folder = parts
    assert compose(folder) == 0
    made = SpeechUnitExtractor.from_pretrained(folder / "prepared" / "unit_extractor").state_dict()
    for name, tensor in (
        SpeechUnitExtractor.from_pretrained(folder / "out" / "unit_extractor").state_dict().items()
    ):
        assert torch.equal(tensor, made[name]), name


def test_without_voices_the_unit_extractor_alone_comes_along(parts, capsys):
    _, folder = parts
    places = [str(folder / name) for name in ("lip2speech", "vocoder", "out")]
    assert hf_lip2speech_cli.main(["compose", *places, "--units", str(folder / "prepared")]) == 0
    assert "no voice" in capsys.readouterr().err
    config = Lip2SpeechWithVocoder.from_pretrained(folder / "out").config
    assert not config.voices and config.default_voice is None
    loaded = SpeechUnitExtractor.from_pretrained(folder / "out" / "unit_extractor")
    made = SpeechUnitExtractor.from_pretrained(folder / "prepared" / "unit_extractor")
    assert torch.equal(loaded.centroids, made.centroids)


def test_half_the_bytes_are_stored_and_float32_is_computed(parts):
    model, folder = parts
    assert compose(folder, "--float16") == 0
    weights = load_file(folder / "out" / "model.safetensors")
    floats = [tensor for tensor in weights.values() if tensor.is_floating_point()]
    assert floats and all(tensor.dtype is torch.float16 for tensor in floats)
    speak = pipeline("lip-to-speech", model=str(folder / "out"))
    assert speak.model.dtype is torch.float32 and speak.model.config.dtype is torch.float32
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(speak.model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_voices_of_several_folders_may_be_renamed(parts):
    _, folder = parts
    write_prepared_folder(folder / "more", speaker="slt")
    assert compose(folder, str(folder / "more"), "--rename", "s1=grid_s1") == 0
    config = Lip2SpeechWithVocoder.from_pretrained(folder / "out").config
    assert list(config.voices) == ["grid_s1", "slt"] and config.default_voice == "grid_s1"


@pytest.mark.parametrize(
    "more, complaint",
    [
        (["{}/prepared"], "a speaker 's1', as a folder before"),
        (["--rename", "s2=her"], "expected SPEAKER=NAME with one of s1"),
        (["--rename", "s1"], "expected SPEAKER=NAME with one of s1"),
        (["{}/more", "--rename", "s1=slt"], "one name to two voices"),
    ],
    ids=["a speaker twice", "nobody renamed", "no new name", "two voices of one name"],
)
def test_voices_that_cannot_be_told_apart_are_refused(parts, capsys, more, complaint):
    _, folder = parts
    write_prepared_folder(folder / "more", speaker="slt")
    assert compose(folder, *[word.format(folder) for word in more]) == 1
    assert complaint in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_an_unknown_default_voice_names_the_speakers(parts, capsys):
    _, folder = parts
    assert compose(folder, "--default-voice", "s9") == 1
    message = capsys.readouterr().err
    assert "'s9'" in message and "s1" in message
    assert not (folder / "out").exists()


def test_what_units_alone_cannot_bring_is_refused_before_any_model_is_loaded(parts, capsys):
    _, folder = parts
    places = [str(folder / name) for name in ("lip2speech", "vocoder", "out")]
    for units, more, message in (
        (folder / "prepared", ["--rename", "s1=x"], "--units brings no voices"),
        (folder / "prepared", ["--default-voice", "s1"], "--units brings no voices"),
        (folder / "nowhere", [], "nowhere has no unit_extractor"),
    ):
        assert hf_lip2speech_cli.main(["compose", *places, "--units", str(units), *more]) == 1
        assert message in capsys.readouterr().err
        assert not (folder / "out").exists()
