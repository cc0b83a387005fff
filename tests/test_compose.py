"""Two trained models, and what lies beside them or in prepared folders, become the one folder that speaks."""

import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

import hf_lip2speech_cli
from hf_lip2speech import Lip2SpeechFeatureExtractor, Lip2SpeechWithVocoder, SpeechUnitExtractor
from hf_lip2speech.composite import compose, feature_extractor_for, save_beside_weights
from hf_lip2speech.data.prepared import PreparedDataset, speaker_voices
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.training.stage_trainer import data_beside

from .tiny_model import noise_videos, tiny_model, unit_vector
from .training.prepared_folder import write_prepared_folder


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def parts(model, tmp_path_factory):
    """The folders of a lip-to-speech model, of a vocoder, and of two prepared data sets."""
    folder = tmp_path_factory.mktemp("parts")
    model.lip2speech.save_pretrained(folder / "lip2speech")
    model.vocoder.save_pretrained(folder / "vocoder")
    write_prepared_folder(folder / "prepared")
    write_prepared_folder(folder / "more", speaker="slt")
    return folder


@pytest.fixture
def command(parts, tmp_path, capsys):
    """Runs the command; gives its exit code and what it printed."""

    def run(*more) -> tuple[int, str]:
        places = [str(parts / name) for name in ("lip2speech", "vocoder")]
        words = [str(word).format(parts) for word in more]
        code = hf_lip2speech_cli.main(["compose", *places, str(tmp_path / "out"), *words])
        return code, capsys.readouterr().err

    return run


def test_the_composed_folder_speaks_through_the_pipeline_with_the_units_extractor(
    command, model, parts, tmp_path
):
    assert command("--voices", "{}/prepared")[0] == 0
    loaded = Lip2SpeechWithVocoder.from_pretrained(tmp_path / "out")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    speak = pipeline("lip-to-speech", model=str(tmp_path / "out"))
    assert speak.voices == ["s1"]
    assert speak(noise_videos(9)[0], cropped=True)["audio"].shape == (9 * 640,)
    made, copied = (
        SpeechUnitExtractor.from_pretrained(folder / "unit_extractor").state_dict()
        for folder in (parts / "prepared", tmp_path / "out")
    )
    assert made.keys() == copied.keys() and all(torch.equal(made[name], copied[name]) for name in made)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_damaged_unit_extractor_is_not_copied(command, parts, tmp_path, file):
    prepared = shutil.copytree(parts / "prepared", tmp_path / "prepared")
    (prepared / "unit_extractor" / file).write_bytes(b"cut")
    code, said = command("--units", prepared)
    assert code == 1 and str(prepared) in said and "damaged" in said
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def with_other_units(prepared):
    """The prepared folder, in which each unit has another number."""
    extractor = SpeechUnitExtractor.from_pretrained(prepared / "unit_extractor")
    extractor.centroids[:] = torch.randn(extractor.centroids.shape, generator=torch.manual_seed(0))
    extractor.save_pretrained(prepared / "unit_extractor")
    return prepared


def test_models_and_data_of_other_units_are_not_joined(parts, model, tmp_path):
    other = with_other_units(shutil.copytree(parts / "prepared", tmp_path / "other"))
    model.vocoder.save_pretrained(tmp_path / "vocoder")
    save_beside_weights(tmp_path / "vocoder", unit_extractor=other)
    with pytest.raises(Lip2SpeechError, match="prepared and .*vocoder have different speech units"):
        compose(parts / "lip2speech", tmp_path / "vocoder", tmp_path / "out", units=parts / "prepared")
    assert not (tmp_path / "out").exists()
    compose(parts / "lip2speech", tmp_path / "vocoder", tmp_path / "out", units=other)


def test_a_training_refuses_folders_of_other_units_and_a_damaged_extractor(parts, tmp_path):
    folders = [str(parts / "prepared"), str(parts / "more")]
    beside = data_beside(folders)
    assert beside["unit_extractor"] == folders[0] and set(beside["voices"]) == {"s1", "slt"}
    other = with_other_units(shutil.copytree(parts / "prepared", tmp_path / "other"))
    with pytest.raises(Lip2SpeechError, match=r"more and .*other have different .* --units .*more`"):
        data_beside([folders[1], str(other)])
    with pytest.warns(UserWarning, match="bundled and .*more have different .* are learned anew"):
        data_beside([folders[1]], init_from="bundled")
    (other / "unit_extractor" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(Lip2SpeechError, match="other.* damaged"):
        data_beside([str(other)])


def test_a_composite_speaks_with_the_pixels_that_its_model_was_trained_on(parts, tmp_path):
    small = tiny_model(crop_size=64)
    small.lip2speech.save_pretrained(tmp_path / "lips")
    trained_on = Lip2SpeechFeatureExtractor(crop_size=64, pixel_mean=0.5, pixel_std=0.25)
    save_beside_weights(tmp_path / "lips", trained_on)
    compose(tmp_path / "lips", parts / "vocoder", tmp_path / "out", voices={}, units=parts / "prepared")
    speak = pipeline("lip-to-speech", model=str(tmp_path / "out"))
    assert speak.feature_extractor.to_dict() == trained_on.to_dict()
    speech = speak(noise_videos(3)[0], cropped=True, speaker=unit_vector(1))
    assert speech["audio"].shape == (3 * 640,)
    (tmp_path / "lips" / "preprocessor_config.json").unlink()
    assert feature_extractor_for(tmp_path / "lips", small).crop_size == 64


def test_what_a_training_saved_beside_its_weights_is_enough(parts, model, tmp_path):
    model.vocoder.save_pretrained(tmp_path / "vocoder")
    voices = {"bob": unit_vector(1), "ann": unit_vector(2)}
    save_beside_weights(tmp_path / "vocoder", unit_extractor=parts / "prepared", voices=voices)
    made = compose(parts / "lip2speech", tmp_path / "vocoder", tmp_path / "out")
    assert sorted(made.voices) == ["ann", "bob"] and made.config.default_voice == "ann"
    assert (tmp_path / "out" / "unit_extractor" / "model.safetensors").is_file()
    again = compose(tmp_path / "out", tmp_path / "out", tmp_path / "again", default_voice="bob")
    assert torch.equal(again.voice(), torch.from_numpy(voices["bob"]))
    kept = compose(tmp_path / "again", tmp_path / "again", tmp_path / "third")
    assert kept.config.default_voice == "bob"
    with pytest.raises(Lip2SpeechError, match="no unit_extractor in"):
        compose(parts / "lip2speech", parts / "vocoder", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_voice_is_the_mean_of_the_speakers_training_clips(parts):
    train = PreparedDataset(parts / "prepared", "train", fields=("speaker_embeddings",))
    mean = np.mean([train[index]["speaker_embeddings"] for index in range(len(train))], axis=0)
    voice = speaker_voices(parts / "prepared")["s1"]
    assert voice.dtype == np.float32
    np.testing.assert_allclose(voice, mean / np.linalg.norm(mean), atol=1e-6)


def test_an_existing_folder_is_left_alone(command, parts, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    code, message = command("--voices", "{}/prepared")
    assert code == 1 and "exists already" in message
    with pytest.raises(Lip2SpeechError, match="exists already"):
        compose(parts / "lip2speech", parts / "vocoder", tmp_path / "out", units=parts / "prepared")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_with_units_alone_there_are_no_voices(command, tmp_path):
    code, message = command("--units", "{}/prepared")
    assert code == 0 and "no voice" in message
    made = Lip2SpeechWithVocoder.from_pretrained(tmp_path / "out")
    assert made.voices == {} and made.config.default_voice is None
    units = SpeechUnitExtractor.from_pretrained(tmp_path / "out" / "unit_extractor")
    assert units.config.num_units == 12


def test_half_the_bytes_are_stored_and_float32_is_computed(command, model, tmp_path):
    assert command("--voices", "{}/prepared", "--float16")[0] == 0
    weights = load_file(tmp_path / "out" / "model.safetensors")
    floats = [tensor for tensor in weights.values() if tensor.is_floating_point()]
    assert floats and all(tensor.dtype is torch.float16 for tensor in floats)
    loaded = pipeline("lip-to-speech", model=str(tmp_path / "out")).model
    assert loaded.dtype is torch.float32 and loaded.config.dtype is torch.float32
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_voices_of_several_folders_may_be_renamed(command, tmp_path):
    assert command("--voices", "{}/prepared", "{}/more", "--rename", "s1=grid_s1")[0] == 0
    config = Lip2SpeechWithVocoder.from_pretrained(tmp_path / "out").config
    assert config.voices == ["grid_s1", "slt"] and config.default_voice == "grid_s1"


VOICES = ["--voices", "{}/prepared"]


@pytest.mark.parametrize(
    "words, complaint",
    [
        ([*VOICES, "{}/prepared"], "a speaker 's1', as an earlier folder"),
        ([*VOICES, "--rename", "s2=her"], "expected SPEAKER=NAME with one of s1"),
        ([*VOICES, "--rename", "s1"], "expected SPEAKER=NAME with one of s1"),
        ([*VOICES, "{}/more", "--rename", "s1=slt"], "one name to two voices"),
        ([*VOICES, "--default-voice", "s9"], "'s9' is not among the voices: s1"),
        (["--units", "{}/prepared", "--rename", "s1=x"], "--units brings no voices"),
        (["--units", "{}/prepared", "--default-voice", "s1"], "--units brings no voices"),
        (["--units", "{}/nowhere"], "nowhere has no unit_extractor"),
        (["--rename", "s1=x"], "give these with --voices"),
        ([], "no unit_extractor in"),
    ],
)
def test_what_cannot_be_composed_is_refused_and_nothing_is_written(command, tmp_path, words, complaint):
    code, message = command(*words)
    assert code == 1 and complaint in message
    assert not (tmp_path / "out").exists()


def test_on_a_full_or_read_only_disk_the_folder_is_named_and_nothing_is_left(parts, disk, capsys):
    line = ["compose", str(parts / "lip2speech"), str(parts / "vocoder"), str(disk.path / "out")]
    disk.fill(free=65536)
    assert hf_lip2speech_cli.main(line) == 1
    assert "disk/out' cannot be written: No space left on device" in capsys.readouterr().err
    assert os.listdir(disk.path) == ["filler"]
    disk.empty()
    disk.read_only()
    assert hf_lip2speech_cli.main(line) == 1
    assert "disk/out' cannot be written: Read-only file system" in capsys.readouterr().err
