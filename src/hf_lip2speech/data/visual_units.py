"""The visual units of a prepared folder: clusters of a lip reader's features of its mouth crops."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from transformers import PreTrainedConfig

from ..errors import DatasetError
from ..loading import model_source, readable_hub_errors, states_type
from ..models.configuration_visual_units import VisualUnitExtractorConfig
from ..models.modeling_visual_units import VisualUnitExtractor
from ..progress import tracked
from .corpora.clip import shuffled
from .fields import read_crops
from .layout import PreparedFolder
from .units import fingerprint, place

FITTING_FRAMES = 500_000  # of video that are clustered


def visual_unit_extractor(source: str, num_units: int, layer: int) -> VisualUnitExtractor:
    """A saved extractor, or one of the lip reader `source` that is still to be fitted, both loaded now.

    Raises:
        DatasetError: `source` is neither.
    """
    try:
        with readable_hub_errors(source):
            contents, _ = PreTrainedConfig.get_config_dict(model_source(source))
        if states_type(contents, VisualUnitExtractorConfig):
            extractor = VisualUnitExtractor.from_pretrained(source)
        else:
            config = VisualUnitExtractorConfig(features=str(source), num_units=num_units, layer=layer)
            extractor = VisualUnitExtractor(config)
        extractor._load_speech_model()
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"Visual units cannot come from {str(source)!r}: {error} Name an AV-HuBERT, a lip-to-speech "
            "model such as 'bundled', or the visual_unit_extractor of a prepared folder."
        ) from error
    return extractor.eval()


def place_visual_unit_extractor(
    folder: PreparedFolder,
    extractor: VisualUnitExtractor,
    train: Sequence[str],
    *,
    seed: int,
    device: str,
    progress: bool,
) -> dict:
    """Put the extractor into the prepared folder, fitted on stored clips of `train`, as many as have 500,000
    frames, drawn with `seed`. Units of another one are removed.

    Returns:
        What it was made of.
    """
    config = extractor.config
    origin = {"visual_units": config.features, "layer": config.layer, "num_units": config.num_units}
    if config.fitted:
        origin["fingerprint"] = fingerprint(extractor)
    else:
        ids = hashlib.sha256("\n".join(sorted(train)).encode()).hexdigest()
        origin |= {"seed": seed, "clips": len(train), "fingerprint": ids}

    def fitted() -> VisualUnitExtractor:
        if not config.fitted:
            extractor.to(device).fit(_crops(folder, shuffled(train, seed), progress), seed=seed)
        return extractor

    return place(folder, folder.visual_unit_extractor, "visual_units", origin, fitted, replace=True)


def _crops(folder: PreparedFolder, ids: Sequence[str], progress: bool) -> Iterator[np.ndarray]:
    left = FITTING_FRAMES
    for clip in tracked(ids, "clips to fit visual units on", shown=progress):
        if left <= 0:
            return
        crops = read_crops(folder.path("video", clip))
        left -= len(crops)
        yield crops
