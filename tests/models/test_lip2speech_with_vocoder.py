"""The composite: voices, saving and loading whole or in parts, offloading, batches, long videos."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel

from hf_lip2speech.errors import Lip2SpeechError, NotLoadedError
from hf_lip2speech.models import windows
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

LIP2SPEECH = {
    "frontend_stem_channels": 4,
    "frontend_channels": (4, 8),
    "frontend_blocks": (1, 1),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_kernel_size": 7,
    "mel_head_size": 16,
    "crop_size": 24,
    "num_units": 20,
}
VOCODER = {
    "num_units": 20,
    "unit_embedding_dim": 16,
    "speaker_dim": 8,
    "upsample_initial_channel": 32,
    "initializer_range": 1.0,
}


def voice(seed: int) -> list[float]:
    values = torch.rand(256, generator=torch.Generator().manual_seed(seed))
    return (values / values.norm()).tolist()


def shake_batch_norm(model: torch.nn.Module) -> None:
    """Statistics away from their initial 0 and 1, where wrong padding would not show."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.3)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)


def build(**changes) -> Lip2SpeechWithVocoder:
    torch.manual_seed(0)
    lip2speech = Lip2SpeechModel(Lip2SpeechConfig(**{**LIP2SPEECH, **changes})).eval()
    shake_batch_norm(lip2speech)
    vocoder = UnitVocoderModel(UnitVocoderConfig(**VOCODER)).eval()
    voices = {"anna": voice(1), "ben": voice(2)}
    return Lip2SpeechWithVocoder.from_parts(lip2speech, vocoder, voices=voices, default_voice="anna")


@pytest.fixture(scope="module")
def model():
    return build()


def video(frames: int, seed: int = 0, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, frames, 1, 24, 24, generator=torch.Generator().manual_seed(seed))


def test_a_frame_gives_two_units_four_mel_frames_and_640_samples(model):
    output = model.generate_speech(video(11))
    assert output.waveform.shape == (1, 7040)
    assert output.waveform.dtype == torch.float32
    assert output.waveform_lengths.tolist() == [7040]
    assert output.unit_ids.shape == (1, 22)
    assert 0 <= output.unit_ids.min() and output.unit_ids.max() < 20
    assert output.spectrogram.shape == (1, 44, 80)
    assert output.waveform.abs().max() > 0.05


def test_it_speaks_what_its_parts_say_one_after_the_other(model):
    output = model.generate_speech(video(9), voice="ben")
    embedding = torch.tensor([voice(2)])
    with torch.no_grad():
        lips = model.lip2speech(video(9), speaker_embeddings=embedding)
        units = model.lip2speech.unit_ids(lips.unit_logits)
        speech = model.vocoder(unit_ids=units, spectrogram=lips.spectrogram, speaker_embeddings=embedding)
    assert torch.equal(output.unit_ids, units)
    torch.testing.assert_close(output.spectrogram, lips.spectrogram)
    torch.testing.assert_close(output.waveform, speech.waveform)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "sizes", [{}, {"window_frames": 10, "context_frames": 6}], ids=["whole", "in windows"]
)
def test_a_clip_speaks_in_a_batch_as_it_speaks_alone_and_padding_is_not_computed(
    model, sizes, padded, monkeypatch
):
    if padded:  # as on a GPU
        monkeypatch.setattr(windows, "ONE_LENGTH_AT_A_TIME", set())
    lengths = [37, 21, 10, 1]
    videos = video(37, batch=4)
    mask = (torch.arange(37) < torch.tensor(lengths)[:, None]).long()
    masks = []
    hook = model.lip2speech.register_forward_pre_hook(
        lambda _, __, given: masks.append(given["attention_mask"]), with_kwargs=True
    )
    together = model.generate_speech(videos, mask, **sizes)
    hook.remove()
    assert any(mask is not None for mask in masks) == padded
    assert together.waveform_lengths.tolist() == [640 * length for length in lengths]
    for row, length in enumerate(lengths):
        alone = model.generate_speech(videos[row : row + 1, :length], **sizes)
        assert torch.equal(together.unit_ids[row, : 2 * length], alone.unit_ids[0])
        torch.testing.assert_close(
            together.spectrogram[row, : 4 * length], alone.spectrogram[0], atol=1e-4, rtol=0
        )
        torch.testing.assert_close(
            together.waveform[row, : 640 * length], alone.waveform[0], atol=1e-4, rtol=0
        )
        for tail in (
            together.waveform[row, 640 * length :],
            together.unit_ids[row, 2 * length :],
            together.spectrogram[row, 4 * length :],
        ):
            assert tail.abs().sum() == 0


def test_the_chunked_vocoder_gives_the_waveform_of_one_call(model, monkeypatch):
    videos = video(90, batch=2)
    mask = (torch.arange(90) < torch.tensor([[90], [64]])).long()
    whole = model.generate_speech(videos, mask).waveform
    for chunk in (180, 64, 17):
        monkeypatch.setattr(windows, "VOCODER_CHUNK_UNITS", chunk)
        chunked = model.generate_speech(videos, mask).waveform
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)


def test_windows_with_enough_context_give_what_the_whole_clip_gives():
    # Two layers that see three units and a half kernel of three on either side, and a front end of two
    # frames.
    model = build(attention_window=3)
    whole = model.generate_speech(video(80))
    windowed = model.generate_speech(video(80), window_frames=16, context_frames=16)
    torch.testing.assert_close(windowed.spectrogram, whole.spectrogram, atol=1e-4, rtol=0)
    assert torch.equal(windowed.unit_ids, whole.unit_ids)
    torch.testing.assert_close(windowed.waveform, whole.waveform, atol=1e-4, rtol=0)


def test_where_windows_overlap_the_front_end_computes_a_frame_once(model):
    seen = []
    hook = model.lip2speech.frontend.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[1])
    )
    model.generate_speech(video(60), window_frames=10, context_frames=5)
    hook.remove()
    # 15 frames, four times 10, and 5; and two to either side, on which they depend
    assert seen == [17, 14, 14, 14, 14, 7]


def test_no_call_sees_more_than_a_window_and_progress_is_told(model, monkeypatch):
    monkeypatch.setattr(windows, "VOCODER_CHUNK_UNITS", 20)
    calls, seen = [], {"inputs_embeds": [], "unit_ids": []}

    def note(_, __, given: dict) -> None:
        for name in seen.keys() & given.keys():
            seen[name].append(given[name].shape[1])

    hooks = [
        part.register_forward_pre_hook(note, with_kwargs=True) for part in (model.lip2speech, model.vocoder)
    ]
    model.generate_speech(
        video(25), window_frames=10, context_frames=5, progress=lambda *call: calls.append(call)
    )
    for hook in hooks:
        hook.remove()
    assert calls == [(step, done, 25) for step in ("reading lips", "speaking") for done in (10, 20, 25)]
    assert seen["inputs_embeds"] == [15, 20, 10]
    assert max(seen["unit_ids"]) <= 20 + 2 * model.config.vocoder.context_units


@pytest.mark.parametrize("windows", [{}, {"window_frames": 5, "context_frames": 2}], ids=["whole", "windows"])
def test_hidden_states_and_attentions_are_joined_over_windows_and_zero_in_the_padding(model, windows):
    model.lip2speech.set_attn_implementation("eager")
    wanted = {"output_hidden_states": True, "output_attentions": True}
    videos, mask = video(12, batch=2), torch.tensor([[1] * 12, [1] * 7 + [0] * 5])
    with torch.no_grad():
        output = model(videos, mask, **windows, **wanted)
        alone = model.lip2speech(
            videos[1:, :7], speaker_embeddings=model.voice()[None], return_dict=True, **wanted
        )
        unasked = model(videos, mask, **windows)
    assert unasked.hidden_states is unasked.attentions is None
    torch.testing.assert_close(unasked.waveform, output.waveform)
    assert output.unit_logits.shape == (2, 24, 24)
    for states in output.hidden_states:
        assert states.shape == (2, 24, 16) and states[0].any() and not states[1, 14:].any()
    for weights in output.attentions:
        assert weights.shape == (2, 2, 24, 24) and not weights[1, :, 14:].any()
        torch.testing.assert_close(weights[0].sum(-1), torch.ones(2, 24))
        torch.testing.assert_close(weights[1, :, :14].sum(-1), torch.ones(2, 14))
        if windows:
            assert not weights[0, :, :10, 14:].any()  # a window sees two frames, four units, beyond its end
    if not windows:
        for whole, single in zip(output.hidden_states, alone.hidden_states, strict=True):
            torch.testing.assert_close(whole[1:, :14], single, atol=1e-5, rtol=0)


def test_it_gives_tuples_and_states_where_the_call_or_the_config_asks(model):
    whole = model.generate_speech(video(3))
    names = ["waveform", "waveform_lengths", "unit_ids", "spectrogram", "unit_logits"]
    assert list(whole) == names
    given = model(video(3), return_dict=False)
    assert isinstance(given, tuple)  # made with gradients, for which other kernels may be chosen
    for one, name in zip(given, names, strict=True):
        torch.testing.assert_close(one, whole[name], atol=1e-5, rtol=1e-5)
    again = Lip2SpeechWithVocoder.from_parts(model.lip2speech, model.vocoder, model.voices, "anna")
    again.config.return_dict, again.config.output_hidden_states = False, True
    assert len(again(video(3))) == 6 and len(again(video(3), output_hidden_states=False)) == 5
    assert again(video(3), return_dict=True).hidden_states is not None
    assert list(again.generate_speech(video(3))) == names


def test_forward_lets_gradients_through_the_mel():
    model = build()
    videos = video(4).requires_grad_()
    model(pixel_values_videos=videos).waveform.square().mean().backward()
    assert videos.grad.abs().sum() > 0
    assert not model.generate_speech(videos).waveform.requires_grad


def test_voices_are_chosen_by_name_for_all_or_each_and_the_default_is_used(model):
    videos = video(8).repeat(2, 1, 1, 1, 1)
    default = model.generate_speech(videos).waveform
    anna = model.generate_speech(videos, voice="anna").waveform
    both = model.generate_speech(videos, voice=["anna", "ben"]).waveform
    given = model.generate_speech(videos, speaker_embeddings=torch.tensor(voice(2))).waveform
    assert torch.equal(default, anna)
    assert (both[1] - anna[1]).abs().max() > 1e-3
    torch.testing.assert_close(both[0], anna[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(both[1], given[1], atol=1e-6, rtol=0)


def test_an_unknown_voice_is_refused_with_the_names_of_those_that_exist(model):
    with pytest.raises(Lip2SpeechError, match=r"'carl'.*'anna', 'ben'"):
        model.generate_speech(video(3), voice="carl")


def test_without_any_voice_the_message_says_what_to_give(model):
    mute = Lip2SpeechWithVocoder.from_parts(model.lip2speech, model.vocoder)
    with pytest.raises(Lip2SpeechError, match="has no voices"):
        mute.generate_speech(video(3))
    assert mute.generate_speech(video(3), speaker_embeddings=torch.rand(1, 256)).waveform.shape == (1, 1920)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speaker_embeddings": torch.rand(256), "voice": "anna"}, "give one of them"),
        ({"speaker_embeddings": torch.rand(3, 256)}, "speaker_embeddings has shape"),
        ({"voice": ["anna"]}, "1 voices were given for 2 clips"),
        ({"attention_mask": torch.ones(2, 5)}, "attention_mask has shape"),
        ({"attention_mask": torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])}, "padding must come last"),
        ({"attention_mask": torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])}, "no frames"),
        ({"window_frames": 0}, "window_frames"),
        ({"context_frames": -1}, "context_frames"),
    ],
)
def test_what_does_not_fit_is_refused(model, arguments, message):
    with pytest.raises(Lip2SpeechError, match=message):
        model.generate_speech(video(4, batch=2), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voices": ["anna"], "default_voice": "ben"}, "'ben' is not among the voices: anna"),
        ({"vocoder": {**VOCODER, "num_units": 21}}, "num_units 20 and the vocoder 21"),
    ],
)
def test_an_impossible_config_is_refused_with_the_reason(changes, message):
    with pytest.raises(Exception, match=message):
        Lip2SpeechWithVocoderConfig(**{"lip2speech": LIP2SPEECH, "vocoder": VOCODER, **changes})


@pytest.mark.parametrize(
    ("voices", "default", "message"),
    [
        ({"anna": [0.1] * 255}, None, "'anna' is not a speaker embedding: expected 256 finite numbers"),
        ({"anna": [float("nan")] * 256}, None, "expected 256 finite numbers"),
        ({"anna": [0.0] * 256}, None, "not all zero"),
        ({"anna": [0.1] * 256}, "ben", "'ben' is not among the voices: anna"),
    ],
)
def test_an_impossible_voice_is_refused_and_the_voices_stay(model, voices, default, message):
    with pytest.raises(Lip2SpeechError, match=message):
        model.set_voices(voices, default)
    assert list(model.voices) == model.config.voices == ["anna", "ben"]


def test_the_only_voice_is_the_default(model):
    config = Lip2SpeechWithVocoderConfig(lip2speech=LIP2SPEECH, vocoder=VOCODER, voices=["anna"])
    assert config.default_voice == "anna"
    assert config.sampling_rate == 16_000
    assert Lip2SpeechWithVocoder.from_parts(
        model.lip2speech, model.vocoder, {"eve": voice(3)}
    ).voice().tolist() == pytest.approx(voice(3))


def test_from_parts_holds_the_given_models(model):
    assert isinstance(model.lip2speech.config, Lip2SpeechConfig)
    assert model.config.vocoder is model.vocoder.config
    again = Lip2SpeechWithVocoder.from_parts(model.lip2speech, model.vocoder)
    assert again.lip2speech is model.lip2speech and again.vocoder is model.vocoder
    assert not any(value.is_meta for value in again.state_dict().values())
    assert not again.training


def test_a_misspelt_argument_is_an_error(model):
    with pytest.raises(TypeError, match="voise"):
        model(video(2), voise="bob")


def test_attentions_are_refused_where_the_kernel_keeps_none():
    sdpa = build()
    sdpa.set_attn_implementation("sdpa")
    with pytest.raises(Lip2SpeechError, match="eager"):
        sdpa(video(2), output_attentions=True)


def test_an_upload_while_saving_stays_as_private_as_was_asked(model, tmp_path, monkeypatch):
    asked = {"private": True, "commit_message": "c", "revision": "dev"}
    uploads = []
    monkeypatch.setattr(
        type(model), "push_to_hub", lambda self, name, **options: uploads.append((name, options))
    )
    model.save_pretrained(tmp_path, push_to_hub=True, repo_id="anna/m", token="t", **asked)
    assert uploads == [("anna/m", asked | {"token": "t"})]


@pytest.fixture(scope="module")
def repository(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("composite")
    model.save_pretrained(folder)
    return folder


def test_it_survives_saving_with_every_buffer_and_voice(model, repository):
    loaded, report = Lip2SpeechWithVocoder.from_pretrained(repository, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert loaded.config.voices == ["anna", "ben"] and loaded.config.default_voice == "anna"
    assert all(torch.equal(loaded.voices[name], model.voices[name]) for name in model.voices)
    assert len(str(loaded.config).splitlines()) < 140  # names alone: embeddings would be 256 lines each
    for part in ("lip2speech", "vocoder"):
        saved, kept = getattr(loaded.config, part).to_diff_dict(), getattr(model.config, part).to_diff_dict()
        assert {**saved, "dtype": None} == {**kept, "dtype": None}
    expected, actual = model.state_dict(), loaded.state_dict()
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    buffers = dict(loaded.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert torch.equal(loaded.generate_speech(video(7)).waveform, model.generate_speech(video(7)).waveform)


@pytest.mark.parametrize(("part", "kind"), [("lip2speech", Lip2SpeechModel), ("vocoder", UnitVocoderModel)])
def test_a_part_loads_from_the_repository_of_the_whole(model, repository, part, kind):
    loaded, report = kind.from_pretrained(repository, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"] and not report["unexpected_keys"]
    assert type(loaded.config) is kind.config_class
    expected = getattr(model, part).state_dict()
    assert all(torch.equal(expected[name], value) for name, value in loaded.state_dict().items())


def test_a_folder_of_version_0_1_has_its_voices_in_the_config(model, repository, tmp_path):
    old = shutil.copytree(repository, tmp_path / "old")
    (old / "voices.safetensors").unlink()
    config = json.loads((old / "config.json").read_text())
    config["voices"] = {name: value.tolist() for name, value in model.voices.items()}
    (old / "config.json").write_text(json.dumps(config))
    for loaded in (Lip2SpeechWithVocoder.from_pretrained(old), AutoModel.from_pretrained(old)):
        assert loaded.config.voices == ["anna", "ben"]
        assert all(torch.equal(loaded.voices[name], model.voices[name]) for name in model.voices)
    config["voices"] = ["anna", "ben"]
    (old / "config.json").write_text(json.dumps(config))
    with pytest.raises(NotLoadedError, match="names the voices anna, ben but has no voices.safetensors"):
        Lip2SpeechWithVocoder.from_pretrained(old)


@pytest.mark.parametrize(
    "places",
    [{"lip2speech": "disk", "vocoder": "cpu"}, {"lip2speech": "cpu", "vocoder": "disk"}, {"": "disk"}],
    ids=["lip2speech", "vocoder", "all"],
)
def test_a_part_on_disk_speaks_as_one_in_memory(model, repository, tmp_path, places):
    offloaded = Lip2SpeechWithVocoder.from_pretrained(
        repository, device_map=places, offload_folder=tmp_path
    ).eval()
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    expected = model.generate_speech(video(7, batch=2), torch.tensor([[1] * 7, [1] * 4 + [0] * 3]))
    given = offloaded.generate_speech(video(7, batch=2), torch.tensor([[1] * 7, [1] * 4 + [0] * 3]))
    for name in given:
        torch.testing.assert_close(given[name], expected[name], atol=1e-5, rtol=0)


def test_a_saved_whole_does_not_tell_where_its_parts_lay(model, tmp_path):
    model.lip2speech.save_pretrained(tmp_path / "secret" / "lip2speech")
    model.vocoder.save_pretrained(tmp_path / "secret" / "vocoder")
    joined = Lip2SpeechWithVocoder.from_parts(
        Lip2SpeechModel.from_pretrained(tmp_path / "secret" / "lip2speech"),
        UnitVocoderModel.from_pretrained(tmp_path / "secret" / "vocoder"),
    )
    joined.save_pretrained(tmp_path / "whole")
    assert "secret" not in (tmp_path / "whole" / "config.json").read_text()
    assert joined.lip2speech.name_or_path.endswith("lip2speech")


def test_weight_norm_of_a_vocoder_in_training_is_folded_when_the_whole_is_saved(tmp_path):
    model = build()
    model.vocoder.apply_weight_norm()
    model.save_pretrained(tmp_path)
    loaded = Lip2SpeechWithVocoder.from_pretrained(tmp_path)
    torch.testing.assert_close(
        loaded.generate_speech(video(5)).waveform, model.generate_speech(video(5)).waveform, atol=1e-5, rtol=0
    )
    assert not any("parametrizations" in name for name in loaded.state_dict())


def test_eager_and_sdpa_attention_speak_alike(repository):
    videos, mask = video(12, batch=2), torch.tensor([[1] * 12, [1] * 8 + [0] * 4])
    spoken = [
        Lip2SpeechWithVocoder.from_pretrained(repository, attn_implementation=kind)
        .generate_speech(videos, mask)
        .waveform
        for kind in ("eager", "sdpa")
    ]
    torch.testing.assert_close(*spoken, atol=1e-4, rtol=0)


def test_a_bfloat16_model_takes_float32_video_and_gives_float32_speech(repository):
    model = Lip2SpeechWithVocoder.from_pretrained(repository, dtype=torch.bfloat16)
    output = model.generate_speech(video(8))
    assert output.waveform.dtype == output.spectrogram.dtype == torch.float32
    expected = Lip2SpeechWithVocoder.from_pretrained(repository).generate_speech(video(8)).spectrogram
    assert (output.spectrogram - expected).abs().mean() < 0.05


MEMORY_PROGRAM = """
import sys, torch
from pathlib import Path
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
model = Lip2SpeechWithVocoder.from_pretrained(sys.argv[1])
videos = torch.randn(1, 15_000, 1, 24, 24)
output = model.generate_speech(videos)
assert output.waveform.shape == (1, 9_600_000)
# not ru_maxrss: that starts at what the parent held when it forked
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 2**20)
"""


@pytest.mark.slow
def test_ten_minutes_of_video_stay_within_two_gigabytes(repository):
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM, str(repository)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[-1]) < 2.0
