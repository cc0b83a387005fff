"""hf-lip2speech evaluate: a model and a corpus -> the table, the page and the card's section."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

from ..data.corpora import Clip
from ..evaluation.clips import open_evaluation_set
from ..evaluation.normalisation import normalise_text
from ..evaluation.recognisers import choose_recogniser
from ..evaluation.syncnet import SyncNet
from ..extras import require_extra
from ..loading import BUNDLED, BUNDLED_NAME
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .speak import load_pipeline

NEEDED = ("accelerate", "jinja2", "jiwer", "matplotlib", "pesq", "pyarrow", "pystoi")


def run(args: argparse.Namespace) -> int:
    """Evaluate; under `accelerate launch` with as many processes as there are.

    Raises:
        Lip2SpeechError: a model, corpus or option that cannot be used; see the message.
        ImportError: the extra eval is not installed.
    """
    for module in NEEDED:  # before the long work, not at its end
        require_extra(module, "eval")
    from ..evaluation.card import card_section
    from ..evaluation.run import evaluate, process_state
    from ..evaluation.systems import MEL_ONLY, UNITS_ONLY, Systems, find_unit_extractor

    logging.disable_progress_bar()  # one for every small model that is loaded
    state = process_state()
    device = args.device or str(state.device)
    clips = open_evaluation_set(args.dataset, args.split, limit=args.limit)
    recogniser = choose_recogniser(args.recogniser, args.prompt, (clip.text for clip in clips.clips), device)
    syncnet = None if args.syncnet is None else SyncNet.from_file(args.syncnet)
    speak = load_pipeline(args.model, device, "auto")
    systems = Systems(
        speak,
        clips,
        unit_extractor=find_unit_extractor(args.units, str(speak.model.name_or_path)),
        vocoders={
            row: UnitVocoderModel.from_pretrained(path)
            for row, path in ((UNITS_ONLY, args.vocoder_units_only), (MEL_ONLY, args.vocoder_mel_only))
            if path is not None
        },
        speaker=args.speaker,
        seed=args.seed,
    )
    if state.is_main_process:
        for notice in _notices(clips.clips, systems.unit_extractor is None, recogniser is None):
            print(f"note: {notice}", file=sys.stderr)
    model = BUNDLED.name if args.model == BUNDLED_NAME else args.model
    facts = {"model": model, "hub_dataset": args.hub_dataset, "command": args.command_line}
    results = evaluate(
        systems,
        args.out,
        recogniser=recogniser,
        syncnet=syncnet,
        seed=args.seed,
        facts=facts,
        progress=state.is_main_process,
    )
    if state.is_main_process:
        print(card_section(results))
        for clip in results["skipped"]:
            print(f"left out: {clip['id']}: {clip['message']}", file=sys.stderr)
        print(f"look at {Path(args.out) / 'index.html'}", file=sys.stderr)
    return 0


def _notices(clips: Sequence[Clip], without_units: bool, without_recogniser: bool) -> list[str]:
    found = [clip.problem for clip in clips if clip.problem]
    if without_units:
        found.append(
            "no rows of vocoders and no scores of units: the model comes without its unit extractor (--units)"
        )
    if without_recogniser:
        found.append("no word error rate: name a recogniser (--recogniser)")
    elif without_text := sum(not normalise_text(clip.text) for clip in clips):
        found.append(f"no word error rate of {without_text} of {len(clips)} clips: they have no transcript")
    return found
