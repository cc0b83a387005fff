"""`hf-lip2speech demo`: a page on which a video is uploaded or filmed, and speaks."""

import argparse
import signal

from ..hub.demo.launching import launch, require_libraries
from .speak import load_pipeline


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM, either of which leaves no file behind.

    Raises:
        Lip2SpeechError, OSError, ImportError: see the messages.
    """
    require_libraries()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    launch(load_pipeline(args.model, None, "auto"), host=args.host, port=args.port, share=args.share)
    return 0
