"""A small prepared folder of random content, written without the preparation, for the tests of the
trainings."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

from hf_lip2speech.media.video import write_video
from hf_lip2speech.models.configuration_speech_units import SpeechUnitExtractorConfig
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor

NUM_UNITS = 12


def write_prepared_folder(
    root: Path, *, train: int = 6, val: int = 2, frames: tuple[int, ...] = (10, 8), speaker: str = "s1"
) -> Path:
    """`train` + `val` clips whose lengths cycle through `frames`; gray levels, mel, units and sound are
    random."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(train + val):
        name, length = f"{speaker}/clip{index}", frames[index % len(frames)]
        mouth = np.repeat(
            np.repeat(rng.integers(0, 256, (length, 12, 12), dtype=np.uint8), 8, axis=1), 8, axis=2
        )
        paths = {
            "video": f"video/{name}.mp4",
            "audio": f"audio/{name}.flac",
            "mel": f"mel/{name}.npy",
            "units": f"units/{name}.npy",
            "speaker_embedding": f"speaker/{name}.npy",
        }
        visual_units = f"visual_units/{name}.npy"
        for path in (*paths.values(), visual_units):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / paths["video"], mouth, fps=25)
        soundfile.write(root / paths["audio"], rng.normal(0, 0.1, 640 * length).clip(-1, 1), 16_000)
        np.save(root / paths["mel"], rng.normal(-5, 2, (4 * length, 80)).astype(np.float32))
        np.save(root / paths["units"], rng.integers(0, NUM_UNITS, 2 * length).astype(np.int16))
        np.save(root / visual_units, rng.integers(0, NUM_UNITS, length).astype(np.uint16))
        np.save(root / paths["speaker_embedding"], np.full(256, 1 / 16, dtype=np.float32))
        rows.append(
            {
                "id": name,
                "speaker": speaker,
                "split": "train" if index < train else "val",
                "text": "bin blue",
                "words": json.dumps([]),
                "frames": length,
                **paths,
            }
        )
    extractor = SpeechUnitExtractor(SpeechUnitExtractorConfig(features="mfcc", num_units=NUM_UNITS))
    extractor.save_pretrained(root / "unit_extractor")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "manifest.parquet")
    return root
