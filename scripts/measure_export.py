"""What an export costs and keeps: word error rate, speed and size, beside the model in torch.

    hf-lip2speech export MODEL ONNX --int8
    python scripts/measure_export.py MODEL ONNX PREPARED [--split val] [--limit N]

PREPARED is a folder that `hf-lip2speech prepare` wrote from GRID. Every clip is spoken in the default voice
by the model in torch, the float32 files and the int8 lip reader, in turn and in one process with one thread
each; pocketsphinx hears GRID sentences. The pace is that of elapsed time; loading is not timed.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from hf_lip2speech_extras import needs_extra

with needs_extra("eval"):
    import pocketsphinx  # noqa: F401

    from hf_lip2speech import Lip2SpeechFeatureExtractor, Lip2SpeechWithVocoder
    from hf_lip2speech.constants import FRAME_RATE
    from hf_lip2speech.data.layout import read_crops
    from hf_lip2speech.data.prepared import PreparedDataset
    from hf_lip2speech.evaluation.metrics import wer
    from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid
with needs_extra("onnx"):
    import onnxruntime

READERS = {"float32 ONNX": "lip_reader.onnx", "int8 ONNX": "lip_reader.int8.onnx"}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("exported", type=Path)
    parser.add_argument("prepared")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = Lip2SpeechWithVocoder.from_pretrained(arguments.model, dtype=torch.float32).eval()
    extractor = Lip2SpeechFeatureExtractor.from_pretrained(arguments.model)
    speaks = {"torch": model.generate_speech}
    speaks |= {name: Exported(arguments.exported, reader) for name, reader in READERS.items()}
    hear, voice = PocketsphinxGrid(), model.voice()[None]
    rows = PreparedDataset(arguments.prepared, arguments.split).rows[: arguments.limit]
    heard, times, error = {name: [] for name in speaks}, {name: [] for name in speaks}, 0.0
    for number, row in enumerate(rows):
        crops = read_crops(Path(arguments.prepared) / row["video"])
        batch = extractor([crops], return_tensors="pt")
        speech = {}
        for name in np.roll([*speaks], number):  # who comes first changes
            start = time.perf_counter()
            output = speaks[name](batch["pixel_values_videos"], batch["attention_mask"], voice)
            times[name].append((time.perf_counter() - start) / (len(crops) / FRAME_RATE))
            speech[name] = np.asarray(getattr(output, "waveform", output))[0]
            heard[name].append(hear(speech[name]))
        error = max(error, float(np.abs(speech["torch"] - speech["float32 ONNX"]).max()))
    texts = [row["text"] for row in rows]
    print(f"{len(rows)} clips; the float32 files differ from torch by at most {error:.1e} of full scale\n")
    print("| | WER % | times real time, median | lip reader, MB |\n|---|---|---|---|")
    for name in speaks:
        reader = arguments.exported / READERS.get(name, "")
        size = f"{reader.stat().st_size / 1e6:.1f}" if name in READERS else ""
        pace = 1 / np.median(times[name])
        print(f"| {name} | {100 * wer(texts, heard[name]):.1f} | {pace:.1f} | {size} |")


class Exported:
    """`generate_speech` of exported files: pixels, mask and voice to waveforms (B, 640 T)."""

    def __init__(self, folder: Path, reader: str):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.lip_reader, self.vocoder = (
            onnxruntime.InferenceSession(folder / name, options) for name in (reader, "vocoder.onnx")
        )

    def __call__(self, pixels: torch.Tensor, mask: torch.Tensor, voice: torch.Tensor) -> np.ndarray:
        speaker = {"speaker_embeddings": voice.numpy()}
        frames = {"pixel_values_videos": pixels.numpy(), "attention_mask": mask.numpy()}
        names = ["unit_ids", "spectrogram"]
        read = dict(zip(names, self.lip_reader.run(names, frames | speaker), strict=True))
        units = {"unit_attention_mask": mask.numpy().repeat(2, axis=1)}
        return self.vocoder.run(["waveform"], read | units | speaker)[0]


if __name__ == "__main__":
    main()
