"""All cases, and the web server that some of them ask."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from . import argument_cases, data_cases, folder_cases, media_cases, model_cases
from .judging import Case


def all_cases(web: str) -> Iterator[Case]:
    """Every case, kind by kind; `web`: the address of `serving`."""
    yield from media_cases.containers()
    yield from media_cases.pictures()
    yield from media_cases.arrays()
    yield from media_cases.names()
    yield from media_cases.speakers()
    yield from media_cases.addresses(web)
    yield from argument_cases.arguments()
    yield from model_cases.configs(step=7)
    yield from model_cases.files()
    yield from model_cases.weights()
    yield from model_cases.pickles()
    yield from model_cases.checkpoints()
    yield from folder_cases.folders()
    yield from folder_cases.common_fields()
    yield from data_cases.settings()
    yield from data_cases.prepared()
    yield from data_cases.journals()
    yield from data_cases.results()
    yield from data_cases.outputs()


@contextmanager
def serving() -> Iterator[str]:
    """A server that gives `media_cases.answers`; its address."""
    answers = media_cases.answers()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(unquote(self.path)[1:])
            try:
                if callable(answer):
                    answer(self)
                    return
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Length", str(len(answer or b"")))
                self.end_headers()
                self.wfile.write(answer or b"")
            except OSError:
                pass  # the client has hung up

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
