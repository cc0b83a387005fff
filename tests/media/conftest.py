"""A web server that serves bytes, or misbehaves as it is told."""

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

Answer = bytes | Callable[[http.server.BaseHTTPRequestHandler], None]


class Web:
    """Answers by path, and the paths that were asked for."""

    def __init__(self, address: str):
        self.address = address
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def serve(self, path: str, answer: Answer) -> str:
        """The URL at which there is now an answer."""
        self.answers[path] = answer
        return self.address + path


@pytest.fixture
def web() -> Iterator[Web]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            web.asked.append(self.path)
            answer = web.answers.get(self.path)
            if callable(answer):
                try:
                    answer(self)
                except OSError:
                    pass  # the client has hung up
                return
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(answer or b"")))
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        web = Web(f"http://127.0.0.1:{server.server_port}")
        yield web
        server.shutdown()
