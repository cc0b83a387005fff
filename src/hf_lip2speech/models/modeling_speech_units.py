"""Speech units: the cluster of every 20 ms of speech.

After Lakhotia et al., "On Generative Spoken Language Modeling from Raw Audio" (2021): features of a
self-supervised speech model, clustered by k-means. Published systems take HuBERT Base, layer 6, 200 clusters.

Shapes: B recordings of at most N samples (16 kHz), U = N // 320 units (50 Hz), D dimensions of a feature.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..audio.mel import add_deltas, mfcc
from ..constants import SAMPLES_PER_UNIT
from ..errors import Lip2SpeechError, NotFittedError
from ..loading import StrictLoadingMixin, readable_hub_errors
from .configuration_speech_units import SpeechUnitExtractorConfig
from .unit_fitting import Progress, Recordings, fit_units

_SMALLEST_VARIANCE = 1e-7  # as in Wav2Vec2FeatureExtractor


@dataclass
class SpeechUnitOutput(ModelOutput):
    """Units of a batch of recordings.

    Args:
        unit_ids: int64 (B, U), 0 .. num_units - 1; -100 after the end of a recording.
        features: float32 (B, U, D), what was clustered.
    """

    unit_ids: torch.Tensor | None = None
    features: torch.Tensor | None = None


class SpeechUnitExtractor(StrictLoadingMixin, PreTrainedModel):
    """Turns 16 kHz speech into units at 50 Hz, and learns the units from speech.

    `extractor(waveform)` takes a batch, `extractor.encode(waveform)` one recording. A self-supervised model
    is loaded by its name when it is first needed, and is not saved with the extractor.
    """

    config_class = SpeechUnitExtractorConfig
    base_model_prefix = "speech_unit_extractor"
    bundled_folder = SpeechUnitExtractorConfig.bundled_folder
    main_input_name = "waveform"
    samples_per_unit = SAMPLES_PER_UNIT

    def __init__(self, config: SpeechUnitExtractorConfig):
        super().__init__(config)
        self.register_buffer("centroids", torch.zeros(config.num_units, config.feature_size))
        self.register_buffer("feature_mean", torch.zeros(config.feature_size))
        self.register_buffer("feature_std", torch.ones(config.feature_size))
        # Once loaded, and whether it wants normalised samples; in a tuple, so that the model is no submodule
        # and is not saved.
        self._speech_model: tuple[PreTrainedModel, bool] | None = None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, SpeechUnitExtractor):
            init.zeros_(module.centroids)
            init.zeros_(module.feature_mean)
            init.ones_(module.feature_std)

    @property
    def device(self) -> torch.device:
        """Where the centroids are (the extractor has buffers but no parameters)."""
        return self.centroids.device

    @property
    def dtype(self) -> torch.dtype:
        return self.centroids.dtype

    def same_units(self, other: "SpeechUnitExtractor") -> bool:
        """Whether a unit's number means the same in both: their clusters are equal."""
        pairs = zip(self.buffers(), other.buffers(), strict=True)
        return all(torch.equal(one, another) for one, another in pairs)

    def encode(self, waveform: np.ndarray | torch.Tensor) -> np.ndarray:
        """Units of one recording.

        Args:
            waveform: float (N,), 16 kHz mono in [-1, 1].

        Returns:
            int64 (N // 320,), each 0 .. num_units - 1: exactly two for each video frame of 640 samples.

        Raises:
            NotFittedError: the extractor has not been fitted.
            Lip2SpeechError: not a 1-D waveform.
        """
        samples = torch.as_tensor(waveform)
        if samples.ndim != 1:
            raise Lip2SpeechError(
                f"A recording is a 1-D array of samples, got shape {tuple(samples.shape)}. For a batch call "
                "the extractor itself."
            )
        return self(samples[None]).unit_ids[0].cpu().numpy()

    @torch.no_grad()
    def forward(
        self,
        waveform: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SpeechUnitOutput | tuple[torch.Tensor, torch.Tensor]:
        """Units of a batch; each recording gets the units that it gets alone.

        Args:
            waveform: float (B, N), 16 kHz mono in [-1, 1].
            attention_mask: (B, N), 1 = sample, 0 = padding, which comes last and is not read; None when
                nothing is padded.

        Raises:
            NotFittedError: the extractor has not been fitted.
            Lip2SpeechError: wrong shapes.
        """
        if not self.config.fitted:
            raise NotFittedError(
                "This extractor has no centroids yet. Call fit(waveforms) with a collection of recordings, "
                "or load a fitted one with SpeechUnitExtractor.from_pretrained."
            )
        features, counts = self.compute_features(waveform, attention_mask)
        centroids = self.centroids.float()
        # argmin |x - c|^2 without |x|^2, which is the same for every centroid
        scores = features @ centroids.T - centroids.square().sum(dim=-1) / 2
        unit_ids = scores.argmax(dim=-1)
        valid = torch.arange(unit_ids.shape[1], device=unit_ids.device) < counts[:, None]
        output = SpeechUnitOutput(unit_ids=unit_ids.masked_fill(~valid, -100), features=features)
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def compute_features(
        self, waveform: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised features of a batch, fitted or not: arguments as of `forward`.

        Returns:
            float32 (B, U, D), and int64 (B,), the units of each recording.
        """
        if waveform.ndim != 2 or (attention_mask is not None and attention_mask.shape != waveform.shape):
            mask = "None" if attention_mask is None else tuple(attention_mask.shape)
            raise Lip2SpeechError(
                f"waveform has shape {tuple(waveform.shape)} and attention_mask {mask}; expected "
                "(recordings, samples) for both. For one recording call encode."
            )
        waveform = waveform.to(self.device, torch.float32)
        if attention_mask is None:
            lengths = waveform.new_full((waveform.shape[0],), waveform.shape[1], dtype=torch.long)
        else:
            lengths = attention_mask.to(self.device).bool().sum(dim=1)
        counts = lengths // SAMPLES_PER_UNIT
        if self.config.features == "mfcc":
            # Past its last whole unit a recording is silent, in a batch as alone.
            inside = torch.arange(waveform.shape[1], device=self.device) < counts[:, None] * SAMPLES_PER_UNIT
            features = add_deltas(mfcc(waveform * inside, self.config.num_coefficients), counts)
        else:
            features = self._hidden_states(waveform, lengths)
        return (features - self.feature_mean.float()) / self.feature_std.float(), counts

    def _hidden_states(self, waveform: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, U, D) of the self-supervised model.

        The model drops the end of a recording that fills no window: its last state is repeated there.
        """
        model, normalises = self._load_speech_model()
        features = waveform.new_zeros(
            len(waveform), waveform.shape[1] // SAMPLES_PER_UNIT, model.config.hidden_size
        )
        # Recordings of one length go together. Padding is not an option: group normalisation in the first
        # layer of the Base models averages over it.
        for length in lengths.unique().tolist():
            units = length // SAMPLES_PER_UNIT
            if units == 0:
                continue
            rows = (lengths == length).nonzero()[:, 0]
            batch = waveform[rows, :length]
            if normalises:
                variance, mean = torch.var_mean(batch, dim=1, correction=0, keepdim=True)
                batch = (batch - mean) / torch.sqrt(variance + _SMALLEST_VARIANCE)
            missing = max(0, _shortest_input(model.config) - length)
            batch = nn.functional.pad(batch, (0, missing)).to(model.dtype)
            states = model(batch, output_hidden_states=True).hidden_states[self.config.layer]
            index = torch.arange(units, device=self.device).clamp(max=states.shape[1] - 1)
            features[rows, :units] = states[:, index].float()
        return features

    def _load_speech_model(self) -> tuple[PreTrainedModel, bool]:
        """The self-supervised model without the layers that are not read, and whether its input is normalised
        to zero mean and unit variance."""
        if self._speech_model is None:
            name, layer = self.config.features, self.config.layer
            with readable_hub_errors(name):
                model = AutoModel.from_pretrained(name).eval().requires_grad_(False)
                normalises = AutoFeatureExtractor.from_pretrained(name).do_normalize
            layers = model.encoder.layers
            if layer > len(layers):
                raise Lip2SpeechError(
                    f"{name!r} has {len(layers)} layers, got layer {layer}. Set a lower one."
                )
            # One layer more than is read: some models normalise the last one's output.
            model.encoder.layers = layers[: layer + 1]
            self._speech_model = (model, normalises)
        model, normalises = self._speech_model
        return model.to(self.device), normalises

    def fit(
        self,
        waveforms: Recordings,
        seed: int = 0,
        max_features: int = 500_000,
        progress: Progress | None = None,
    ) -> "SpeechUnitExtractor":
        """Learn normalisation (MFCC only) and centroids from recordings, by mini-batch k-means.

        Args:
            waveforms: recordings, float (N,) at 16 kHz, read once. The same recordings in the same order and
                the same seed give the same centroids.
            seed: of the choice of features and of k-means.
            max_features: of more features than this a uniform random choice is clustered.
            progress: called as progress("features", done, total) after each recording; total None if unknown.

        Returns:
            self, fitted.

        Raises:
            ImportError: scikit-learn is not installed.
            Lip2SpeechError: there is less speech than units.
        """
        fit_units(self, waveforms, seed, max_features, progress)
        return self

    def reset(self) -> None:
        """Unlearn the units; from then on `compute_features` gives the features as they are.

        Also sets `config.feature_size` to the hidden size of the self-supervised model.
        """
        config = self.config
        if config.features != "mfcc":
            config.feature_size = self._load_speech_model()[0].config.hidden_size
        self.centroids = self.centroids.new_zeros(config.num_units, config.feature_size)
        self.feature_mean = self.feature_mean.new_zeros(config.feature_size)
        self.feature_std = self.feature_std.new_ones(config.feature_size)
        config.fitted = False


def _shortest_input(config: PreTrainedConfig) -> int:
    """Samples that the convolutions of a wav2vec 2.0 model need for one output."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
