"""The columns of an evaluation's table: what is measured on one clip, and how clips become one figure."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import groupby
from math import isnan
from types import FunctionType
from typing import Any

import numpy as np

from ..errors import Lip2SpeechError
from ..models.modeling_speaker_encoder import SpeakerEncoder
from . import metrics
from .error_rates import EditErrors, normalise_text
from .lip_sync import SyncNet
from .systems import FREE, GRAMMAR, Reference
from .voice import XVectorEncoder

Numbers = dict[str, float | None]  # one clip's columns; None where a measure is not defined on it


@dataclass(frozen=True)
class ScoredSpeech:
    """One row's speech for one clip, and what it is compared with.

    Attributes:
        speech: float32 (N,) in [-1, 1], 16 kHz.
        reference: The clip's own ground truth, or another clip's in the shuffled row.
        heard: The recogniser's text, None without a recogniser.
        read: What the model's text head reads from the lips, where it has one.
        units: int64 (2T,), the predicted units that were spoken, where there are any.
        faces: uint8 (T, 224, 224, 3), where lip-sync is scored.
        shuffled: The reference is another clip's: measures without a reference are skipped.
    """

    speech: np.ndarray
    reference: Reference
    heard: str | None = None
    read: Mapping[str, str] = field(default_factory=dict)
    units: np.ndarray | None = None
    faces: np.ndarray | None = None
    shuffled: bool = False


@dataclass
class MetricModels:
    """Networks that metrics need besides the signals."""

    syncnet: SyncNet | None = None
    normalise: Callable[[str], str] = normalise_text
    other_encoder: XVectorEncoder | None = None

    @cached_property
    def speaker_encoder(self) -> SpeakerEncoder | XVectorEncoder:
        return self.other_encoder or SpeakerEncoder.bundled()


Compute = Callable[[ScoredSpeech, MetricModels], Numbers]


@dataclass(frozen=True)
class Measure:
    """One column of the table.

    Attributes:
        metric: Its docstring defines it, and `metrics.ALIGNMENT` states its alignment.
        compute: (speech, models) -> the clip's numbers, by `columns`; default: `metric` of the two signals.
        key: Its name in results.json and the Parquet file; default: the metric's.
        about: Its definition; default: the first paragraph of the metric's docstring.
        better: "higher", "lower", or "zero".
        columns: The clip's numbers that it needs; default: one of the name `key`.
        statistic: How clips become one figure: their "mean" or "median", or a "ratio": the sum of the first
            of `columns` over that of the second.
        factor, digits: Applied to the value that is shown, and its digits after the point.
        main: Part of the first table.
        needs: A package without which it is left out, and the extra that brings it.
    """

    label: str
    metric: FunctionType
    compute: Compute | None = None
    key: str = ""
    about: str = ""
    better: str = "lower"
    columns: tuple[str, ...] = ()
    statistic: str = "mean"
    factor: float = 1.0
    digits: int = 3
    main: bool = False
    needs: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        key = self.key or self.metric.__name__
        about = self.about or " ".join((inspect.getdoc(self.metric) or "").split("\n\n")[0].split())
        for name, value in (("key", key), ("about", about), ("columns", self.columns or (key,))):
            object.__setattr__(self, name, value)
        if self.compute is None:
            object.__setattr__(self, "compute", self._of_signals)

    def _of_signals(self, clip: ScoredSpeech, models: MetricModels) -> Numbers:
        return {self.key: self.metric(clip.reference.sound, clip.speech)}

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is installed."""
        return self.needs is None or find_spec(self.needs[0]) is not None

    def described(self) -> dict[str, Any]:
        """The measure as results.json describes it, and as `cards.show_score` takes it."""
        names = ("key", "label", "about", "better", "statistic", "factor", "digits", "main")
        found = {name: getattr(self, name) for name in names}
        return found | {"columns": [*self.columns], "alignment": metrics.ALIGNMENT[self.metric.__name__]}


def score(speech: ScoredSpeech, models: MetricModels, measures: Sequence[Measure]) -> Numbers:
    """All numbers of one clip's speech; None where a measure is not defined on it (noise has no pitch)."""
    numbers: Numbers = {}
    found: dict[Compute | None, Numbers] = {}
    for measure in measures:
        assert measure.compute is not None
        if measure.compute not in found:
            try:
                found[measure.compute] = measure.compute(speech, models)
            except Lip2SpeechError:  # counted in the row, not hidden in its mean
                found[measure.compute] = {}
        for column in measure.columns:
            value = found[measure.compute].get(column)
            numbers[column] = None if value is None or isnan(value) else value
    return numbers


def _edits(metric: Callable[..., EditErrors], errors: str, length: str, read: str | None = None) -> Compute:
    """A metric of two sentences as a measure's `compute`: of what was heard, or read from the lips."""

    def compute(clip: ScoredSpeech, models: MetricModels) -> Numbers:
        text = models.normalise(clip.reference.text)
        said = clip.heard if read is None else clip.read.get(read)
        if said is None or not text:
            return {}
        found = metric([text], [models.normalise(said)])
        return {errors: found.errors, length: found.length}

    return compute


def _pitch(clip: ScoredSpeech, models: MetricModels) -> Numbers:
    errors = metrics.f0_errors(clip.reference.sound, clip.speech)
    return {"f0_rmse": errors.rmse_cents, "f0_frame_error": errors.frame}


def _units(clip: ScoredSpeech, models: MetricModels) -> Numbers:
    true, given = clip.reference.units, clip.units
    if true is None or given is None:
        return {}
    runs = sum(1 for _ in groupby(true.tolist()))
    return {
        "right_units": round(len(true) * metrics.unit_accuracy([true], [given])),
        "units": len(true),
        "unit_errors": round(runs * metrics.unit_error_rate([true], [given])),
        "unit_runs": runs,
    }


def _speaker(clip: ScoredSpeech, models: MetricModels) -> Numbers:
    encoder = models.speaker_encoder
    return {"speaker_similarity": metrics.speaker_similarity(clip.reference.sound, clip.speech, encoder)}


def _naturalness(clip: ScoredSpeech, models: MetricModels) -> Numbers:
    return {} if clip.shuffled else {"dnsmos": metrics.dnsmos(clip.speech).overall}


def _distill_mos(clip: ScoredSpeech, models: MetricModels) -> Numbers:
    return {} if clip.shuffled else {"distill_mos": metrics.distill_mos(clip.speech)}


def _lip_sync(clip: ScoredSpeech, models: MetricModels) -> Numbers:
    if models.syncnet is None or clip.faces is None or clip.shuffled:
        return {}
    found = metrics.lip_sync(clip.faces, clip.speech, models.syncnet)
    return {"lse_d": found.distance, "lse_c": found.confidence, "lse_offset": found.offset}


_rate = partial(Measure, statistic="ratio", factor=100, digits=1)
_f0 = partial(Measure, metric=metrics.f0_errors, compute=_pitch, needs=("parselmouth", "pitch"))
_sync = partial(Measure, metric=metrics.lip_sync, compute=_lip_sync)
_words = _edits(metrics.word_errors, "word_errors", "words")
_characters = _edits(metrics.character_errors, "character_errors", "characters")
_lip_words = _edits(metrics.word_errors, "lip_word_errors", "lip_words", FREE)
_lip_characters = _edits(metrics.character_errors, "lip_character_errors", "lip_characters", FREE)
_grammar_words = _edits(metrics.word_errors, "lip_grammar_errors", "lip_grammar_words", GRAMMAR)

MEASURES: tuple[Measure, ...] = (
    _rate("WER %", metrics.wer, _words, columns=("word_errors", "words"), main=True),
    Measure("STOI", metrics.stoi, better="higher", main=True),
    Measure("ESTOI", metrics.estoi, better="higher", main=True),
    Measure("PESQ-WB", metrics.pesq_wb, better="higher", digits=2, main=True),
    Measure("speaker", metrics.speaker_similarity, _speaker, better="higher", main=True),
    Measure(
        "DNSMOS",
        metrics.dnsmos,
        _naturalness,
        better="higher",
        digits=2,
        main=True,
        needs=("speechmos", "naturalness"),
    ),
    Measure(
        "Distill-MOS",
        metrics.distill_mos,
        _distill_mos,
        better="higher",
        digits=2,
        needs=("distillmos", "distillmos"),
    ),
    _rate("CER %", metrics.cer, _characters, columns=("character_errors", "characters")),
    _rate(
        "lips WER %",
        metrics.wer,
        _lip_words,
        key="lip_wer",
        about="Words that the model's text head reads wrong from the lips alone: no sound, no recogniser, "
        "the most likely characters.",
        columns=("lip_word_errors", "lip_words"),
    ),
    _rate(
        "lips CER %",
        metrics.cer,
        _lip_characters,
        key="lip_cer",
        about="Characters that the model's text head reads wrong from the lips alone.",
        columns=("lip_character_errors", "lip_characters"),
    ),
    _rate(
        "lips WER %, GRID's sentences",
        metrics.wer,
        _grammar_words,
        key="lip_grammar_wer",
        about="Words that the model's text head reads wrong from the lips alone, where it may read sentences "
        "of GRID only (chance: 81 %).",
        columns=("lip_grammar_errors", "lip_grammar_words"),
    ),
    Measure("PESQ-NB", metrics.pesq_nb, better="higher", digits=2),
    Measure("LSD dB", metrics.log_spectral_distance, digits=2),
    Measure("MCD dB", metrics.mel_cepstral_distortion, digits=2),
    _f0(
        "F0 cents",
        key="f0_rmse",
        about="Error of the fundamental frequency where both are voiced, root mean square, 100 cents per "
        "semitone.",
        digits=0,
    ),
    _f0(
        "FFE %",
        key="f0_frame_error",
        about="F0 frame error: 10 ms steps that are voiced in one only, or whose pitch is off by over 20 %.",
        factor=100,
        digits=1,
    ),
    _rate("units %", metrics.unit_accuracy, _units, better="higher", columns=("right_units", "units")),
    _rate("UER %", metrics.unit_error_rate, _units, columns=("unit_errors", "unit_runs")),
    Measure(
        "delay ms",
        metrics.delay,
        about="How late the speech is, median over clips. For information only; unreliable when the speech "
        "is unlike the recording.",
        better="zero",
        statistic="median",
        factor=1000,
        digits=0,
    ),
    _sync("LSE-D", key="lse_d", about="Lip-sync distance, by SyncNet (Prajwal et al. 2020).", digits=2),
    _sync("LSE-C", key="lse_c", about="Lip-sync confidence, by SyncNet.", better="higher", digits=2),
    _sync(
        "LSE offset",
        key="lse_offset",
        about="The shift of LSE-D and LSE-C: video frames by which the sound is early, median over clips.",
        better="zero",
        statistic="median",
        digits=0,
    ),
)
