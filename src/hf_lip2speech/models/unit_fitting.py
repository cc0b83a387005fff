"""Learning units: mini-batch k-means over the features of recordings, or of silent clips.

The settings are those of Lakhotia et al., "On Generative Spoken Language Modeling from Raw Audio" (2021),
with fewer starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from typing import TYPE_CHECKING

import numpy as np
import torch

from hf_lip2speech_extras import require_extra

from ..errors import Lip2SpeechError

if TYPE_CHECKING:
    from .modeling_speech_units import SpeechUnitExtractor

SMALLEST_STD = 1e-5  # of a feature, so that a constant one is not divided by zero

Recordings = Iterable[np.ndarray | torch.Tensor]
Progress = Callable[[str, int, int | None], None]


@torch.no_grad()
def fit_units(
    extractor: SpeechUnitExtractor,
    waveforms: Recordings,
    seed: int = 0,
    max_features: int = 500_000,
    progress: Progress | None = None,
) -> None:
    """Give an extractor its centroids and, with MFCCs, its normalisation. See `SpeechUnitExtractor.fit`."""
    cluster = require_extra("sklearn.cluster")  # before the long work, not at its end
    extractor.reset()
    config = extractor.config
    features = sample_features(extractor, waveforms, seed, max_features, progress)
    if len(features) < config.num_units:
        raise Lip2SpeechError(
            f"{config.num_units} units need at least as many features, got {len(features)}. Give more "
            "recordings, or set a smaller num_units."
        )
    if config.features == "mfcc":
        mean = features.mean(axis=0, dtype=np.float64)
        std = features.std(axis=0, dtype=np.float64).clip(min=SMALLEST_STD)
        extractor.feature_mean = torch.from_numpy(mean).to(extractor.feature_mean)
        extractor.feature_std = torch.from_numpy(std).to(extractor.feature_std)
        features = ((features - mean) / std).astype(np.float32)
    clusters = cluster.MiniBatchKMeans(
        config.num_units,
        batch_size=10_000,
        max_iter=100,
        n_init=5,
        tol=0.0,
        max_no_improvement=100,
        reassignment_ratio=0.0,
        random_state=seed,
    ).fit(features)
    extractor.centroids = torch.from_numpy(clusters.cluster_centers_).to(extractor.centroids)
    config.fitted = True


def sample_features(
    extractor: SpeechUnitExtractor,
    waveforms: Recordings,
    seed: int,
    max_features: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """A uniform random choice of at most `max_features` rows of raw features, (n, D), in one pass.

    Each row draws a random key; the rows with the smallest keys are kept.
    """
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
        if len(samples) >= extractor.samples_per_unit:
            kept.append(extractor.compute_features(samples[None])[0][0].cpu().numpy())
            keys.append(random.random(len(kept[-1])))
        if sum(map(len, keys)) > 2 * max_features:
            shrink()
        if progress is not None:
            progress("features", done, total)
    if not kept:
        raise Lip2SpeechError("There is no recording that is long enough to fit units to.")
    shrink()
    return kept[0]
