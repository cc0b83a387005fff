"""Publish a model on the Hub, with its card.

One commit holds weights, configuration, feature extractor, a sample, results and a card. Log in first:
hf auth login.
"""

import argparse
import os
import sys

from .options import BUNDLED, CommandError, check_folder, check_model, check_new, check_video


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    checkpoint = "folder of a model or of a part, as compose, convert and the trainings write it, or bundled"
    add("checkpoint", metavar="CHECKPOINT", help=checkpoint)
    add("repo_id", metavar="user/name", help="repository; created if it does not exist")
    add("--private", action="store_true", help="make the repository visible to you only")
    facts = "facts for the card: title, license, ... (default: CHECKPOINT/card.yaml, else its README.md)"
    add("--facts", metavar="FILE.yaml", help=facts)
    evaluation = "folder that evaluate wrote (default: CHECKPOINT/results.json, if it exists)"
    add("--evaluation", metavar="DIR", help=evaluation)
    add(
        "--sample",
        metavar="VIDEO",
        help="video of a face for the sample, of which only the speech is published (default: "
        "CHECKPOINT/samples, else a rendered speaker)",
    )
    dry = "write what would be sent to a new folder, and send nothing; no login is needed"
    add("--dry-run", metavar="DIR", help=dry)


def run(args: argparse.Namespace) -> int:
    if args.checkpoint != BUNDLED:
        check_folder(args.checkpoint, "the folder of a model")
        check_model(args.checkpoint)
    if args.facts is not None and not os.path.isfile(args.facts):
        raise CommandError(f"--facts {args.facts}: there is no such file.")
    if args.evaluation is not None:
        check_folder(args.evaluation, "one that `hf-lip2speech evaluate` wrote")
    if args.sample is not None:
        check_video(args.sample)
    if args.dry_run is not None:
        check_new(args.dry_run)

    from pathlib import Path

    from hf_lip2speech.hub.publish import preview, publish
    from hf_lip2speech.hub.repository import CARD, FACTS
    from hf_lip2speech.loading import model_source

    checkpoint = Path(model_source(args.checkpoint))
    if args.facts is None and not any((checkpoint / name).is_file() for name in (FACTS, CARD)):
        where = f"{checkpoint / FACTS} or to a file for --facts, and publish again"
        print(f"note: the card names no data, training or licence: write them to {where}", file=sys.stderr)
    made = {"facts": args.facts, "evaluation": args.evaluation, "sample": args.sample}
    if args.dry_run is not None:
        for path in preview(checkpoint, args.repo_id, args.dry_run, **made):
            size = os.path.getsize(os.path.join(args.dry_run, path))
            print(f"{size:>12,}  {path}")
        print(f"Nothing was sent. The card: {os.path.join(args.dry_run, CARD)}", file=sys.stderr)
        return 0
    print(publish(checkpoint, args.repo_id, private=args.private, **made))
    return 0
