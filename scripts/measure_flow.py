"""Measure what a mel flow changes: the speech of GRID clips without it, and by its steps and guidance.

    python scripts/measure_flow.py PREPARED MODEL [--split val] [--clips N] [--steps 1 4] [--guidance 1 2]

MODEL is a composite with a mel flow. Sharpness: the mean absolute difference of neighbouring frames and bins
of the log-mel, divided by that of the recordings. Words are those of pocketsphinx with GRID's grammar.
"""

import argparse
from itertools import product

import numpy as np
import torch

from hf_lip2speech_extras import needs_extra

with needs_extra("eval"):
    from hf_lip2speech.composite import feature_extractor_for
    from hf_lip2speech.data.augmentation import evaluation_transform
    from hf_lip2speech.data.prepared import PreparedDataset
    from hf_lip2speech.evaluation.metrics import dnsmos, estoi, pesq_wb, stoi, word_errors
    from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid
    from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder


def roughness(mel: torch.Tensor) -> float:
    return float(mel.diff(dim=0).abs().mean() + mel.diff(dim=1).abs().mean())


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared")
    parser.add_argument("model")
    parser.add_argument("--split", default="val")
    parser.add_argument("--clips", type=int, help="so many, evenly over the split (default: all)")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 10])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    arguments = parser.parse_args()
    fields = ("frames", "mel", "waveform", "speaker_embeddings")
    clips = PreparedDataset(arguments.prepared, arguments.split, fields=fields)
    count = min(arguments.clips or len(clips), len(clips))
    chosen = np.linspace(0, len(clips) - 1, count).round().astype(int)
    model = Lip2SpeechWithVocoder.from_pretrained(arguments.model, dtype=torch.float32).eval()
    if model.mel_flow is None:
        parser.exit(1, f"{arguments.model} has no mel flow: compose it with --mel-flow.\n")
    extractor, recogniser = feature_extractor_for(arguments.model, model), PocketsphinxGrid()
    settings = [None, *product(arguments.guidance, arguments.steps)]
    scores = {setting: [] for setting in settings}
    heard = {setting: [] for setting in settings}
    texts = []
    for index in chosen:
        clip = clips[int(index)]
        texts.append(clips.rows[int(index)]["text"])
        truth = roughness(torch.from_numpy(clip["mel"]))
        speaker = torch.from_numpy(clip["speaker_embeddings"])[None]
        pixels = evaluation_transform(clip["frames"], extractor)[None]
        read = model.lip2speech(pixels, speaker_embeddings=speaker)
        units = model.lip2speech.unit_ids(read.unit_logits)
        for setting in settings:
            mel = read.spectrogram
            if setting is not None:
                options = {"guidance_scale": setting[0], "num_inference_steps": setting[1]}
                noise = torch.Generator().manual_seed(0)
                mel = model.mel_flow(mel, units, speaker, generator=noise, **options).spectrogram
            speech = model.vocode(units, mel, speaker)[0].numpy()
            compared = (clip["waveform"], speech)
            row = [roughness(mel[0]) / truth, dnsmos(speech).overall]
            scores[setting].append([*row, *(metric(*compared) for metric in (stoi, estoi, pesq_wb))])
            heard[setting].append(recogniser(speech))
        print(f"{len(texts)} of {count} clips", end="\r", flush=True)
    print("| guidance, steps | sharpness | DNSMOS | STOI | ESTOI | PESQ-WB | WER % |")
    print("|---|---|---|---|---|---|---|")
    for setting in settings:
        name = "without the flow" if setting is None else f"{setting[0]:g}, {setting[1]}"
        sharp, *rest, pesq = np.mean(scores[setting], axis=0)
        middle = " | ".join(f"{value:.3f}" for value in rest)
        words = 100 * word_errors(texts, heard[setting]).rate
        print(f"| {name} | {sharp:.2f} | {middle} | {pesq:.2f} | {words:.1f} |")


if __name__ == "__main__":
    main()
