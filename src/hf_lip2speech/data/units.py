"""Which unit extractors a corpus is prepared with: given ones, or ones that are fitted on its train split.

Speech units are fitted on the corpus's own sound and no prepared file, so each shard of a preparation can
have its extractor before any other shard is done, and all shards fit the same one.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedConfig

from ..constants import SAMPLING_RATE
from ..errors import DatasetError, NoAudioError
from ..loading import model_source, readable_hub_errors, states_type
from ..models.configuration_speech_units import SpeechUnitExtractorConfig
from ..models.configuration_visual_units import VisualUnitExtractorConfig
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..models.modeling_visual_units import VisualUnitExtractor
from ..progress import tracked
from .clip_files import read_sound
from .corpora import Clip
from .corpora.clip import shuffled
from .layout import PreparedFolder, read_crops

DEFAULT_UNITS = "facebook/hubert-base-ls960"  # whose layer 6 the published systems cluster
FITTING_SECONDS = 10_000  # of sound that is clustered: 500,000 features, 2,500 per cluster of 200
FITTING_FRAMES = 500_000  # of video that are clustered
ADVICE = (
    f"Give a saved SpeechUnitExtractor, a self-supervised speech model such as {DEFAULT_UNITS!r}, or, which "
    "need no network, 'bundled' (the bundled model's units) or 'mfcc'."
)
ORIGIN = "prepared_from.json"  # in the extractor's folder: what it was made of

Units = str | Path | SpeechUnitExtractor


def unfitted_config(units: Units, num_units: int) -> SpeechUnitExtractorConfig | None:
    """The config of an extractor that has to be fitted; None if `units` is a fitted extractor.

    Raises:
        DatasetError: Nothing is found under that name.
    """
    if isinstance(units, SpeechUnitExtractor):
        return None
    units = model_source(units, SpeechUnitExtractorConfig.bundled_folder)
    if str(units) == "mfcc":
        return SpeechUnitExtractorConfig(features="mfcc", num_units=num_units)
    try:
        config, _ = PreTrainedConfig.get_config_dict(str(units))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The unit model {str(units)!r} is neither a folder with a config.json nor available from the "
            f"Hub: {error} {ADVICE}"
        ) from error
    if {"features", "num_units"} <= config.keys():  # a saved extractor's, under any of its model types
        return None
    if not isinstance(size := config.get("hidden_size"), int) or "conv_kernel" not in config:
        what = "is not a speech model that units can come from" if config else "has no config.json"
        raise DatasetError(f"The unit model {str(units)!r} {what}. {ADVICE}")
    return SpeechUnitExtractorConfig(features=str(units), num_units=num_units, feature_size=size)


def given_extractor(units: Units) -> SpeechUnitExtractor:
    """A fitted extractor, loaded if need be."""
    return (
        units if isinstance(units, SpeechUnitExtractor) else SpeechUnitExtractor.from_pretrained(str(units))
    )


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


def place_unit_extractor(
    folder: PreparedFolder,
    units: Units,
    *,
    num_units: int,
    seed: int,
    train: Sequence[str],
    clip: Callable[[str], Clip],
    device: str,
    replace: bool,
    progress: bool,
) -> dict:
    """Put the extractor into the prepared folder, unless it is there. Units of another extractor are removed.

    It is fitted on the `device`, on the sound of `train`, the IDs of all training clips, or as many as have
    10,000 s, drawn with `seed`. Only with `replace` does it take the place of another one.

    Returns:
        What it was made of: {"units", "num_units", "seed", "clips", "fingerprint"} if fitted, {"units",
        "fingerprint"} if given.

    Raises:
        DatasetError: Another extractor is there and must not be replaced.
    """
    config = unfitted_config(units, num_units)
    if config is None:
        extractor = given_extractor(units)
        name = "given" if extractor is units else str(units)
        origin = {"units": name, "fingerprint": _fingerprint(extractor)}
        return _place(folder, "units", origin, lambda: extractor, replace)

    def sound(clip_id: str) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the report has them
            return read_sound(clip(clip_id))

    def fitted() -> SpeechUnitExtractor:
        sounds = _enough(sound, train, seed, FITTING_SECONDS * SAMPLING_RATE, "units", progress)
        return SpeechUnitExtractor(config).eval().to(device).fit(sounds, seed=seed)

    origin = {"units": str(units), "num_units": num_units} | _draw(train, seed)
    return _place(folder, "units", origin, fitted, replace)


def place_visual_unit_extractor(
    folder: PreparedFolder,
    extractor: VisualUnitExtractor,
    train: Sequence[str],
    *,
    seed: int,
    device: str,
    progress: bool,
) -> dict:
    """The same of visual units, whose extractor is fitted on stored clips of `train`, as many as have 500,000
    frames, and replaces another one."""
    config = extractor.config
    origin = {"visual_units": config.features, "layer": config.layer, "num_units": config.num_units}
    if config.fitted:
        origin["fingerprint"] = _fingerprint(extractor)
        return _place(folder, "visual_units", origin, lambda: extractor, True)

    def fitted() -> SpeechUnitExtractor:
        def read(clip_id: str) -> np.ndarray:
            return read_crops(folder.path("video", clip_id))

        crops = _enough(read, train, seed, FITTING_FRAMES, "visual units", progress)
        return extractor.to(device).fit(crops, seed=seed)

    return _place(folder, "visual_units", origin | _draw(train, seed), fitted, True)


def _draw(train: Sequence[str], seed: int) -> dict:
    ids = hashlib.sha256("\n".join(sorted(train)).encode()).hexdigest()
    return {"seed": seed, "clips": len(train), "fingerprint": ids}


def _enough(
    read: Callable[[str], np.ndarray], train: Sequence[str], seed: int, left: int, what: str, progress: bool
) -> Iterator[np.ndarray]:
    """The sound or crops of clips, drawn with `seed`, until there is enough; clips without sound are passed
    over (the report names them)."""
    for clip in tracked(shuffled(train, seed), f"clips to fit {what} on", shown=progress):
        if left <= 0:
            return
        try:
            values = read(clip)
        except NoAudioError:
            continue
        left -= len(values)
        yield values


def _place(
    folder: PreparedFolder,
    column: str,
    origin: dict,
    make: Callable[[], SpeechUnitExtractor],
    replace: bool,
) -> dict:
    """Save the extractor of a column, which `make` gives, unless one of the same origin is there, and remove
    the units of another one; returns the origin."""
    target = folder.unit_extractor if column == "units" else folder.visual_unit_extractor
    placed = _origin(target)
    if placed == origin:
        return origin
    if placed is not None and not replace:
        raise DatasetError(
            f"{target} was made of {placed}; this shard asks for {origin}. Give every shard "
            "the same corpus and arguments; a run without a shard replaces the extractor."
        )
    extractor = make()
    # The old extractor goes first and the new one comes last: wherever this is interrupted, units are never
    # beside an extractor that did not make them.
    if replace:
        folder.manifest.unlink(missing_ok=True)
        for old in (target, folder.root / column):
            if old.exists():
                shutil.rmtree(old)
    try:
        with folder.writing(target) as unfinished:
            extractor.save_pretrained(unfinished)
            (unfinished / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    except OSError:
        # A folder cannot replace another: one of the other shards was faster.
        if _origin(target) != origin:
            raise
    return origin


def _origin(target: Path) -> dict | None:
    """What the extractor in a folder was made of; None if there is none, or its note is damaged."""
    try:
        return json.loads((target / ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _fingerprint(extractor: SpeechUnitExtractor) -> str:
    # Only what the config itself declares: transformers adds to the rest whenever a model is saved or loaded.
    config = {name: getattr(extractor.config, name) for name in SpeechUnitExtractorConfig.__annotations__}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(extractor.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
