"""Measure whether a model speaks in the requested voice: all its voices on the clips of a prepared folder.

    python scripts/measure_voices.py PREPARED [MODEL] [--split val] [--clips N] [--out DIR]

For each voice: the mean GE2E similarity of the speech to every voice, in how many clips the requested voice
is the nearest, and the word error rate where the sentences are GRID's. --out keeps the speech of the first
clip in all voices.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from hf_lip2speech_extras import needs_extra

with needs_extra("eval"):
    from hf_lip2speech.composite import feature_extractor_for
    from hf_lip2speech.data.augmentation import evaluation_transform
    from hf_lip2speech.data.prepared import PreparedDataset
    from hf_lip2speech.evaluation.metrics import word_errors
    from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid, is_grid_sentence
    from hf_lip2speech.loading import BUNDLED
    from hf_lip2speech.media.audio import write_audio
    from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
    from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared")
    parser.add_argument("model", nargs="?", default=str(BUNDLED))
    parser.add_argument("--split", default="val")
    parser.add_argument("--clips", type=int, help="so many, evenly over the split (default: all)")
    parser.add_argument("--out", type=Path, help="folder for the speech of the first clip")
    arguments = parser.parse_args()
    clips = PreparedDataset(arguments.prepared, arguments.split, fields=("frames",))
    count = min(arguments.clips or len(clips), len(clips))
    chosen = np.linspace(0, len(clips) - 1, count).round().astype(int)
    texts = [clips.rows[int(index)]["text"] for index in chosen]
    recogniser = PocketsphinxGrid() if all(is_grid_sentence(text) for text in texts) else None
    model = Lip2SpeechWithVocoder.from_pretrained(arguments.model, dtype=torch.float32).eval()
    extractor, encoder = feature_extractor_for(arguments.model, model), SpeakerEncoder.bundled()
    names = list(model.voices)
    if not names:
        parser.exit(1, f"{arguments.model} has no voices: compose it with --voices PREPARED.\n")
    voices = np.stack([voice.numpy() for voice in model.voices.values()])
    unit_voices = voices / np.linalg.norm(voices, axis=1, keepdims=True)

    print("| voice asked for | " + " | ".join(f"like {name}" for name in names) + " | nearest | WER % |")
    print("|---" * (len(names) + 3) + "|")
    for place, name in enumerate(names):
        similarities, heard = [], []
        for index in chosen:
            pixels = evaluation_transform(clips[int(index)]["frames"], extractor)[None]
            speech = model.generate_speech(pixels, speaker_embeddings=torch.from_numpy(voices[place])[None])
            waveform = speech.waveform[0].numpy()
            embedding = encoder.embed(waveform)
            similarities.append(unit_voices @ embedding / np.linalg.norm(embedding))
            heard.append("" if recogniser is None else recogniser(waveform))
            if arguments.out is not None and index == chosen[0]:
                arguments.out.mkdir(parents=True, exist_ok=True)
                write_audio(arguments.out / f"{name}.flac", waveform)
        means = " | ".join(f"{value:.2f}" for value in np.mean(similarities, axis=0))
        right = sum(int(values.argmax()) == place for values in similarities)
        words = "-"
        if recogniser is not None:
            found = word_errors(texts, heard)
            words = f"{100 * found.rate:.1f}"
        print(f"| {name} | {means} | {right} of {len(chosen)} | {words} |", flush=True)


if __name__ == "__main__":
    main()
