"""Rows of an evaluation: the speech of one system for a list of clips, scored, and the rows as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..constants import SAMPLING_RATE
from . import metrics
from .recognisers import Recogniser

COLUMNS = ("row", "WER %", "wrong / words", "STOI", "ESTOI", "PESQ-WB", "change")


@dataclass(frozen=True)
class Row:
    """One system's scores. `heard` holds what the recogniser made of every clip, in the clips' order."""

    name: str
    words: metrics.WordErrors
    stoi: float
    estoi: float
    pesq_wb: float  # mean over the clips that PESQ is defined on, NaN if it is on none
    without_pesq: int  # clips that PESQ is not defined on
    heard: list[str]
    change: float | None = None  # mean |difference| to the waveform of another row, in full scale

    def cells(self) -> list[str]:
        pesq = "-" if math.isnan(self.pesq_wb) else f"{self.pesq_wb:.2f}"
        return [
            self.name,
            f"{100 * self.words.rate:.1f}",
            f"{self.words.errors} / {self.words.words}",
            f"{self.stoi:.3f}",
            f"{self.estoi:.3f}",
            pesq + (f" ({self.without_pesq} undefined)" if self.without_pesq else ""),
            "" if self.change is None else f"{self.change:.4f}",
        ]


def score(
    name: str,
    recogniser: Recogniser,
    texts: Sequence[str],
    truths: Sequence[np.ndarray],
    speech: Sequence[np.ndarray],
    *,
    change_from: Sequence[np.ndarray] | None = None,
    sampling_rate: int = SAMPLING_RATE,
) -> Row:
    """The scores of one system.

    Args:
        name: of the row.
        recogniser: hears every clip.
        texts: N sentences that should be heard.
        truths: N waveforms (M,) that STOI, ESTOI and PESQ compare with.
        speech: N waveforms (M',) of the system.
        change_from: N waveforms (M',); given, the row tells how far `speech` is from them.
        sampling_rate: of all waveforms, Hz.

    Raises:
        MetricError: the numbers of clips differ, or a clip cannot be scored at all (see `metrics`).
    """
    if not len(texts) == len(truths) == len(speech):
        raise metrics.MetricError(
            f"{len(texts)} sentences, {len(truths)} true and {len(speech)} system waveforms were given; "
            "one of each for every clip was expected."
        )
    heard = [recogniser(waveform, sampling_rate) for waveform in speech]
    pairs = list(zip(truths, speech, strict=True))
    opinions = []
    for truth, waveform in pairs:
        try:
            opinions.append(metrics.pesq_wb(truth, waveform, sampling_rate))
        except metrics.PesqUndefinedError:  # counted in the row, not hidden in its mean
            continue
    change = None
    if change_from is not None:
        change = float(np.mean([np.abs(a - b).mean() for a, b in zip(change_from, speech, strict=True)]))
    return Row(
        name=name,
        words=metrics.word_errors(texts, heard),
        stoi=float(np.mean([metrics.stoi(truth, waveform, sampling_rate) for truth, waveform in pairs])),
        estoi=float(np.mean([metrics.estoi(truth, waveform, sampling_rate) for truth, waveform in pairs])),
        pesq_wb=float(np.mean(opinions)) if opinions else math.nan,
        without_pesq=len(pairs) - len(opinions),
        heard=heard,
        change=change,
    )


def derangement(count: int, seed: int) -> list[int]:
    """A random order of 0..count-1 in which nothing stays in its place: clip i is set against clip order[i].

    Raises:
        MetricError: fewer than two clips cannot change places.
    """
    if count < 2:
        raise metrics.MetricError(
            f"{count} clips were given; at least 2 are needed to set one against another."
        )
    order = np.random.default_rng(seed).permutation(count)
    partner = np.empty(count, dtype=int)
    partner[order] = np.roll(order, 1)  # one cycle through all of them, so none meets itself
    return partner.tolist()


def to_markdown(rows: Sequence[Row], facts: Mapping[str, object]) -> str:
    """The table, and under it the facts without which its numbers mean nothing: listener, clips, command."""
    columns = COLUMNS if any(row.change is not None for row in rows) else COLUMNS[:-1]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(row.cells()[: len(columns)]) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in facts.items())]) + "\n"


def to_json(rows: Sequence[Row], facts: Mapping[str, object]) -> dict:
    """The same and what was heard in every clip, as JSON can hold it."""
    table = []
    for row in rows:
        fields = asdict(row) | {"wer": row.words.rate}
        table.append(fields | {"pesq_wb": None if math.isnan(row.pesq_wb) else row.pesq_wb})
    return {"facts": dict(facts), "rows": table}
