"""Which unit extractor a corpus is prepared with: one that is given, or one fitted on its train split."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedConfig

from ..audio.io import read_audio
from ..errors import DatasetError
from ..models.configuration_speech_units import SpeechUnitExtractorConfig
from ..models.modeling_speech_units import SpeechUnitExtractor
from .layout import PreparedFolder

ORIGIN = "prepared_from.json"  # in the extractor's folder: what it was made of


def needs_fitting(units: str | Path | SpeechUnitExtractor) -> bool:
    """Whether `units` names features to be clustered, and not a fitted extractor.

    Args:
        units: "mfcc", the Hub name or path of a self-supervised model, those of a saved SpeechUnitExtractor,
            or one that is loaded.

    Raises:
        DatasetError: Nothing is found under that name.
    """
    if isinstance(units, SpeechUnitExtractor):
        return False
    if str(units) == "mfcc":
        return True
    try:
        config, _ = PreTrainedConfig.get_config_dict(str(units))
    except OSError as error:
        raise DatasetError(
            f"The units' model {str(units)!r} is neither a folder with a config.json nor to be had from the "
            f"Hub: {error} Expected a saved SpeechUnitExtractor, a self-supervised speech model such as "
            "'facebook/hubert-base-ls960', or 'mfcc', which needs no model and no network."
        ) from error
    return config.get("model_type") != SpeechUnitExtractorConfig.model_type


def place_unit_extractor(
    folder: PreparedFolder,
    units: str | Path | SpeechUnitExtractor,
    *,
    num_units: int,
    seed: int,
    train_ids: Sequence[str],
    progress: bool,
) -> dict:
    """Put the extractor into the prepared folder, unless it is there; units of another one are removed.

    Returns:
        What it was made of: {"units", "num_units", "seed", "clips", "fingerprint"} if fitted (on the prepared
        sound of `train_ids`), {"units", "fingerprint"} if given.
    """
    extractor = None
    if needs_fitting(units):
        ids = hashlib.sha256("\n".join(train_ids).encode()).hexdigest()
        origin = {"units": str(units), "num_units": num_units, "seed": seed, "clips": len(train_ids)}
        origin["fingerprint"] = ids
    elif isinstance(units, SpeechUnitExtractor):
        extractor = units
        origin = {"units": "given", "fingerprint": _fingerprint(units)}
    else:
        extractor = SpeechUnitExtractor.from_pretrained(str(units))
        origin = {"units": str(units), "fingerprint": _fingerprint(extractor)}
    placed = folder.unit_extractor / ORIGIN
    if placed.is_file() and json.loads(placed.read_text(encoding="utf-8")) == origin:
        return origin
    if extractor is None:
        config = SpeechUnitExtractorConfig(features=str(units), num_units=num_units)
        extractor = SpeechUnitExtractor(config).eval()
        extractor.fit(_sounds(folder, train_ids, progress), seed=seed)

    def save(unfinished: Path) -> None:
        extractor.save_pretrained(unfinished)
        (unfinished / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")

    # The old extractor goes first and the new one comes last: units never lie beside an extractor that did
    # not make them, wherever this is interrupted.
    for old in (folder.unit_extractor, folder.root / "units"):
        if old.exists():
            shutil.rmtree(old)
    folder.write(folder.unit_extractor, save)
    return origin


def _sounds(folder: PreparedFolder, ids: Sequence[str], progress: bool) -> Iterator[np.ndarray]:
    for clip_id in tqdm(ids, desc="sound for the units' extractor", disable=not progress):
        yield read_audio(folder.path("audio", clip_id))


def _fingerprint(extractor: SpeechUnitExtractor) -> str:
    # Only what the config itself declares: transformers adds to the rest whenever a model is saved or loaded.
    config = {name: getattr(extractor.config, name) for name in SpeechUnitExtractorConfig.__annotations__}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(extractor.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
