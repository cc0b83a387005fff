"""Scores a trained model on GRID: the whole path from raw videos, between what bounds it above and below.

    python examples/evaluate.py MODEL GRID_DIR --split val --prepared PREPARED --out table.md

Rows:
    true speech          the recordings: what the recogniser makes of them is the floor of every other row
    vocoder, true inputs the vocoder from the prepared mel spectrogram and units: what the vocoder alone costs
    ..., mel zeroed      the same with the mel channels of the vocoder's input at 0, and
    ..., units zeroed    with its unit channels at 0; "change" is the mean |difference| to the row without
    whole path           raw video through pipeline("lip-to-speech"), the checkpoint loaded anew
    shuffled             the whole path's speech scored against another clip: what guessing gets
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import pipeline

import hf_lip2speech
from hf_lip2speech.audio.io import read_audio, write_audio
from hf_lip2speech.data.corpora import GRID
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid
from hf_lip2speech.evaluation.report import derangement, score, to_json, to_markdown

TRUE_INPUTS = "vocoder, true inputs"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", help="folder or Hub repository of a lip2speech_with_vocoder model")
    parser.add_argument("grid_dir", type=Path, help="the GRID corpus: sN/ID.mp4 or .mpg, sound, splits/")
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--prepared", type=Path, help="prepared folder of the same clips, for the vocoder's rows"
    )
    parser.add_argument("--device", default="cpu", help='of the model, such as "cuda:0" (default cpu)')
    parser.add_argument("--seed", type=int, default=0, help="of the shuffled row (default 0)")
    parser.add_argument(
        "--out", type=Path, help="write the table here: .md, or .json with all that was heard"
    )
    parser.add_argument("--save-audio", type=Path, help="write every row's speech here, a folder a row")
    arguments = parser.parse_args()
    if arguments.out and arguments.out.suffix not in (".md", ".json"):
        parser.error(f"--out {arguments.out}: a name ending in .md or .json was expected")
    return arguments


@torch.inference_mode()
def vocode(model, items: list[dict], zeroed: str | None = None) -> list[np.ndarray]:
    """Speech (640T,) from the true mel and units in the default voice, "mel" or "units" of them zeroed."""
    vocoder = model.vocoder
    voice = torch.tensor([model.config.voices[model.config.default_voice]], device=model.device)
    silence_units = None
    if (
        zeroed == "units"
    ):  # at the 336 channels of the first convolution: unit 0 would be a unit like any other
        silence_units = vocoder.unit_projection.register_forward_hook(
            lambda _, __, out: torch.zeros_like(out)
        )
    speech = []
    for item in tqdm(items, desc=TRUE_INPUTS + (f", {zeroed} zeroed" if zeroed else "")):
        mel = torch.from_numpy(item["mel"])[None].to(model.device)
        mel = torch.zeros_like(mel) if zeroed == "mel" else mel
        units = torch.from_numpy(item["unit_ids"])[None].to(model.device)
        speech.append(vocoder(units, mel, voice).waveform[0].cpu().numpy())
    if silence_units is not None:
        silence_units.remove()
    return speech


def main() -> None:
    arguments = parse_arguments()
    clips = [clip for clip in GRID(arguments.grid_dir) if clip.split == arguments.split]
    if not clips:
        sys.exit(f"{arguments.grid_dir} holds no clip of the split {arguments.split!r}")
    texts = [clip.text for clip in clips]
    truths = [read_audio(clip.audio or clip.video) for clip in clips]
    listen = PocketsphinxGrid()
    speak = pipeline("lip-to-speech", model=arguments.model, device=arguments.device)  # ty: ignore[no-matching-overload]

    speech = {"true speech": truths}
    if arguments.prepared:
        prepared = PreparedDataset(arguments.prepared, arguments.split, fields=("mel", "unit_ids"))
        items = {item["id"]: item for item in prepared}
        missing = [clip.id for clip in clips if clip.id not in items]
        if missing:
            sys.exit(f"{arguments.prepared} lacks {len(missing)} clips of the split: {', '.join(missing)}")
        inputs = [items[clip.id] for clip in clips]
        speech[TRUE_INPUTS] = vocode(speak.model, inputs)
        for zeroed in ("mel", "units"):
            speech[f"{TRUE_INPUTS}, {zeroed} zeroed"] = vocode(speak.model, inputs, zeroed)
    videos = tqdm([str(clip.video) for clip in clips], desc="whole path")
    speech["whole path"] = [speak(video)["audio"] for video in videos]

    rows = []
    for name, waveforms in speech.items():
        unzeroed = speech[TRUE_INPUTS] if name.endswith("zeroed") else None
        rows.append(score(name, listen, texts, truths, waveforms, change_from=unzeroed))
    partner = derangement(len(clips), arguments.seed)
    others = [texts[place] for place in partner], [truths[place] for place in partner]
    rows.append(score("shuffled", listen, *others, speech["whole path"]))

    facts = {
        "recogniser": listen.name,
        "clips": f"{len(clips)} of the GRID split {arguments.split!r}",
        "voice": f"{speak.model.config.default_voice!r}, the model's default, in every row but true speech",
        "shuffled": f"each clip against another clip's sentence and recording, seed {arguments.seed}",
        "alignment": "none: signals are cut to the common length",
        "version": f"hf-lip2speech {hf_lip2speech.__version__}, torch {torch.__version__}",
        "command": f"`python {shlex.join(sys.argv)}`",
    }
    table = to_markdown(rows, facts)
    print(table)
    if arguments.out:
        is_json = arguments.out.suffix == ".json"
        details = (
            to_json(rows, facts | {"ids": [clip.id for clip in clips], "texts": texts}) if is_json else {}
        )
        partial = arguments.out.with_name(arguments.out.name + ".partial")
        partial.write_text(json.dumps(details, indent=1) + "\n" if is_json else table, encoding="utf-8")
        os.replace(partial, arguments.out)
    if arguments.save_audio:
        for name, waveforms in speech.items():
            for clip, waveform in zip(clips, waveforms, strict=True):
                path = arguments.save_audio / name.replace(", ", "_").replace(" ", "_") / f"{clip.id}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_audio(path, waveform)


if __name__ == "__main__":
    main()
