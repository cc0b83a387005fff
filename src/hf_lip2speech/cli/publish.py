"""hf-lip2speech publish: a checkpoint -> a repository of the Hub, with its card."""

import argparse
import sys
from pathlib import Path

from ..hub.publish import publish
from ..hub.repository import CARD, FACTS
from ..loading import model_source


def run(args: argparse.Namespace) -> int:
    """Publish; prints the commit's address.

    Raises:
        Lip2SpeechError: the checkpoint is not whole, the card is not valid, or the Hub refuses.
    """
    checkpoint = Path(model_source(args.checkpoint))
    if (
        args.facts is None
        and checkpoint.is_dir()
        and not any((checkpoint / n).is_file() for n in (FACTS, CARD))
    ):
        print(
            f"note: the card says neither data, recipe nor licence: state them in {checkpoint / FACTS} or in "
            "the file of --facts, and publish again",
            file=sys.stderr,
        )
    print(
        publish(
            checkpoint,
            args.repo_id,
            private=args.private,
            facts=args.facts,
            evaluation=args.evaluation,
            sample=args.sample,
        )
    )
    return 0
