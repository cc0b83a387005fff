"""What STOI and ESTOI a perfect lip reader could reach on a prepared corpus.

    python scripts/measure_limits.py PREPARED [MODEL] [--split val]

STOI compares frames down to 40 dB below the loudest. In a clip with long pauses and a noisy room many of
these hold only noise; and where sound and picture are synchronised only to about a frame, as in GRID, speech
that is right otherwise comes at the wrong time. This script replaces parts of the model's speech by the
ground truth, and moves it by the lag that fits each clip best (between the predicted and the true mel, to
about 1 ms; within 60 ms).
"""

import argparse

import numpy as np
import soxr
import torch

from hf_lip2speech_extras import needs_extra

with needs_extra("eval"):
    from pystoi import stoi

    from hf_lip2speech.composite import feature_extractor_for
    from hf_lip2speech.constants import SAMPLING_RATE
    from hf_lip2speech.data.augmentation import evaluation_transform
    from hf_lip2speech.data.prepared import PreparedDataset
    from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
    from hf_lip2speech.loading import BUNDLED
    from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder

MARGIN = 6  # mel frames, the largest lag tried


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared")
    parser.add_argument("model", nargs="?", default=str(BUNDLED))
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    clips = PreparedDataset(arguments.prepared, arguments.split)
    model = Lip2SpeechWithVocoder.from_pretrained(arguments.model, dtype=torch.float32).eval()
    extractor = feature_extractor_for(arguments.model, model)
    scores, lags, silent = {}, [], []
    for index, row in enumerate(clips.rows):
        clip = clips[index]
        true = np.asarray(clip["waveform"], dtype=np.float64)
        spoken, mel = speak(model, extractor, clip)
        spoken = spoken * np.sqrt((true**2).sum() / (spoken**2).sum())
        lag = best_lag(mel, np.asarray(clip["mel"]))
        lags.append(1000 * lag / SAMPLING_RATE)
        words = row["words"]
        time = np.arange(len(true)) / SAMPLING_RATE
        inside = (time >= words[0]["start"]) & (time < words[-1]["end"])
        silent.append(silent_share(true, inside))
        rows = {
            "end-to-end": spoken,
            "end-to-end, each clip moved to its best lag": move(spoken, lag),
            "ground truth in the sentence, model around it": np.where(inside, true, spoken),
            "the same, the sentence moved by the clip's lag": np.where(
                move(inside, -lag), move(true, -lag), spoken
            ),
            "model in the sentence (at its best lag), ground truth around it": np.where(
                inside, move(spoken, lag), true
            ),
        }
        for name, sound in rows.items():
            scores.setdefault(name, []).append(
                [stoi(true, sound, SAMPLING_RATE, extended=extended) for extended in (False, True)]
            )
    print(f"{len(lags)} clips; lags: standard deviation {np.std(lags):.1f} ms")
    print(f"of the frames that STOI compares, {100 * np.mean(silent):.0f} % lie outside the sentence\n")
    print("| | STOI | ESTOI |\n|---|---|---|")
    for name, values in scores.items():
        print(f"| {name} | {np.mean(values, axis=0)[0]:.3f} | {np.mean(values, axis=0)[1]:.3f} |")


def speak(
    model: Lip2SpeechWithVocoder, extractor: Lip2SpeechFeatureExtractor, clip: dict
) -> tuple[np.ndarray, np.ndarray]:
    """The model's waveform (N,) and mel (L, 80) for a prepared clip, in its own speaker's voice."""
    with torch.no_grad():
        speech = model.generate_speech(
            evaluation_transform(clip["frames"], extractor)[None],
            speaker_embeddings=torch.as_tensor(clip["speaker_embedding"])[None],
        )
    return speech.waveform[0].double().numpy(), speech.spectrogram[0].numpy()


def best_lag(predicted: np.ndarray, true: np.ndarray) -> int:
    """By how many samples the true mel comes after the predicted one; parabolic between mel frames."""
    middle = slice(MARGIN, len(predicted) - MARGIN)
    errors = np.array(
        [
            np.abs(predicted[middle] - np.roll(true, -lag, axis=0)[middle]).mean()
            for lag in range(-MARGIN, MARGIN + 1)
        ]
    )
    at = int(errors[1:-1].argmin()) + 1
    left, centre, right = errors[at - 1 : at + 2]
    return round(160 * (at - MARGIN + 0.5 * (left - right) / max(left - 2 * centre + right, 1e-9)))


def move(signal: np.ndarray, samples: int) -> np.ndarray:
    """`signal` later by some samples, its ends repeated."""
    return signal[np.clip(np.arange(len(signal)) - samples, 0, len(signal) - 1)]


def silent_share(true: np.ndarray, inside: np.ndarray) -> float:
    """The part outside the sentence of the frames that STOI keeps: 25.6 ms, within 40 dB of the loudest."""
    sound = soxr.resample(true, SAMPLING_RATE, 10_000)
    frames = np.lib.stride_tricks.sliding_window_view(sound, 256)[::128] * np.hanning(258)[1:-1]
    level = 20 * np.log10(np.linalg.norm(frames, axis=1) + 1e-12)
    kept = level > level.max() - 40
    middle = ((128 * np.arange(len(frames)) + 128) * 1.6).astype(int)
    return float((kept & ~inside[middle]).sum() / kept.sum())


if __name__ == "__main__":
    main()
