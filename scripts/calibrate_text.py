"""Fit a text head's confidence and the threshold for unlikely words on validation clips.

Prints `text_calibration` and `unlikely_word_score` and what they do; --write sets them in MODEL/config.json.

    python scripts/calibrate_text.py MODEL PREPARED [PREPARED ...] --write
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from hf_lip2speech.composite import feature_extractor_for
from hf_lip2speech.data.augmentation import evaluation_transform
from hf_lip2speech.data.prepared import prepared_split
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.text.alignment import word_scores
from hf_lip2speech.text.transcripts import SMALLEST, calibrated, transcribe

TRUE_WORDS_BELOW = 0.02  # share of the words that are said and score less than the threshold


@torch.no_grad()
def read(model: Lip2SpeechModel, folder: str, prepared: list[str], split: str) -> list[tuple]:
    """(logits (2T, V + 1), text) of each clip that has a text."""
    extractor = feature_extractor_for(folder, model)
    clips = prepared_split(prepared, split, fields=("frames", "text", "speaker_embeddings"))
    found = []
    for index in range(len(clips)):
        clip = clips[index]
        if clip["text"]:
            pixels = evaluation_transform(clip["frames"], extractor)[None]
            speaker = torch.as_tensor(clip["speaker_embeddings"])[None]
            found.append((model(pixels, speaker_embeddings=speaker).text_logits[0].float(), clip["text"]))
    return found


def fit_calibration(confidences: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """Scale and offset for `calibrated` that make words' confidences most probable, by Newton's method.

    The confidences are uncalibrated, of words of validation clips, with whether each is right. The scale is
    at least 0: a surer word is no worse. As Platt has it, right and wrong count as slightly less than that,
    so that a set without errors has an answer, too.
    """
    bounded = np.clip(np.asarray(confidences, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    inputs = np.stack([np.log(bounded / (1 - bounded)), np.ones_like(bounded)], axis=1)
    good = int(np.sum(right))
    targets = np.where(right, (good + 1) / (good + 2), 1 / (len(bounded) - good + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(100):
        predicted = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (predicted - targets) + 1e-3 * (weights - [1.0, 0.0])
        curvature = (inputs * (predicted * (1 - predicted))[:, None]).T @ inputs + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-6:
            break
    if weights[0] < 0:
        share = float(np.mean(targets))
        return 0.0, math.log(share / (1 - share))
    return float(weights[0]), float(weights[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="folder of a model with a text head")
    parser.add_argument("prepared", nargs="+", help="prepared folders")
    parser.add_argument("--split", default="val")
    parser.add_argument("--write", action="store_true", help="set both in MODEL/config.json")
    args = parser.parse_args()
    model = Lip2SpeechModel.from_pretrained(args.model).eval()
    characters = model.config.text_vocabulary
    if characters is None:
        parser.error(f"{args.model} has no text head.")
    clips = read(model, args.model, args.prepared, args.split)

    confidences, right = [], []
    for logits, text in clips:
        words = transcribe(logits, characters)["words"]
        said = [word["word"] for word in words]
        kept = np.zeros(len(said), dtype=bool)
        for block in Levenshtein.opcodes(text.lower().split(), said):
            kept[block.dest_start : block.dest_end] = block.tag == "equal"
        confidences += [word["confidence"] for word in words]
        right += kept.tolist()
    calibration = fit_calibration(confidences, right)
    print(f"{len(clips)} clips, {len(right)} words read, {np.mean(right):.1%} of them right")
    for name, used in (("as it is", (1.0, 0.0)), ("calibrated", calibration)):
        mean = np.mean([calibrated(value, used) for value in confidences])
        error = np.mean([(calibrated(v, used) - r) ** 2 for v, r in zip(confidences, right, strict=True)])
        print(f"{name}: mean confidence {mean:.3f}, Brier score {error:.4f}")

    def scores(shift: int) -> list[list[float]]:
        """Of the words of each clip's text, or of that of another clip."""
        texts = [text for _, text in clips]
        return [
            [score for _, score in word_scores(logits, texts[(index + shift) % len(texts)], characters)]
            for index, (logits, _) in enumerate(clips)
        ]

    true, others = scores(0), scores(1)
    threshold = float(np.quantile(np.concatenate(true), TRUE_WORDS_BELOW))
    for name, found in (("the true text", true), ("another clip's text", others)):
        warned = np.mean([min(of_clip) < threshold for of_clip in found])
        below = np.mean(np.concatenate(found) < threshold)
        print(f"{name}: {below:.1%} of the words unlikely, a warning in {warned:.1%} of the clips")
    values = {
        "text_calibration": [round(value, 4) for value in calibration],
        "unlikely_word_score": round(threshold, 3),
    }
    print(json.dumps(values))
    if args.write:
        path = Path(args.model, "config.json")
        config = json.loads(path.read_text(encoding="utf-8"))
        (config.get("lip2speech") or config).update(values)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
