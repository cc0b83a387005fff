"""The command `evaluate`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from hf_lip2speech_extras import require_needed

from .options import (
    BUNDLED,
    CommandError,
    add_device,
    add_face,
    check_default_voice,
    check_folder,
    check_model,
    positive,
)
from .terminal import print_results


def evaluate_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder or Hub name of a composed model, or bundled")
    dataset = "GRID, LRS2, LRS3, a folder that prepare wrote, or any folder of talking-face videos with sound"
    add("dataset", metavar="DATASET", help=dataset)
    add("--out", metavar="DIR", default="evaluation", help="folder to write (default: evaluation)")
    add("--split", metavar="SPLIT", help="train, val or test (default: test if there is one, else val)")
    add(
        "--recogniser",
        metavar="NAME",
        help="grid (pocketsphinx with GRID's grammar), whisper:MODEL (faster-whisper), the folder or Hub "
        "name of a transformers model, or none (default: grid if all sentences are GRID's, else none)",
    )
    protocol = (
        "whose table to compare with: grid (this package's), aligndit, or whisper (transformers' Whisper and "
        "WavLM, as recent papers name them); sets recogniser, normaliser and speaker encoder"
    )
    add("--protocol", metavar="NAME", help=protocol)
    normaliser = "what is done to texts before words are compared: own, or whisper (English) (default: own)"
    add("--normaliser", choices=("own", "whisper"), help=normaliser)
    encoder = (
        "compares voices: the folder or Hub name of a transformers x-vector model, such as "
        "microsoft/wavlm-base-plus-sv (default: the bundled GE2E encoder)"
    )
    add("--speaker-encoder", metavar="NAME", help=encoder)
    add("--prompt", metavar="TEXT", help="prompt for Whisper (default: none)")
    add(
        "--speaker",
        metavar="VOICE",
        help="a voice of the model, a recording, own (each clip's own, from its recorded sound) or other "
        "(another speaker's) (default: the model's voice with the speaker's name, else its default voice)",
    )
    add_face(parser)
    units = "the model's unit extractor, or a prepared folder that contains it (default: the model's own)"
    add("--units", metavar="EXTRACTOR", help=units)
    add("--vocoder-units-only", metavar="VOCODER", help="a vocoder trained without mel, as an additional row")
    add("--vocoder-mel-only", metavar="VOCODER", help="a vocoder trained without units, as an additional row")
    add("--syncnet", metavar="FILE", help="SyncNet's weights, syncnet_v2.model: adds lip-sync scores")
    hub_dataset = "name of the data set on the Hub: also writes .eval_results"
    add("--hub-dataset", metavar="OWNER/NAME", help=hub_dataset)
    add("--limit", type=positive, metavar="N", help="only the first N clips")
    add("--seed", type=int, default=0, help="seed of shuffling, noise and intervals (default: 0)")
    add_device(parser)


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate a model on a split of a corpus.

    Writes a table with intervals, the speech, and a report page that needs no network. An interrupted run
    resumes; under `accelerate launch -m hf_lip2speech evaluate ...` the processes share the clips.
    """
    check_folder(args.dataset, "a corpus or a prepared folder")
    check_model(args.model)
    if args.syncnet is not None and not os.path.isfile(args.syncnet):
        raise CommandError(f"--syncnet {args.syncnet}: there is no such file.")

    require_needed("evaluate")

    from transformers.utils import logging

    from hf_lip2speech import loading
    from hf_lip2speech.constants import FRAME_RATE
    from hf_lip2speech.evaluation.clips import find_protocol, open_evaluation_set
    from hf_lip2speech.evaluation.lip_sync import SyncNet
    from hf_lip2speech.evaluation.recognisers import choose_recogniser
    from hf_lip2speech.evaluation.run import evaluate, process_state
    from hf_lip2speech.evaluation.systems import MEL_ONLY, UNITS_ONLY, RowSpeaker, find_unit_extractor
    from hf_lip2speech.evaluation.voice import XVectorEncoder
    from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
    from hf_lip2speech.pipeline import load_pipeline

    logging.disable_progress_bar()  # one for every small model that is loaded
    if args.speaker is None:
        check_default_voice(args.model, "--speaker own, each clip's own voice, ")
    state = process_state()
    device = args.device or str(state.device)
    clips = open_evaluation_set(args.dataset, args.split, limit=args.limit)
    texts = [clip.text for clip in clips.clips]
    protocol = find_protocol(args.protocol)
    recogniser = choose_recogniser(
        args.recogniser or protocol.recogniser,
        texts,
        prompt=args.prompt,
        device=device,
        normaliser=args.normaliser or protocol.normaliser,
        language=protocol.language,
    )
    encoder = args.speaker_encoder or protocol.speaker_encoder
    syncnet = None if args.syncnet is None else SyncNet.from_file(args.syncnet)
    speak = load_pipeline(args.model, device)
    vocoders = {UNITS_ONLY: args.vocoder_units_only, MEL_ONLY: args.vocoder_mel_only}
    systems = RowSpeaker(
        speak,
        clips,
        unit_extractor=find_unit_extractor(args.units, str(speak.model.name_or_path)),
        vocoders={
            row: UnitVocoderModel.from_pretrained(path) for row, path in vocoders.items() if path is not None
        },
        speaker=args.speaker,
        face=args.face,
        seed=args.seed,
    )
    if state.is_main_process:
        for notice in _notices(clips.clips, systems.unit_extractor is None, recogniser is None):
            print(f"note: {notice}", file=sys.stderr)
    facts = {
        "model": loading.BUNDLED.name if args.model == BUNDLED else args.model,
        "hub_dataset": args.hub_dataset,
        "command": args.command_line,
        "protocol": args.protocol and f"{args.protocol}: follows {protocol.follows}; {protocol.differs}",
    }
    results = evaluate(
        systems,
        args.out,
        recogniser=recogniser,
        syncnet=syncnet,
        speaker_encoder=None if encoder is None else XVectorEncoder(encoder, device=device),
        seed=args.seed,
        facts=facts,
        progress=state.is_main_process,
    )
    if state.is_main_process:
        print_results(results)
        if faceless := results["faceless"]:
            seconds = sum(faceless.values()) / FRAME_RATE
            print(f"no face for {seconds:.1f} s in {len(faceless)} clips, see results.json", file=sys.stderr)
        print(f"Report: {os.path.join(args.out, 'index.html')}", file=sys.stderr)
    return 0


def _notices(clips: Sequence[Any], without_units: bool, without_recogniser: bool) -> list[str]:
    from hf_lip2speech.evaluation.error_rates import normalise_text

    found = [clip.problem for clip in clips if clip.problem]
    if without_units:
        found.append("no vocoder rows and no unit scores: the model has no unit extractor (--units)")
    if without_recogniser:
        found.append("no word error rate: name a recogniser (--recogniser)")
    elif without_text := sum(not normalise_text(clip.text) for clip in clips):
        found.append(f"no word error rate for {without_text} of {len(clips)} clips: they have no transcript")
    return found
