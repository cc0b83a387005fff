"""Which unit extractor a corpus is prepared with: one that is given, or one fitted on its train split.

Fitting reads the corpus's own sound and no prepared file: so each shard of a preparation can have its
extractor before any other is done, and all fit the same.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedConfig

from ..constants import SAMPLING_RATE
from ..errors import DatasetError, NoAudioError
from ..models.configuration_speech_units import SpeechUnitExtractorConfig
from ..models.modeling_speech_units import SpeechUnitExtractor
from .clip_files import read_sound
from .corpora import Clip
from .corpora.clip import shuffled
from .layout import PreparedFolder

FITTING_SECONDS = 10_000  # of sound that is clustered: 500,000 features, 2,500 a cluster of 200
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
    train: Sequence[str],
    clip: Callable[[str], Clip],
    device: str,
    replace: bool,
    progress: bool,
) -> dict:
    """Put the extractor into the prepared folder, unless it is there; units of another one are removed.

    Args:
        train: The IDs of all training clips of the corpus.
        clip: ID -> clip.
        device: Where features are computed.
        replace: Whether another extractor may be replaced.

    Returns:
        What it was made of: {"units", "num_units", "seed", "clips", "fingerprint"} if fitted (on clips drawn
        from `train` with `seed`, all or as many as have 10,000 s of sound), {"units", "fingerprint"} if
        given.

    Raises:
        DatasetError: Another extractor is there and must not be replaced.
    """
    extractor = None
    if needs_fitting(units):
        ids = hashlib.sha256("\n".join(sorted(train)).encode()).hexdigest()
        origin = {"units": str(units), "num_units": num_units, "seed": seed, "clips": len(train)}
        origin["fingerprint"] = ids
    elif isinstance(units, SpeechUnitExtractor):
        extractor = units
        origin = {"units": "given", "fingerprint": _fingerprint(units)}
    else:
        extractor = SpeechUnitExtractor.from_pretrained(str(units))
        origin = {"units": str(units), "fingerprint": _fingerprint(extractor)}
    placed = _origin(folder)
    if placed == origin:
        return origin
    if placed is not None and not replace:
        raise DatasetError(
            f"{folder.unit_extractor} was made of {placed}; this shard asks for {origin}. Give every shard "
            "the same corpus and arguments, or another folder; without a shard the extractor is replaced."
        )
    if extractor is None:
        config = SpeechUnitExtractorConfig(features=str(units), num_units=num_units)
        extractor = SpeechUnitExtractor(config).eval().to(device)
        extractor.fit(_sounds(shuffled(train, seed), clip, progress), seed=seed)

    def save(unfinished: Path) -> None:
        extractor.save_pretrained(unfinished)
        (unfinished / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")

    # The old extractor goes first and the new one comes last: units never lie beside an extractor that did
    # not make them, wherever this is interrupted.
    if replace:
        folder.manifest.unlink(missing_ok=True)
        for old in (folder.unit_extractor, folder.root / "units"):
            if old.exists():
                shutil.rmtree(old)
    try:
        folder.write(folder.unit_extractor, save)
    except OSError:
        # A folder cannot be put in the place of another: one of the other shards was faster.
        if _origin(folder) != origin:
            raise
    return origin


def _origin(folder: PreparedFolder) -> dict | None:
    path = folder.unit_extractor / ORIGIN
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _sounds(ids: Sequence[str], clip: Callable[[str], Clip], progress: bool) -> Iterator[np.ndarray]:
    """The sound of clips, until there is enough; clips without any are passed over (their report says so)."""
    left = FITTING_SECONDS * SAMPLING_RATE
    for clip_id in tqdm(ids, desc="sound for the units' extractor", disable=not progress):
        if left <= 0:
            return
        try:
            sound = read_sound(clip(clip_id))
        except NoAudioError:
            continue
        left -= len(sound)
        yield sound


def _fingerprint(extractor: SpeechUnitExtractor) -> str:
    # Only what the config itself declares: transformers adds to the rest whenever a model is saved or loaded.
    config = {name: getattr(extractor.config, name) for name in SpeechUnitExtractorConfig.__annotations__}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(extractor.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
