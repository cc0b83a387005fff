"""Pictures of a validation clip for the tracker: true and predicted mel and units, one under the other."""

from __future__ import annotations

import numpy as np


def compare_targets(spectrograms: dict[str, np.ndarray], units: dict[str, np.ndarray]) -> np.ndarray:
    """Draw log-mels (frames, bins), one panel each, and unit sequences (U,), in one panel, over time in
    seconds.

    Returns:
        uint8 (height, width, 3) RGB.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = len(spectrograms) + bool(units)
    figure = Figure(figsize=(8, 2 * panels), layout="constrained")
    axes = figure.subplots(panels, sharex=True, squeeze=False)[:, 0]
    low = min(mel.min() for mel in spectrograms.values())
    high = max(mel.max() for mel in spectrograms.values())
    for axis, (name, mel) in zip(axes, spectrograms.items(), strict=False):
        extent = (0, len(mel) / 100, 0, mel.shape[1])
        axis.imshow(mel.T, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high)
        axis.set_ylabel(f"mel bin, {name}")
    if units:
        for name, ids in units.items():
            axes[-1].step(np.arange(len(ids)) / 50, ids, where="post", linewidth=1, label=name)
        axes[-1].set_ylabel("unit")
        axes[-1].legend(loc="upper right", fontsize="small")
    axes[-1].set_xlabel("seconds")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
