"""The columns of an evaluation's table: what is measured of one clip's speech, and how clips become a figure.

What each metric does about time is said by `alignment.ALIGNMENT` and repeated beside every table: none of
them searches for a shift, save those that say so.
"""

from collections.abc import Callable
from itertools import groupby
from typing import cast

from . import metrics
from .normalisation import normalise_text
from .scores import Case, Measure, Numbers, Tools
from .syncnet import SyncNet


def _words(case: Case, tools: Tools) -> Numbers:
    text = normalise_text(case.reference.text)
    if case.heard is None or not text:
        return {}
    errors = metrics.word_errors([text], [normalise_text(case.heard)])
    return {"word_errors": errors.errors, "words": errors.words}


def _characters(case: Case, tools: Tools) -> Numbers:
    text = normalise_text(case.reference.text)
    if case.heard is None or not text:
        return {}
    errors = metrics.character_errors([text], [normalise_text(case.heard)])
    return {"character_errors": errors.errors, "characters": errors.characters}


def _pitch(case: Case, tools: Tools) -> Numbers:
    errors = metrics.f0_errors(case.reference.sound, case.speech)
    return {"f0_rmse": errors.rmse_cents, "f0_frame_error": errors.frame}


def _unit_accuracy(case: Case, tools: Tools) -> Numbers:
    if case.units is None or case.reference.units is None:
        return {}
    steps = len(case.reference.units)
    return {
        "right_units": round(steps * metrics.unit_accuracy([case.reference.units], [case.units])),
        "units": steps,
    }


def _unit_errors(case: Case, tools: Tools) -> Numbers:
    if case.units is None or case.reference.units is None:
        return {}
    runs = sum(1 for _ in groupby(case.reference.units.tolist()))
    return {
        "unit_errors": round(runs * metrics.unit_error_rate([case.reference.units], [case.units])),
        "unit_runs": runs,
    }


def _speaker(case: Case, tools: Tools) -> Numbers:
    similarity = metrics.speaker_similarity(case.reference.sound, case.speech, tools.speaker_encoder)
    return {"speaker_similarity": similarity}


def _naturalness(case: Case, tools: Tools) -> Numbers:
    return {} if case.shuffled else {"dnsmos": metrics.dnsmos(case.speech).overall}


def _lip_sync(case: Case, tools: Tools) -> Numbers:
    if tools.syncnet is None or case.faces is None or case.shuffled:
        return {}
    found = metrics.lip_sync(case.faces, case.speech, cast(SyncNet, tools.syncnet))
    return {"lse_d": found.distance, "lse_c": found.confidence, "lse_offset": found.offset}


def _compare(key: str, function: Callable[..., float]) -> Callable[[Case, Tools], Numbers]:
    """A metric of two signals as a measure's `compute`."""
    return lambda case, tools: {key: function(case.reference.sound, case.speech)}


MEASURES = (
    Measure(
        "wer",
        "WER %",
        "Word error rate: wrong, missing and added words over the words said, all clips together. It judges "
        "speech and recogniser at once: compare it with the row of true speech.",
        "wer",
        _words,
        statistic="ratio",
        columns=("word_errors", "words"),
        factor=100,
        digits=1,
        main=True,
    ),
    Measure(
        "stoi",
        "STOI",
        "Short-time objective intelligibility, 0 to 1 (Taal et al. 2011; pystoi).",
        "stoi",
        _compare("stoi", metrics.stoi),
        better="higher",
        main=True,
    ),
    Measure(
        "estoi",
        "ESTOI",
        "Extended STOI, 0 to 1 (Jensen, Taal 2016; pystoi).",
        "estoi",
        _compare("estoi", metrics.estoi),
        better="higher",
        main=True,
    ),
    Measure(
        "pesq_wb",
        "PESQ-WB",
        "Wide-band PESQ, 1.04 to 4.64 (ITU-T P.862.2; pesq).",
        "pesq_wb",
        _compare("pesq_wb", metrics.pesq_wb),
        better="higher",
        digits=2,
        main=True,
    ),
    Measure(
        "speaker_similarity",
        "speaker",
        "Speaker similarity: cosine of the GE2E embeddings of speech and recording, 0 to 1.",
        "speaker_similarity",
        _speaker,
        better="higher",
        main=True,
    ),
    Measure(
        "dnsmos",
        "DNSMOS",
        "Naturalness as a network guesses it, about 1 to 5 (DNSMOS P.835, overall). It has no reference: it "
        "hears noise, not wrong words.",
        "dnsmos",
        _naturalness,
        better="higher",
        digits=2,
        main=True,
        needs=("speechmos", "naturalness"),
    ),
    Measure(
        "cer",
        "CER %",
        "Character error rate, as WER over characters, spaces included.",
        "cer",
        _characters,
        statistic="ratio",
        columns=("character_errors", "characters"),
        factor=100,
        digits=1,
    ),
    Measure(
        "pesq_nb",
        "PESQ-NB",
        "Narrow-band PESQ at 16 kHz, 1.02 to 4.55 (ITU-T P.862.1; pesq): not to be compared with wide-band "
        "values.",
        "pesq_nb",
        _compare("pesq_nb", metrics.pesq_nb),
        better="higher",
        digits=2,
    ),
    Measure(
        "log_spectral_distance",
        "LSD dB",
        "Log-spectral distance in dB, 0 for the recording itself.",
        "log_spectral_distance",
        _compare("log_spectral_distance", metrics.log_spectral_distance),
        digits=2,
    ),
    Measure(
        "mel_cepstral_distortion",
        "MCD dB",
        "Mel cepstral distortion in dB, frame upon frame, coefficients 1 to 13 of 80 mel bins.",
        "mel_cepstral_distortion",
        _compare("mel_cepstral_distortion", metrics.mel_cepstral_distortion),
        digits=2,
    ),
    Measure(
        "f0_rmse",
        "F0 cents",
        "Error of the fundamental frequency where both are voiced, root mean square, 100 cents a semitone.",
        "f0_errors",
        _pitch,
        digits=0,
        needs=("parselmouth", "pitch"),
    ),
    Measure(
        "f0_frame_error",
        "FFE %",
        "F0 frame error: 10 ms steps that are voiced in one only, or whose pitch is off by over 20 % (Chu, "
        "Alwan 2009).",
        "f0_errors",
        _pitch,
        factor=100,
        digits=1,
        needs=("parselmouth", "pitch"),
    ),
    Measure(
        "unit_accuracy",
        "units %",
        "Speech units predicted from the lips that are those of the recording, step by step of 20 ms.",
        "unit_accuracy",
        _unit_accuracy,
        better="higher",
        statistic="ratio",
        columns=("right_units", "units"),
        factor=100,
        digits=1,
    ),
    Measure(
        "unit_error_rate",
        "UER %",
        "Unit error rate: edits between the two orders of units, repeats collapsed.",
        "unit_error_rate",
        _unit_errors,
        statistic="ratio",
        columns=("unit_errors", "unit_runs"),
        factor=100,
        digits=1,
    ),
    Measure(
        "delay",
        "delay ms",
        "By how much the speech is late, median over clips; it corrects nothing. A guess where speech hardly "
        "resembles the recording.",
        "delay",
        _compare("delay", metrics.delay),
        better="zero",
        statistic="median",
        factor=1000,
        digits=0,
    ),
    Measure(
        "lse_d",
        "LSE-D",
        "Lip-sync distance (Prajwal et al. 2020; SyncNet weights given by the user).",
        "lip_sync",
        _lip_sync,
        digits=2,
    ),
    Measure(
        "lse_c",
        "LSE-C",
        "Lip-sync confidence, of the same network.",
        "lip_sync",
        _lip_sync,
        better="higher",
        digits=2,
    ),
    Measure(
        "lse_offset",
        "LSE offset",
        "The shift at which LSE-D and LSE-C were taken, video frames by which the sound is early, median.",
        "lip_sync",
        _lip_sync,
        better="zero",
        statistic="median",
        digits=0,
    ),
)
