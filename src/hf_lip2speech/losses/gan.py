"""Losses of the vocoder's training: least-squares GAN, feature matching, an L1 loss of log-mels, two for
segments that are made of a lip-to-speech model's predictions, pitch, and spectra of several resolutions.

Kong, Kim, Bae, "HiFi-GAN" (NeurIPS 2020), section 2.4. All losses are float32
and unweighted; `VOCODER_LOSS_WEIGHTS` holds the published weights. Scores and feature maps are what the
discriminators of `hf_lip2speech.models.discriminators` return.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..audio.mel import log_mel_spectrogram, slaney_filters
from ..constants import HOP_LENGTH, MEL_FLOOR, MEL_WINDOW, NUM_MEL_BINS
from ..errors import Lip2SpeechError
from .intelligibility import intelligibility_loss

# The published weights: what the training's settings start from.
VOCODER_LOSS_WEIGHTS = {"adversarial": 1.0, "feature_matching": 2.0, "mel": 45.0}

_F0_WEIGHT, _VOICING_WEIGHT = 2.0, 0.5
STFT_WINDOWS = (256, 512, 1024, 2048)  # samples
_FLOOR = 1e-4  # about the magnitude of 16-bit rounding noise

FeatureMaps = Sequence[Sequence[torch.Tensor]]


def discriminator_loss(
    real_scores: Sequence[torch.Tensor], fake_scores: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Least squares: the scores (B, S) per sub-discriminator of recordings are pulled to 1, those of
    generated speech, detached, to 0. Returns the sum over sub-discriminators and its parts: the real and the
    fake term of each."""
    real = [torch.mean((1 - scores.float()) ** 2) for scores in real_scores]
    fake = [torch.mean(scores.float() ** 2) for scores in fake_scores]
    return torch.stack(real + fake).sum(), real, fake


def adversarial_loss(fake_scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """The generator's side of `discriminator_loss`: its scores should be 1. Scalar."""
    return torch.stack([torch.mean((1 - scores.float()) ** 2) for scores in fake_scores]).sum()


def feature_matching_loss(
    real_maps: FeatureMaps, fake_maps: FeatureMaps, counting: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean absolute difference of every layer of every sub-discriminator, summed. Scalar; unweighted. Of maps
    (B, ...), only the clips of `counting`, bool (B,), count; None: all."""
    if counting is not None:
        share = counting / counting.float().mean().clamp(min=1 / len(counting))
        real_maps, fake_maps = (
            [[layer * share.view(-1, *[1] * (layer.ndim - 1)) for layer in layers] for layers in maps]
            for maps in (real_maps, fake_maps)
        )
    differences = [
        torch.mean(torch.abs(real.detach().float() - fake.float()))
        for real_layers, fake_layers in zip(real_maps, fake_maps, strict=True)
        for real, fake in zip(real_layers, fake_layers, strict=True)
    ]
    return torch.stack(differences).sum()


class LogMelLoss(nn.Module):
    """Mean absolute difference of two waveforms' log-mel spectrograms, unweighted.

    Its spectrogram has another resolution than the vocoder's input: STFT of `fft_size` samples, hop
    `hop_length`, periodic Hann window, reflect padding of (fft_size - hop_length) / 2 on both sides, Slaney
    filters up to half the sampling rate, natural logarithm of the magnitudes.
    """

    def __init__(self, fft_size: int = 1024, hop_length: int = 256, num_mel_bins: int = NUM_MEL_BINS):
        super().__init__()
        self.fft_size, self.hop_length = fft_size, hop_length
        filters = slaney_filters(fft_size // 2 + 1, num_mel_bins)
        # Constants made by the constructor, not part of a checkpoint.
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """Waveform (B, N) to (B, num_mel_bins, frames), float32."""
        padding = (self.fft_size - self.hop_length) // 2
        if waveform.ndim != 2 or waveform.shape[-1] <= padding:
            raise Lip2SpeechError(
                f"The mel loss was given a tensor of shape {tuple(waveform.shape)}; expected (batch, "
                f"samples) with more than {padding} samples."
            )
        # Powers of small samples underflow in half precision.
        with torch.autocast(waveform.device.type, enabled=False):
            padded = F.pad(waveform.float().unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
            spectrum = torch.stft(
                padded, self.fft_size, self.hop_length, window=self.window, center=False, return_complex=True
            )
            magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
            mel = torch.matmul(magnitude.transpose(1, 2), self.filters).transpose(1, 2)
            return torch.log(torch.clamp(mel, min=MEL_FLOOR))

    def forward(self, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, N) and (B, N) to a scalar."""
        return self.distances(fake, real).mean()

    def distances(self, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, N) and (B, N) to (B,)."""
        if fake.shape != real.shape:
            shapes = f"{tuple(fake.shape)} and {tuple(real.shape)}"
            raise Lip2SpeechError(f"The mel loss was given waveforms of shapes {shapes}; they must agree.")
        with torch.no_grad():
            target = self.log_mel(real)
        return (self.log_mel(fake) - target).abs().mean(dim=(1, 2))


def made_mel(waveform: torch.Tensor, frames: int) -> torch.Tensor:
    """The log-mel of speech (B, 160 L), for the two losses below: float32 (B, frames, bins)."""
    with torch.autocast(waveform.device.type, enabled=False):
        return log_mel_spectrogram(waveform.float(), dtype=torch.float32)[:, :frames]


def input_mel_loss(mel: torch.Tensor, spectrogram: torch.Tensor) -> torch.Tensor:
    """Distance of generated speech from the log-mel that it was generated from, at any loudness.

    What a lip-to-speech model predicts differs from the recording in ways that no vocoder can know (in GRID,
    even in time): trained against the recording, the vocoder would learn to blur. From `made_mel` of the
    speech and the given natural-log mel, both (B, L, bins): float32 (B,), mean absolute differences, without
    the ends whose windows reach beyond the segment.
    """
    edge = MEL_WINDOW // (2 * HOP_LENGTH) + 1
    error = (mel - spectrogram.float())[:, edge : spectrogram.shape[1] - edge]
    return (error - error.mean(dim=(1, 2), keepdim=True).detach()).abs().mean(dim=(1, 2))


def reconstruction_losses(
    output: Any,
    batch: dict[str, torch.Tensor],
    mel_losses: Iterable[LogMelLoss],
    args: Any,
    max_av_offset: int,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What a generator's speech is measured by besides the discriminators, and the weighted sum.

    Args:
        output: `UnitVocoderOutput` of the batch.
        batch: see `VocoderSegmentCollator`. Against the recording, those segments count that were made of its
            own mel and units; those made of a model's predictions are compared with these.
        args: the weights, see `VocoderTrainingArguments`.
        max_av_offset: see `intelligibility_loss`.
    """
    fake, real, of_truth = output.waveform.float(), batch["waveform"], ~batch["predicted"]
    distances = torch.stack([loss.distances(fake, real) for loss in mel_losses]).mean(0)
    losses = {"mel_loss": _mean(distances, of_truth)}
    total = args.mel_loss_weight * losses["mel_loss"]
    if args.stft_loss_weight:
        losses["stft_loss"] = _mean(stft_distances(fake, real), of_truth)
        total = total + args.stft_loss_weight * losses["stft_loss"]
    if "f0" in batch:
        losses["pitch_loss"] = pitch_loss(output.log_f0, output.voicing_logits, batch["f0"])
        total = total + args.pitch_loss_weight * losses["pitch_loss"]
    spectrogram = batch["spectrogram"]
    frames = spectrogram.shape[1]
    if args.lip2speech is not None:
        mel = made_mel(fake, frames)
        losses["input_mel_loss"] = _mean(input_mel_loss(mel, spectrogram), ~of_truth)
        total = total + args.mel_loss_weight * losses["input_mel_loss"]
    if args.correlation_loss_weight:
        everywhere = torch.ones(spectrogram.shape[:2], dtype=torch.bool, device=real.device)
        mels = (spectrogram, made_mel(real, frames), everywhere)
        losses["correlation_loss"] = intelligibility_loss(
            fake, real, *mels, batch["predicted"], max_av_offset
        )
        total = total + args.correlation_loss_weight * losses["correlation_loss"]
    return losses, total


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of the chosen of (B,); 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def pitch_loss(log_f0: torch.Tensor, voicing_logits: torch.Tensor, f0: torch.Tensor) -> torch.Tensor:
    """Twice the mean absolute error of log F0 where it is voiced, plus half the cross entropy of voicing:
    scalar.

    Args:
        log_f0, voicing_logits: (B, L), natural logarithm of the predicted F0 in Hz, and whether it is voiced.
        f0: (B, L), the recording's in Hz, 0 where unvoiced.
    """
    voiced = f0 > 0
    errors = (log_f0.float() - f0.clamp(min=1).log()).abs() * voiced
    voicing = F.binary_cross_entropy_with_logits(voicing_logits.float(), voiced.float())
    return _F0_WEIGHT * errors.sum() / voiced.sum().clamp(min=1) + _VOICING_WEIGHT * voicing


def stft_distances(
    fake: torch.Tensor, real: torch.Tensor, windows: Sequence[int] = STFT_WINDOWS
) -> torch.Tensor:
    """Distance of two batches of waveforms (B, N), N at least the largest window: float32 (B,).

    Per window, hops of a quarter: the mean absolute difference of natural-log magnitudes, plus the norm of
    the difference relative to that of `real`; the mean over windows.
    """
    total = torch.zeros(len(real), device=real.device)
    with torch.autocast(fake.device.type, enabled=False):
        for window in windows:
            given, true = (_magnitude(waveform.float(), window) for waveform in (fake, real))
            total = total + (given.log() - true.log()).abs().mean(dim=(1, 2))
            norms = torch.linalg.vector_norm(true, dim=(1, 2))
            total = total + torch.linalg.vector_norm(given - true, dim=(1, 2)) / norms
    return total / len(windows)


def _magnitude(waveform: torch.Tensor, window: int) -> torch.Tensor:
    weights = torch.hann_window(window, device=waveform.device)
    spectrum = torch.stft(waveform, window, window // 4, window=weights, center=False, return_complex=True)
    power = spectrum.real**2 + spectrum.imag**2  # abs() has no gradient at 0
    return power.clamp(min=_FLOOR**2).sqrt()
