"""Speak mouth crops with an exported model: ONNX Runtime and numpy, without torch and without hf_lip2speech.

    hf-lip2speech export bundled onnx
    python examples/onnx/speak.py onnx mouth.npz speech.wav [VOICE]

mouth.npz holds "crops", uint8 (T, 96, 96), gray, at 25 frames per second (docs/export.md: how to cut them).
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime


def pixel_values(crops: np.ndarray, settings: dict) -> np.ndarray:
    """Gray crops uint8 (T, 96, 96) -> the lip reader's input, float32 (1, T, 1, 88, 88)."""
    margin = (settings["mouth_size"] - settings["crop_size"]) // 2
    x = crops[:, margin : crops.shape[1] - margin, margin : crops.shape[2] - margin] / 255
    if settings["clip_mean"] is not None:
        deviation = max(x.std(), settings["smallest_deviation"])
        x = (x - x.mean()) / deviation * settings["clip_std"] + settings["clip_mean"]
    x = (x - settings["pixel_mean"]) / settings["pixel_std"]
    return x[None, :, None].astype(np.float32)


def speak(
    folder: Path, crops: np.ndarray, voice: str | None = None, reader: str = "lip_reader.onnx"
) -> np.ndarray:
    """Speech of one clip, float32 (640 T,), 16 kHz; `reader` may be "lip_reader.int8.onnx"."""
    settings = json.loads((folder / "preprocessing.json").read_text())
    voices = json.loads((folder / "voices.json").read_text())
    speaker = np.array([voices[voice or settings["default_voice"]]], dtype=np.float32)
    lip_reader, vocoder = (onnxruntime.InferenceSession(folder / name) for name in (reader, "vocoder.onnx"))
    pixels = pixel_values(crops, settings)
    window, context = settings["window_frames"], settings["context_frames"]
    units, mel = [], []
    for start in range(0, len(crops), window):  # a clip of up to 20 s is one window
        left = max(start - context, 0)
        seen = pixels[:, left : start + window + context]
        given = {"pixel_values_videos": seen, "attention_mask": np.ones(seen.shape[:2], dtype=np.int64)}
        given |= {"speaker_embeddings": speaker}
        read = [np.asarray(one) for one in lip_reader.run(["unit_ids", "spectrogram"], given)]
        first, last = start - left, start - left + window
        units.append(read[0][:, 2 * first : 2 * last])
        mel.append(read[1][:, 4 * first : 4 * last])
    given = {"unit_ids": np.concatenate(units, axis=1), "spectrogram": np.concatenate(mel, axis=1)}
    given |= {"speaker_embeddings": speaker, "unit_attention_mask": np.ones_like(given["unit_ids"])}
    return np.asarray(vocoder.run(["waveform"], given)[0])[0]


if __name__ == "__main__":
    model, crops, sound, *voice = sys.argv[1:]
    samples = speak(Path(model), np.load(crops)["crops"], *voice)
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
