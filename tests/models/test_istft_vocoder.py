"""The inverse-STFT generator of the vocoder: phases, pitch, chunks, export."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_lip2speech import Lip2SpeechWithVocoder
from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.models import windows
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.models.phase_recovery import BINS, PhaseRecovery, phase_of

from ..tiny_model import tiny_model as tiny_composite
from .small import assert_checkpointing_keeps_gradients, assert_initialisation_sets_every_tensor

SIZES = {
    "generator_type": "istft",
    "num_units": 12,
    "unit_embedding_dim": 8,
    "speaker_embedding_dim": 5,
    "speaker_dim": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "conv_kernel_size": 5,
    "pitch_hidden_size": 8,
    "num_pitch_layers": 1,
    "num_phase_iterations": 3,
}


def istft_model(**changes) -> UnitVocoderModel:
    """Random, away from the initial zeros; every second frame or so is voiced."""
    torch.manual_seed(0)
    model = UnitVocoderModel(UnitVocoderConfig(**(SIZES | changes))).eval()
    if model.config.generator_type == "istft":
        torch.nn.init.normal_(model.generator.convnext.head.weight, std=0.1)
        predictor, width = model.generator.pitch_predictor, model.config.num_units
        torch.nn.init.normal_(predictor.head.weight)
        with torch.no_grad():
            speakers = torch.rand(1, model.config.speaker_embedding_dim)
            logits = model(
                torch.randint(width, (1, 60)), torch.randn(1, 120, 80) - 5, speakers
            ).voicing_logits
            predictor.head.bias[1] -= logits.median()
    return model


def istft_inputs(batch: int, units: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "unit_ids": torch.randint(0, 12, (batch, units), generator=generator),
        "spectrogram": torch.randn(batch, 2 * units, 80, generator=generator) - 5,
        "speaker_embeddings": torch.rand(batch, 5, generator=generator),
    }


def cut(inputs: dict[str, torch.Tensor], first: int, last: int) -> dict[str, torch.Tensor]:
    return inputs | {
        "unit_ids": inputs["unit_ids"][:, first:last],
        "spectrogram": inputs["spectrogram"][:, 2 * first : 2 * last],
    }


def test_a_config_without_the_field_is_a_hifigan():
    assert UnitVocoderConfig.from_dict({"model_type": "unit_vocoder"}).generator_type == "hifigan"
    assert UnitVocoderConfig().generator_type == "hifigan"


def test_at_the_papers_size_it_takes_less_than_an_eighth_of_the_operations_of_hifigan():
    inputs = torch.zeros(1, 10, dtype=torch.long), torch.zeros(1, 20, 80), torch.zeros(1, 256)
    operations = []
    for generator_type in ("hifigan", "istft"):
        model = UnitVocoderModel(UnitVocoderConfig(generator_type=generator_type)).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(*inputs)
        operations.append(counter.get_total_flops())
    assert operations[1] < operations[0] / 8


def test_the_transform_and_its_inverse_give_the_waveform_back():
    recovery, sound = PhaseRecovery(), torch.randn(2, 160 * 12)
    blocks = torch.nn.functional.pad(sound.view(2, -1, 160), (0, 0, 2, 1))
    spectra = recovery._transform(blocks)
    assert spectra.shape == (2, 12, 2 * BINS)
    window = torch.hann_window(640)
    expected = torch.stft(sound, 640, 160, window=window, return_complex=True, pad_mode="constant")
    size = torch.hypot(*spectra.chunk(2, -1)).mT
    torch.testing.assert_close(size, expected.abs()[..., :12], atol=1e-3, rtol=1e-4)
    inside = slice(160 * 3, -160 * 3)
    torch.testing.assert_close(recovery.waveform(spectra)[:, inside], sound[:, inside], atol=1e-5, rtol=0)


def test_untrained_it_speaks_the_mel_it_is_given_at_the_pitch_it_is_given():
    time = torch.arange(32000) / 16000
    voice = sum(torch.cos(2 * math.pi * 125 * k * time) / k for k in range(1, 20)) / 20
    mel = log_mel_spectrogram(voice)[None, :200]
    model = istft_model(num_phase_iterations=8)
    torch.nn.init.zeros_(model.generator.convnext.head.weight)
    torch.nn.init.constant_(model.generator.convnext.head.bias[3 * BINS :], 5.0)  # voiced at all frequencies
    inputs = istft_inputs(1, 100) | {"spectrogram": mel}
    with torch.no_grad():
        speech = model(**inputs, f0=torch.full((1, 200), 125.0)).waveform
        spoken = log_mel_spectrogram(speech)[:, :200]
        assert (spoken - mel)[:, 5:-5, 3:30].abs().mean() < 0.15
        spectrum = torch.fft.rfft(speech[0, 8000:24000]).abs()  # 1 Hz per bin
        assert abs(int(spectrum[80:180].argmax()) + 80 - 125) <= 1
        raised = model(**inputs, f0=torch.full((1, 200), 125.0), pitch_shift=7)
    torch.testing.assert_close(raised.f0, torch.full((1, 200), 125.0 * 2 ** (7 / 12)))


def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone():
    model, inputs, lengths = istft_model(), istft_inputs(3, 30), [30, 17, 1]
    mask = (torch.arange(30) < torch.tensor(lengths)[:, None]).long()
    with torch.no_grad():
        together = model(**inputs, unit_attention_mask=mask)
        for row, length in enumerate(lengths):
            one = {name: value[row : row + 1] for name, value in inputs.items()}
            alone = model(**cut(one, 0, length))
            sound = together.waveform[row]
            torch.testing.assert_close(sound[: 320 * length], alone.waveform[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.f0[row, : 2 * length], alone.f0[0], atol=1e-3, rtol=0)
            assert sound[320 * length :].abs().sum() == 0 and together.f0[row, 2 * length :].sum() == 0
    assert together.f0.gt(0).any() and together.f0.eq(0).any()


def test_context_units_is_the_reach_of_a_unit_and_no_more():
    context = istft_model().config.context_units
    units, place = 2 * context + 21, context + 10
    model = istft_model(num_units=units)
    inputs = istft_inputs(1, units) | {"unit_ids": torch.arange(units)[None]}
    f0 = torch.full((1, 2 * units), 110.0)
    spectrogram = inputs["spectrogram"].requires_grad_()
    waveform = model(**inputs, f0=f0).waveform
    waveform[:, 320 * place : 320 * (place + 1)].sum().backward()
    seen_mel = spectrogram.grad[0].abs().sum(1).nonzero().flatten() // 2 - place
    seen_units = model.unit_embedding.weight.grad.abs().sum(1).nonzero().flatten() - place
    seen = torch.cat([seen_mel, seen_units])
    assert max(-int(seen.min()), int(seen.max())) == context


@pytest.mark.parametrize("pitch_shift", [0.0, 3.0])
def test_chunks_are_the_whole_to_the_last_digit_with_the_phase_of_the_voice(monkeypatch, pitch_shift):
    speaks = istft_model(num_units=20, speaker_embedding_dim=256)
    model = Lip2SpeechWithVocoder.from_parts(tiny_composite().lip2speech, speaks)
    torch.nn.init.normal_(model.vocoder.generator.convnext.head.weight, std=0.1)
    torch.manual_seed(1)
    inputs = torch.randint(0, 20, (2, 60)), torch.randn(2, 120, 80) - 5, torch.rand(2, 256)
    lengths = torch.tensor([30, 21])
    mask = (torch.arange(60) < 2 * lengths[:, None]).long()
    with torch.no_grad():
        whole = model.vocoder(*inputs, unit_attention_mask=mask, pitch_shift=pitch_shift)
        monkeypatch.setattr(windows, "VOCODER_CHUNK_UNITS", 17)
        chunks = model.vocode(*inputs, lengths, pitch_shift=pitch_shift)
        pitch = model.predict_pitch(*inputs, lengths)
        predictions = []
        model.vocoder.generator.pitch_predictor.register_forward_hook(lambda *_: predictions.append(1))
        model.vocode(*inputs, lengths, pitch_shift=pitch_shift)
    assert len(predictions) == 6  # once per chunk of each clip
    assert whole.f0.gt(0).any() and whole.waveform.abs().max() < 1
    torch.testing.assert_close(chunks, whole.waveform, atol=1e-5, rtol=0)
    torch.testing.assert_close(pitch * 2 ** (pitch_shift / 12), whole.f0, atol=1e-3, rtol=0)


def test_the_phase_of_an_hour_is_as_exact_as_that_of_a_second():
    f0 = torch.full((1, 360_000), 123.4)
    assert phase_of(f0)[0, -1].item() == pytest.approx(360_000 * float(f0[0, 0]) / 100 % 1, abs=1e-4)
    later = phase_of(f0[:, :1000], phase_of(f0)[:, 358_999])
    torch.testing.assert_close(later, phase_of(f0)[:, 359_000:], atol=1e-6, rtol=0)


def test_pitch_is_refused_of_a_vocoder_that_knows_none():
    hifigan, inputs = istft_model(generator_type="hifigan"), istft_inputs(1, 4)
    for change in ({"pitch_shift": 2.0}, {"f0": torch.zeros(1, 8)}):
        with pytest.raises(Lip2SpeechError, match="HiFi-GAN"):
            hifigan(**inputs, **change)
    assert hifigan(**inputs).f0 is None
    for wrong in (math.nan, 40.0):
        with pytest.raises(Lip2SpeechError, match="expected -24 to 24"):
            istft_model()(**inputs, pitch_shift=wrong)
    with pytest.raises(Lip2SpeechError, match="a value per mel frame"):
        istft_model()(**inputs, f0=torch.zeros(1, 7))


def test_it_is_made_of_nothing_on_a_meta_device_and_loads_back(tmp_path):
    assert_initialisation_sets_every_tensor(lambda: UnitVocoderModel(UnitVocoderConfig(**SIZES)))
    model, inputs = istft_model(), istft_inputs(1, 8)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(**inputs).waveform
        loaded = UnitVocoderModel.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(loaded(**inputs).waveform, expected, atol=1e-5, rtol=1e-5)
        low = UnitVocoderModel.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
        given = {"f0": torch.full((1, 16), 120.0)}
        error = low(**inputs, **given).waveform - model(**inputs, **given).waveform
    assert error.square().mean() < 0.05 * expected.square().mean()


def test_gradients_reach_every_weight_and_checkpointing_keeps_them():
    model, inputs = istft_model(unit_dropout=0.0).train(), istft_inputs(2, 8)
    output = model(**inputs)
    (output.waveform.square().mean() + output.log_f0.mean() + output.voicing_logits.mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert_checkpointing_keeps_gradients(
        lambda: istft_model(unit_dropout=0.0, harmonic_dropout=0.0).train(),
        lambda model: model(**inputs).waveform.square().mean(),
    )


class Waveform(torch.nn.Module):
    """Tensors in, a tensor out, as the older exporters ask for."""

    def __init__(self, generator_type: str):
        super().__init__()
        self.model = istft_model(generator_type=generator_type, upsample_initial_channel=32)

    def forward(self, unit_ids, spectrogram, speaker_embeddings):
        return self.model(unit_ids, spectrogram, speaker_embeddings).waveform


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("generator_type", ["hifigan", "istft"])
def test_a_traced_vocoder_speaks_at_other_lengths(generator_type):
    model = Waveform(generator_type).eval()
    traced = torch.jit.trace(model, tuple(istft_inputs(1, 6).values()))
    for inputs in (istft_inputs(1, 6, seed=1), istft_inputs(2, 15)):
        speech = model(**inputs)
        torch.testing.assert_close(traced(*inputs.values()), speech, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("generator_type", "dynamo"),
    [
        ("hifigan", False),
        pytest.param("hifigan", True, marks=pytest.mark.slow),
        ("istft", False),
        ("istft", True),
    ],
)
def test_both_onnx_exporters_give_the_same_speech(generator_type, dynamo, tmp_path):
    runtime, _ = pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript" if dynamo else "onnx")
    model, names = Waveform(generator_type).eval(), ["unit_ids", "spectrogram", "speaker_embeddings"]
    example, path = istft_inputs(2, 6), str(tmp_path / "vocoder.onnx")
    batch, units = torch.export.Dim("batch"), torch.export.Dim("units", min=2, max=1000)
    shapes: dict = {names[0]: {0: batch, 1: units}, names[1]: {0: batch, 1: 2 * units}, names[2]: {0: batch}}
    if dynamo:
        torch.onnx.export(model, tuple(example.values()), path, dynamo=True, dynamic_shapes=shapes)
    else:
        axes = {name: {axis: f"{name}_{axis}" for axis in shapes[name]} for name in names}
        given = {"input_names": names, "dynamic_axes": axes, "opset_version": 17}
        torch.onnx.export(model, tuple(example.values()), path, dynamo=False, **given)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = istft_inputs(3, 11)
    (speech,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        np.testing.assert_allclose(speech, model(**inputs), atol=1e-4)
