"""The quality of speech: against its reference (STOI, PESQ, distances of spectra), and as listeners
would rate it, predicted from the speech alone (DNSMOS, Distill-MOS)."""

import io
import math
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch

from hf_lip2speech_extras import require_extra

from ..audio.mel import log_mel_spectrogram, stft_magnitude
from ..constants import HOP_LENGTH, MEL_WINDOW, NUM_MEL_BINS, SAMPLING_RATE
from ..errors import MetricError, PesqUndefinedError, UndefinedMetricError
from .alignment import check_signal, match_length

DYNAMIC_RANGE = 80.0  # dB below the reference's loudest bin: anything quieter counts as silent
CEPSTRA = 13  # coefficients 1..13, as is usual
DNSMOS_WINDOW = 144_160  # samples (9.01 s): the network's input
# The published polynomials from the network's outputs to opinions: a, b, c of a x^2 + b x + c.
_SIGNAL = (-0.08397278, 1.22083953, 0.0052439)
_BACKGROUND = (-0.13166888, 1.60915514, -0.39604546)
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)


def stoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), about 0 to 1 (the reference itself).

    Taal, Hendriks, Heusdens, Jensen, "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted
    Noisy Speech", IEEE TASLP 2011; computed by pystoi. Both signals start together, speech is cut or padded
    to the reference's length, nothing is shifted.

    Args:
        reference: (N,) recording, mono.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: Of both, Hz.

    Raises:
        UndefinedMetricError: the reference holds less than 0.4 s that is not silence.
    """
    return _stoi(reference, speech, sampling_rate, extended=False)


def estoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Extended STOI (Jensen, Taal 2016), which also measures how bands move together; about 0 to 1.

    Jensen, Taal, "An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise
    Maskers", IEEE/ACM TASLP 2016; computed by pystoi with a fixed seed, so the same signals have the same
    score. Arguments and errors as in `stoi`.
    """
    return _stoi(reference, speech, sampling_rate, extended=True)


def pesq_wb(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Wide-band PESQ (ITU-T P.862.2), mean opinion score 1.04 (worst) to 4.64 (the reference itself).

    Computed by the package pesq, whose C code is the ITU's. It finds and removes the delay of each utterance,
    as the standard says. No other signal metric here forgives a shift: show `alignment.delay` beside it.
    Arguments as in `stoi`, at 16000 Hz: wide band is not defined elsewhere.

    Raises:
        MetricError: another sampling rate.
        PesqUndefinedError: the speech is silent, or PESQ finds no utterance in it.
    """
    return _pesq(reference, speech, sampling_rate, "wb", [16_000])


def pesq_nb(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Narrow-band PESQ (ITU-T P.862.1), mean opinion score 1.02 to 4.55; not comparable to wide-band ones.

    It exceeds `pesq_wb` on poor speech. The public scoring code of Lip2Wav calls this at 16 kHz, that of
    VCA-GAN and of "Lip-to-speech synthesis in the wild" on signals resampled to 8 kHz; resample both signals
    likewise to compare with them. Arguments and errors as in `pesq_wb`, at 8000 or 16000 Hz.
    """
    return _pesq(reference, speech, sampling_rate, "nb", [8_000, 16_000])


def _stoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int, extended: bool) -> float:
    module = require_extra("pystoi", "eval")
    reference, speech = match_length(reference, speech)
    if not reference.any():
        raise UndefinedMetricError("The reference is silent throughout: STOI is not defined on it.")
    seconds = len(reference) / sampling_rate
    too_short = UndefinedMetricError(
        f"Less than 0.4 s of the reference's {seconds:.2f} s are speech: no STOI."
    )
    if len(reference) < 0.1 * sampling_rate:  # pystoi fails on signals shorter than one of its frames
        raise too_short
    # pystoi draws from NumPy's global generator: its ESTOI adds noise of 1e-16 and then normalises, so that
    # the score is random where the speech is digitally silent (a clip with a silent half moved by 0.005).
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(module.stoi(reference, speech, sampling_rate, extended=extended))
        except RuntimeWarning as error:
            raise too_short from error
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _pesq(
    reference: np.ndarray, speech: np.ndarray, sampling_rate: int, mode: str, rates: list[int]
) -> float:
    if sampling_rate not in rates:
        raise MetricError(f"sampling_rate is {sampling_rate}; expected one of {rates}: resample both.")
    module = require_extra("pesq", "eval")
    reference, speech = match_length(reference, speech)
    if not speech.any():
        raise PesqUndefinedError("The speech is silent throughout: PESQ is not defined on it.")
    try:
        return float(module.pesq(sampling_rate, reference, speech, mode))
    except module.PesqError as error:  # "No utterances detected" in noise or near-silence, under 1/4 s
        raise PesqUndefinedError(f"PESQ is not defined on this speech ({error}).") from error


def log_spectral_distance(reference: np.ndarray, speech: np.ndarray) -> float:
    """Log-spectral distance in dB, 0 for the reference itself; 6 dB is a factor of 2 in every bin.

    Per frame the root mean square over frequency of 20 log10 |S| - 20 log10 |S'|, then the mean over frames
    (Gray, Markel, "Distance measures for speech processing", IEEE TASSP 1976). Frames of 40 ms every 10 ms,
    Hann window, 0 to 8 kHz; both spectra are floored 80 dB below the reference's loudest bin. Loudness
    counts. Arguments as in `stoi`, at 16 kHz.

    Raises:
        UndefinedMetricError: the reference is shorter than 640 samples or silent.
    """
    reference, speech = match_length(reference, speech)
    if len(reference) < MEL_WINDOW or not reference.any():
        raise UndefinedMetricError(
            f"The reference has {len(reference)} samples and a peak of {np.abs(reference).max():.3g}; "
            f"expected at least {MEL_WINDOW} samples, not all silent. Leave the clip out."
        )
    spectra = stft_magnitude(torch.from_numpy(np.stack([reference, speech])), MEL_WINDOW, HOP_LENGTH)
    floor = float(spectra[0].max()) * 10 ** (-DYNAMIC_RANGE / 20)
    decibels = 20 * spectra.clamp(min=floor).log10()  # (2, F, 321)
    return float((decibels[0] - decibels[1]).square().mean(dim=-1).sqrt().mean())


def mel_cepstra(waveform: np.ndarray, count: int = CEPSTRA) -> np.ndarray:
    """Mel cepstral coefficients 1..count of 16 kHz speech (N,), N > 320, without c0, the loudness.

    c_k = 2 / 80 * sum over m of L_m cos(pi k (m + 1/2) / 80), where L_m is the natural-log amplitude of mel
    bin m (`log_mel_spectrogram`, 40 ms every 10 ms): float64 (N // 160 + 1, count).
    """
    log_mel = log_mel_spectrogram(torch.from_numpy(np.asarray(waveform, dtype=np.float64))).double().numpy()
    return require_extra("scipy.fft", "eval").dct(log_mel)[:, 1 : count + 1] / NUM_MEL_BINS


def mel_cepstral_distortion(reference: np.ndarray, speech: np.ndarray, *, dtw: bool = False) -> float:
    """Mel cepstral distortion in dB, 0 for the reference itself; under 8 is usual for good synthesis.

    10 / ln 10 * sqrt(2 * sum over k = 1..13 of (c_k - c'_k)^2), the mean over frames (Kubichek, "Mel-cepstral
    distance measure for objective speech quality assessment", 1993). c_0 is excluded: loudness does not
    count. The cepstra are those of `mel_cepstra`; papers that use WORLD or STRAIGHT get other values. Signals
    as in `stoi`, at 16 kHz.

    Args:
        dtw: False: frame by frame, speech cut or padded to the reference's length. True: over the cheapest
            path of dynamic time warping (steps of one frame in either or both), the mean over the path, both
            at their own lengths. That forgives wrong timing, so call it "MCD-DTW".

    Raises:
        UndefinedMetricError: 320 samples or fewer.
    """
    true, given = match_length(reference, speech)
    if dtw:
        given = np.asarray(speech, dtype=np.float64)
    if (shortest := min(len(true), len(given))) <= MEL_WINDOW // 2:
        raise UndefinedMetricError(
            f"A signal has {shortest} samples; expected more than {MEL_WINDOW // 2}. Leave the clip out."
        )
    true, given = mel_cepstra(true), mel_cepstra(given)
    if not dtw:
        return float(_distortion(true - given).mean())
    return _mean_along_cheapest_path(_distortion(true[:, None] - given[None]))  # of (F, F') costs


def _distortion(differences: np.ndarray) -> np.ndarray:
    return 10 / math.log(10) * np.sqrt(2 * (differences**2).sum(axis=-1))


def _mean_along_cheapest_path(costs: np.ndarray) -> float:
    """Dynamic time warping over (N, M) costs from corner to corner, one anti-diagonal at a time.

    Sakoe, Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE TASSP 1978,
    with equal weights for all three steps.
    """
    rows, columns = costs.shape
    # Entry i + 1 of each is row i of an anti-diagonal: (total, length) of the cheapest path up to there.
    before = np.full((2, rows + 1), np.inf)
    before[:, 0] = 0  # the path starts here
    last = np.full((2, rows + 1), np.inf)
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(diagonal, rows - 1) + 1)
        steps = np.stack([before[:, i], last[:, i], last[:, i + 1]])  # both, a row, a column: (3, 2, n)
        cheapest = steps[steps[:, 0].argmin(axis=0), :, np.arange(len(i))].T  # (2, n)
        new = np.full((2, rows + 1), np.inf)
        new[0, i + 1] = cheapest[0] + costs[i, diagonal - i]
        new[1, i + 1] = cheapest[1] + 1
        before, last = last, new
    total, length = last[:, rows]
    return float(total / length)


@dataclass(frozen=True)
class Dnsmos:
    """Predicted mean opinion scores, about 1 (bad) to 5 (excellent), on the scales of ITU-T P.835."""

    signal: float  # how undistorted the voice is
    background: float  # how little noise there is
    overall: float  # the number that papers report


def dnsmos(speech: np.ndarray) -> Dnsmos:
    """DNSMOS P.835, overall: naturalness as a network predicts it from the speech alone, about 1 to 5.

    Reddy, Gopal, Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to
    evaluate noise suppressors", ICASSP 2022. The weights come with the PyPI package speechmos, nothing is
    downloaded. (Its own `dnsmos.run` gives the same scores, but needs librosa and runs a second network,
    P.808.) As published, clips under 9.01 s are doubled until they are longer, windows of 9.01 s start every
    second, and their scores are averaged. It was trained on denoised speech: it hears noise and distortion,
    not whether the words are right.

    Args:
        speech: (N,) 16 kHz mono in [-1, 1]; clipped where it leaves that range.

    Raises:
        UndefinedMetricError: it is silent throughout.
    """
    samples = np.clip(_audible(speech), -1, 1)
    while len(samples) < DNSMOS_WINDOW:
        samples = np.tile(samples, 2)
    # The published count: whole seconds less 9.01, which can leave out the last whole window.
    count = int(len(samples) // SAMPLING_RATE - DNSMOS_WINDOW / SAMPLING_RATE) + 1
    windows = [samples[None, start * SAMPLING_RATE :][:, :DNSMOS_WINDOW] for start in range(count)]
    raw = np.stack([_network().run(None, {"input_1": window})[0][0] for window in windows])  # (windows, 3)
    scales = zip((_SIGNAL, _BACKGROUND, _OVERALL), raw.T, strict=True)
    return Dnsmos(*(float(np.polyval(polynomial, scores).mean()) for polynomial, scores in scales))


def dnsmos_name() -> str:
    """The model and the package that holds its weights, to be shown beside a score."""
    return f"DNSMOS P.835 (sig_bak_ovr.onnx of speechmos {version('speechmos')})"


def distill_mos(speech: np.ndarray) -> float:
    """Distill-MOS: overall quality as a network predicts it from the speech alone, 1 to 5.

    Stahl, Gamper, "Distillation and Pruning for Scalable Self-Supervised Representation-Based Speech Quality
    Assessment", ICASSP 2025. A second opinion beside DNSMOS, learned from listening tests of codecs and
    synthetic speech rather than of noise suppression. The weights come with the PyPI package distillmos.
    Argument and error as in `dnsmos`; loudness does not count.
    """
    with torch.no_grad():
        return float(_distilled_network()(torch.from_numpy(_audible(speech))[None]))


def _audible(speech: np.ndarray) -> np.ndarray:
    """The speech as float32 (N,), if there is any."""
    samples = check_signal("speech", speech).astype(np.float32)
    if not samples.any():
        raise UndefinedMetricError("The speech is silent throughout: there is no voice to rate.")
    return samples


@cache
def _distilled_network() -> torch.nn.Module:
    # torchaudio, which the package imports, reads the sounds of its command line: an empty module does here,
    # where there is none that fits torch.
    stand_in = {} if find_spec("torchaudio") else {"torchaudio": ModuleType("torchaudio")}
    sys.modules.update(stand_in)
    try:
        with redirect_stdout(io.StringIO()):  # it prints where its weights are
            return require_extra("distillmos").ConvTransformerSQAModel().eval()
    finally:
        for name in stand_in:
            del sys.modules[name]


@cache
def _network():
    runtime = require_extra("onnxruntime", "naturalness")
    weights = files(require_extra("speechmos", "naturalness")) / "dnsmos_models" / "sig_bak_ovr.onnx"
    return runtime.InferenceSession(weights.read_bytes(), providers=["CPUExecutionProvider"])
