"""A small random model of every part, for tests of what is around it, and mouths for it to read."""

from pathlib import Path

import numpy as np
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor, pipeline

from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.pipeline import LipToSpeechPipeline
from hf_lip2speech.text.characters import ENGLISH


def unit_vector(seed: int) -> np.ndarray:
    vector = np.abs(np.random.default_rng(seed).normal(size=256)).astype(np.float32)
    return vector / np.linalg.norm(vector)


def tiny_model(**lip2speech) -> Lip2SpeechWithVocoder:
    """A small random model whose batch-norm statistics are away from 0 and 1."""
    torch.manual_seed(0)
    config = Lip2SpeechWithVocoderConfig(
        lip2speech=Lip2SpeechConfig(
            frontend_stem_channels=8,
            frontend_channels=(8, 16),
            frontend_blocks=(1, 1),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            conv_kernel_size=7,
            num_units=20,
            mel_head_size=32,
            **lip2speech,
        ).to_dict(),
        vocoder=UnitVocoderConfig(
            num_units=20, unit_embedding_dim=16, speaker_dim=16, upsample_initial_channel=64
        ).to_dict(),
    )
    model = Lip2SpeechWithVocoder(config).eval()
    model.set_voices({"ann": unit_vector(1), "bob": unit_vector(2)}, "ann")
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.5)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    for parameter in model.vocoder.parameters():  # as initialised, a vocoder is all but silent
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5)
    return model


def spelling_model(characters: str = ENGLISH, **lip2speech) -> Lip2SpeechWithVocoder:
    """The same with a text head that spells something that changes, if nothing sensible."""
    model = tiny_model(text_vocabulary=characters, **lip2speech)
    head = model.lip2speech.text_head
    torch.manual_seed(1)
    head.weight.data.normal_(0, 2.0)
    with torch.no_grad():
        states = model.lip2speech(torch.randn(1, 20, 1, 88, 88), None, torch.ones(1, 256)).last_hidden_state
        head.bias.copy_(-head(states).mean(dim=(0, 1)))
    if model.config.lip2speech.text_conditioner_size:  # as initialised, a given text changes nothing
        model.lip2speech.text_conditioner.out_proj.weight.data.normal_(0, 0.3)
    return model


def pitched_vocoder() -> UnitVocoderModel:
    """One that knows the pitch, and whose phases depend on all that was spoken."""
    config = UnitVocoderConfig(
        generator_type="istft",
        num_units=20,
        unit_embedding_dim=16,
        speaker_dim=16,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        pitch_hidden_size=8,
        num_pitch_layers=1,
        num_phase_iterations=1,
    )
    return UnitVocoderModel(config).eval()


def tiny_pipeline(model: Lip2SpeechWithVocoder | None = None) -> LipToSpeechPipeline:
    parts = {"model": model or tiny_model(), "feature_extractor": Lip2SpeechFeatureExtractor()}
    return pipeline("lip-to-speech", **parts, device="cpu")


def save_model(folder: Path, model: Lip2SpeechWithVocoder | None = None) -> None:
    """The folder of a model, by default the tiny one, as the pipeline loads it."""
    (model or tiny_model()).save_pretrained(folder)
    Lip2SpeechFeatureExtractor().save_pretrained(folder)


def noise_mouth(frames: int, seed: int = 0) -> np.ndarray:
    """Ready-made mouth crops, uint8 (frames, 96, 96)."""
    return np.random.default_rng(seed).integers(0, 256, (frames, 96, 96), dtype=np.uint8)


def noise_videos(*lengths: int) -> list[dict]:
    """Ready-made mouth crops as the pipeline takes frames, of so many each."""
    random = np.random.default_rng(0)
    clips = [random.integers(0, 256, (frames, 96, 96), dtype=np.uint8) for frames in lengths]
    return [{"frames": clip, "fps": 25.0} for clip in clips]


def save_tiny_hubert(folder: Path, *, do_normalize: bool = False, **changes) -> None:
    """A random HuBERT with the real strides (20 ms), saved as a Hub repository is."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 32}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    config = HubertConfig(conv_dim=(8,) * 7, **(sizes | positions | changes))
    HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
