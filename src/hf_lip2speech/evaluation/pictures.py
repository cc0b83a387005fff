"""Spectrograms as plain pictures, one pixel a mel bin and frame: the page lays the axes over them."""

from pathlib import Path

import numpy as np
import torch

from ..audio.mel import log_mel_spectrogram
from ..extras import require_extra
from ..files import atomic_file

RANGE = 9.0  # natural-log units below the truth's loudest bin that are told apart: 78 dB


def write_spectrogram(path: Path, waveform: np.ndarray, *, like: np.ndarray) -> None:
    """Write a waveform's log-mel spectrogram as a PNG: 80 pixels high, 100 a second wide.

    Args:
        path: ends in .png.
        waveform: float32 (N,), 16 kHz.
        like: float32 (M,), the waveform whose loudest bin has the brightest colour.
    """
    image = require_extra("matplotlib.image", "eval")
    mel, reference = (log_mel_spectrogram(torch.from_numpy(signal)).numpy() for signal in (waveform, like))
    top = float(reference.max())
    with atomic_file(path) as unfinished:
        image.imsave(unfinished, mel.T, origin="lower", cmap="magma", vmin=top - RANGE, vmax=top)
