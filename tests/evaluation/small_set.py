"""A small prepared folder of babble, and a recogniser that can be foreseen."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch

from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.evaluation.recognisers import Recogniser
from hf_lip2speech.media.audio import read_audio, write_audio
from hf_lip2speech.media.video import write_video
from hf_lip2speech.models.configuration_speech_units import SpeechUnitExtractorConfig
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor

from ..media.voices import babble

FRAMES = 30  # 1.2 s
TEXTS = (
    "bin blue at f two now",
    "lay red by k nine soon",
    "place green in z four again",
    "set white with p one now",
)
SPEAKERS = ("ann", "carl")  # the tiny model has a voice of the first one's name


class HearsLoudness(Recogniser):
    """Hears the first sentence where the sound is loud, and one word less of it where it is not."""

    def __init__(self) -> None:
        super().__init__("loudness", "1.0", model="threshold", decoding="none")

    def _hear(self, waveform: np.ndarray) -> str:
        return TEXTS[0] if np.abs(waveform).mean() > 0.03 else TEXTS[0].rsplit(" ", 1)[0]


def write_prepared(root: Path, clips: int = 3, num_units: int = 20) -> Path:
    """A prepared folder with `clips` clips in the split val, spoken by two people in turn."""
    rows, sounds = [], {}
    random = np.random.default_rng(0)
    for index in range(clips):
        speaker = SPEAKERS[index % 2]
        name = f"{speaker}/clip {index}"
        paths = {
            "video": f"video/{name}.mp4",
            "audio": f"audio/{name}.flac",
            "mel": f"mel/{name}.npy",
            "units": f"units/{name}.npy",
            "speaker_embedding": f"speaker/{name}.npy",
        }
        for path in paths.values():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        pattern = np.kron(random.integers(0, 256, (12, 12)), np.ones((8, 8))).astype(np.uint8)
        write_video(
            root / paths["video"], np.stack([np.roll(pattern, 2 * step, axis=1) for step in range(FRAMES)])
        )
        sound = babble(FRAMES / 25, pitch=110 + 20 * index, seed=index)
        write_audio(root / paths["audio"], sound)
        sounds[name] = read_audio(root / paths["audio"])
        np.save(
            root / paths["mel"], log_mel_spectrogram(torch.from_numpy(sounds[name])).numpy()[: 4 * FRAMES]
        )
        np.save(root / paths["speaker_embedding"], np.full(256, 1 / 16, dtype=np.float32))
        row = {"id": name, "speaker": speaker, "split": "val", "text": TEXTS[index % len(TEXTS)]}
        rows.append(row | {"words": json.dumps([]), "frames": FRAMES} | paths)
    extractor = SpeechUnitExtractor(SpeechUnitExtractorConfig(features="mfcc", num_units=num_units)).eval()
    extractor.fit(sounds.values(), seed=0)
    extractor.save_pretrained(root / "unit_extractor")
    for name, sound in sounds.items():
        np.save(root / f"units/{name}.npy", extractor.encode(sound).astype(np.int16))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "manifest.parquet")
    return root
