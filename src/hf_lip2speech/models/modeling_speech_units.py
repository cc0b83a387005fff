"""Speech units: the cluster of every 20 ms of speech.

After Lakhotia et al., "On Generative Spoken Language Modeling from Raw Audio" (2021): features of a
self-supervised speech model, clustered by k-means. Published systems take HuBERT Base, layer 6, 200 clusters.
"""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..audio.mfcc import add_deltas, mfcc
from ..constants import SAMPLES_PER_UNIT
from ..errors import Lip2SpeechError, NotFittedError
from ..loading import StrictLoadingMixin, readable_hub_errors
from .configuration_speech_units import SpeechUnitExtractorConfig

SMALLEST_STD = 1e-5  # of a feature; keeps a constant one from being divided by zero


@dataclass
class SpeechUnitOutput(ModelOutput):
    """Units of a batch of recordings.

    unit_ids: int64 (B, U), U = N // 320, 0 .. num_units - 1; -100 after the end of a recording.
    features: float32 (B, U, D), what was clustered.
    """

    unit_ids: torch.Tensor | None = None
    features: torch.Tensor | None = None


class SpeechUnitExtractor(StrictLoadingMixin, PreTrainedModel):
    """Turns 16 kHz speech into units at 50 Hz, and learns the units from speech.

    `extractor(waveform)` gives the units of one recording, `extractor.extract(waveforms, lengths)` those of
    a batch on the extractor's device. A self-supervised model is loaded by its name when it is first needed,
    and is not saved with the extractor.
    """

    config_class = SpeechUnitExtractorConfig
    bundled_folder = SpeechUnitExtractorConfig.bundled_folder
    base_model_prefix = "speech_unit_extractor"
    main_input_name = "waveform"

    def __init__(self, config: SpeechUnitExtractorConfig):
        super().__init__(config)
        self.register_buffer("centroids", torch.zeros(config.num_units, config.feature_size))
        self.register_buffer("feature_mean", torch.zeros(config.feature_size))
        self.register_buffer("feature_std", torch.ones(config.feature_size))
        # Once loaded; in a tuple, so that the model is no submodule and is not saved.
        self._speech_model: tuple[PreTrainedModel, Wav2Vec2FeatureExtractor] | None = None
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

    def __call__(self, waveform: np.ndarray | torch.Tensor) -> np.ndarray:
        """Units of one recording.

        Args:
            waveform: float (N,), 16 kHz mono in [-1, 1].

        Returns:
            int64 (N // 320,), each 0 .. num_units - 1: exactly two for each video frame of 640 samples.

        Raises:
            NotFittedError: the extractor has not been fitted.
        """
        samples = torch.as_tensor(waveform)
        if samples.ndim != 1:
            raise Lip2SpeechError(
                f"A recording is a 1-D array of samples, got shape {tuple(samples.shape)}. "
                "For a batch call extract."
            )
        return super().__call__(samples[None]).unit_ids[0].cpu().numpy()

    def extract(self, waveforms: torch.Tensor, lengths: torch.Tensor | None = None) -> SpeechUnitOutput:
        """Units of a padded batch; each recording gets the units that it gets alone.

        Args:
            waveforms: float (B, N), 16 kHz; what follows the end of a recording is not read.
            lengths: int (B,), samples of each recording; all N by default.
        """
        return super().__call__(waveforms, lengths)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> SpeechUnitOutput:
        """Same as `extract`, which is the name to call."""
        if not self.config.fitted:
            raise NotFittedError(
                "This extractor has no centroids yet. Call fit(waveforms) with a collection of recordings, "
                "or load a fitted one with SpeechUnitExtractor.from_pretrained."
            )
        features, counts = self.compute_features(waveform, lengths)
        centroids = self.centroids.float()
        # argmin |x - c|^2 without |x|^2, which is the same for every centroid
        scores = features @ centroids.T - centroids.square().sum(dim=-1) / 2
        unit_ids = scores.argmax(dim=-1)
        valid = torch.arange(unit_ids.shape[1], device=unit_ids.device) < counts[:, None]
        return SpeechUnitOutput(unit_ids=unit_ids.masked_fill(~valid, -100), features=features)

    def compute_features(
        self, waveform: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised features of a padded batch.

        Args:
            waveform: float (B, N), 16 kHz.
            lengths: int (B,), samples of each recording; all N by default.

        Returns:
            float32 (B, U, D) with U = N // 320, and int64 (B,), the units of each recording.
        """
        waveform = waveform.to(self.device, torch.float32)
        if lengths is None:
            lengths = torch.full((len(waveform),), waveform.shape[1])
        lengths = lengths.to(self.device)
        counts = lengths // SAMPLES_PER_UNIT
        if self.config.features == "mfcc":
            # Past its last whole unit a recording is silent, in a batch as alone.
            inside = torch.arange(waveform.shape[1], device=self.device) < counts[:, None] * SAMPLES_PER_UNIT
            features = add_deltas(mfcc(waveform * inside, self.config.num_coefficients), counts)
        else:
            features = self._hidden_states(waveform, lengths)
        return (features - self.feature_mean.float()) / self.feature_std.float(), counts

    def _hidden_states(self, waveform: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, N // 320, D) of the self-supervised model.

        The model drops the end of a recording that fills no window: its last state is repeated there.
        """
        model, feature_extractor = self._load_speech_model()
        layer = self.config.layer
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
            batch = feature_extractor(
                [row[:length].cpu().numpy() for row in waveform[rows]],
                sampling_rate=feature_extractor.sampling_rate,
                return_tensors="pt",
            ).input_values.to(self.device, model.dtype)
            shortest = _shortest_input(model.config)
            if batch.shape[1] < shortest:
                batch = nn.functional.pad(batch, (0, shortest - batch.shape[1]))
            states = model(batch, output_hidden_states=True).hidden_states
            if layer >= len(states):
                raise Lip2SpeechError(
                    f"{self.config.features!r} has {len(states) - 1} layers, got layer {layer}. "
                    "Take a lower one."
                )
            index = torch.arange(units, device=self.device).clamp(max=states[layer].shape[1] - 1)
            features[rows, :units] = states[layer][:, index].float()
        return features

    def _load_speech_model(self) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor]:
        if self._speech_model is None:
            name = self.config.features
            with readable_hub_errors(name):
                model = AutoModel.from_pretrained(name).eval().requires_grad_(False)
                self._speech_model = (model, AutoFeatureExtractor.from_pretrained(name))
        model, feature_extractor = self._speech_model
        return model.to(self.device), feature_extractor

    @torch.no_grad()
    def fit(
        self,
        waveforms: Iterable[np.ndarray | torch.Tensor],
        seed: int = 0,
        max_features: int = 500_000,
        progress: Callable[[str, int, int | None], None] | None = None,
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
        try:
            from sklearn.cluster import MiniBatchKMeans
        except ModuleNotFoundError as error:
            raise ImportError(
                "Fitting speech units needs scikit-learn: pip install 'hf-lip2speech[train]'"
            ) from error
        self._reset()
        features = self._sample_features(waveforms, seed, max_features, progress)
        if len(features) < self.config.num_units:
            raise Lip2SpeechError(
                f"{self.config.num_units} units need at least as many 20 ms features, got {len(features)}. "
                "Give more recordings, or set a smaller num_units."
            )
        if self.config.features == "mfcc":
            mean = features.mean(axis=0, dtype=np.float64)
            std = features.std(axis=0, dtype=np.float64).clip(min=SMALLEST_STD)
            self.feature_mean = torch.from_numpy(mean).to(self.feature_mean)
            self.feature_std = torch.from_numpy(std).to(self.feature_std)
            features = ((features - mean) / std).astype(np.float32)
        # The settings of the published recipe, with fewer starts.
        clusters = MiniBatchKMeans(
            self.config.num_units,
            batch_size=10_000,
            max_iter=100,
            n_init=5,
            tol=0.0,
            max_no_improvement=100,
            reassignment_ratio=0.0,
            random_state=seed,
        ).fit(features)
        self.centroids = torch.from_numpy(clusters.cluster_centers_).to(self.centroids)
        self.config.fitted = True
        return self

    def _reset(self) -> None:
        """Sizes as the features have them, no normalisation."""
        if self.config.features != "mfcc":
            self.config.feature_size = self._load_speech_model()[0].config.hidden_size
        self.feature_mean = self.feature_mean.new_zeros(self.config.feature_size)
        self.feature_std = self.feature_std.new_ones(self.config.feature_size)

    def _sample_features(
        self,
        waveforms: Iterable[np.ndarray | torch.Tensor],
        seed: int,
        max_features: int,
        progress: Callable[[str, int, int | None], None] | None,
    ) -> np.ndarray:
        """At most max_features rows of raw features: those with the smallest of random keys."""
        random = np.random.default_rng(seed)
        kept: list[np.ndarray] = []
        keys: list[np.ndarray] = []

        def shrink() -> None:
            rows, key = np.concatenate(kept), np.concatenate(keys)
            if len(rows) > max_features:
                chosen = np.sort(np.argpartition(key, max_features)[:max_features])
                rows, key = rows[chosen], key[chosen]
            kept[:], keys[:] = [rows], [key]

        total = len(waveforms) if isinstance(waveforms, Sized) else None
        for done, waveform in enumerate(waveforms, start=1):
            samples = torch.as_tensor(waveform)
            if len(samples) >= SAMPLES_PER_UNIT:
                kept.append(self.compute_features(samples[None])[0][0].cpu().numpy())
                keys.append(random.random(len(kept[-1])))
            if sum(map(len, keys)) > 2 * max_features:
                shrink()
            if progress is not None:
                progress("features", done, total)
        if not kept:
            raise Lip2SpeechError("There is no recording of 20 ms or more to fit speech units to.")
        shrink()
        return kept[0]


def _shortest_input(config: PreTrainedConfig) -> int:
    """Samples that the convolutions of a wav2vec 2.0 model need for one output."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
