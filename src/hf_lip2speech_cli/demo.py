"""Serve a web page on which a video is uploaded or recorded, and speaks.

Stop it with Ctrl-C. Uploads are deleted after about an hour, and all of them when the page stops.
"""

import argparse
import signal

from hf_lip2speech_extras import require_needed

from .options import add_model, check_model, positive


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_model(parser)
    address = "address to listen on; 0.0.0.0: the whole network (default: 127.0.0.1, this machine only)"
    add("--host", metavar="ADDRESS", help=address)
    add("--port", type=positive, help="port to listen on (default: the first free one from 7860)")
    share = "also serve it on a public HTTPS address, through Gradio's relay server"
    add("--share", action="store_true", help=share)


def run(args: argparse.Namespace) -> int:
    check_model(args.model)
    require_needed("demo")

    from hf_lip2speech.hub.demo import launch
    from hf_lip2speech.pipeline import load_pipeline

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which leaves no file behind either
    launch(load_pipeline(args.model), host=args.host, port=args.port, share=args.share)
    return 0
