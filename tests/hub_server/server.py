"""HTTP: what the server keeps, which function answers which request, and connections that break off."""

import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .processes import TOKEN, USER, ClientProcesses
from .repositories import Commit, File, Repository, git_oid

ROUTES: list[tuple[str, str, Callable]] = []
KIND = "(model|dataset|space)s"
NAME = r"([\w.-]+/[\w.-]+)"


def route(method: str, pattern: str) -> Callable[[Callable], Callable]:
    """Let a function answer requests; the groups of `pattern` are its arguments, unquoted.

    It returns what is sent as JSON, or a function that sends the answer itself.
    """

    def add(answer: Callable) -> Callable:
        ROUTES.append((method, pattern, answer))
        return answer

    return add


class Refusal(Exception):
    """An answer that is an error; the client knows it by `name`."""

    def __init__(self, status: int, name: str, message: str):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Code": name, "X-Error-Message": message}


class HubServer(ClientProcesses, ThreadingHTTPServer):
    """The server; `with` starts and stops it.

    Attributes:
        repositories: by kind and ID.
        requests: (method, path) of all requests so far.
        ranges: What part of a file each download so far asked for, "" for all of it.
        cuts: So many of the next downloads break off in the middle.
        upload_cuts: So many of the next uploads of a large file break off in the middle.
        down: So many of the next requests are answered "503 Service Unavailable".
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.cuts = self.upload_cuts = self.down = 0
        self.lock = threading.RLock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is no error of the server's.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def put(self, name: str, files: Mapping[str, bytes], **about: bool) -> Repository:
        """A model's repository with these files, as if they were uploaded; `about`: private, gated."""
        repository = Repository("model", name, **{"private": False} | about)
        stored = {path: self.add_file(content) for path, content in files.items()}
        large = {
            path: self.large_file(stored[path].sha256) for path in files if path.endswith(".safetensors")
        }
        repository.commit("main", "put", stored | large, repository.at("main"))
        self.repositories["model", name] = repository
        return repository

    def store(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.files / sha256).write_bytes(content)
        return sha256

    def add_file(self, content: bytes) -> File:
        return File(self.store(content), len(content), lfs=False, oid=git_oid(content))

    def large_file(self, sha256: str) -> File:
        if not (self.files / sha256).is_file():
            raise Refusal(404, "EntryNotFound", f"{sha256} was not uploaded")
        size = (self.files / sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return File(sha256, size, lfs=True, oid=git_oid(pointer.encode()))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self) -> None:
        url = urlsplit(self.path)
        self.server.requests.append((self.command, url.path))
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if self.server.upload_cuts and self.command == "PUT" and url.path.startswith("/files/"):
            return self.break_off()
        self.body = self.read_body()
        self.user = USER if self.headers.get("Authorization") == f"Bearer {TOKEN}" else None
        method = "GET" if self.command == "HEAD" else self.command
        try:
            if self.server.down:
                self.server.down -= 1
                raise Refusal(503, "", "The Hub is resting.")
            for known, pattern, function in ROUTES:
                if known == method and (match := re.fullmatch(pattern, url.path)):
                    with self.server.lock:
                        reply = function(self, *(unquote(group or "") for group in match.groups()))
                    return reply() if callable(reply) else self.send(200, json.dumps(reply).encode())
            raise Refusal(404, "NotThere", f"this Hub does not know {self.command} {url.path}")
        except Refusal as refusal:
            self.send(refusal.status, json.dumps({"error": str(refusal)}).encode(), **refusal.headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def break_off(self) -> None:
        """Read half of what is sent, then hang up."""
        self.server.upload_cuts -= 1
        self.rfile.read(int(self.headers["Content-Length"]) // 2)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(content))} | headers
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_file(self, file: File, **headers: str) -> None:
        """The content, or the part of it that the request's Range asks for."""
        content = (self.server.files / file.sha256).read_bytes()
        start, end, status = 0, len(content), 200
        if match := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            first, last = match.groups()
            start = int(first) if first else max(0, len(content) - int(last))
            end = min(int(last) + 1, len(content)) if first and last else len(content)
            if start >= len(content):
                return self.send(416, b"", **{"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            status = 206
        headers |= {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        content = content[start:end]
        if self.command == "GET":
            self.server.ranges.append(self.headers.get("Range", ""))
            if self.server.cuts:
                self.server.cuts -= 1
                headers["Content-Length"] = str(len(content))
                content, self.close_connection = content[: len(content) // 2], True
        self.send(status, content, **headers)

    def repository(self, kind: str, name: str, *, write: bool = False) -> Repository:
        repository = self.server.repositories.get((kind, name))
        if self.user is None and (write or repository is None or repository.private):
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        if repository is None:
            raise Refusal(404, "RepoNotFound", "Repository not found")
        return repository

    def commit(self, kind: str, name: str, revision: str) -> Commit:
        commit = self.repository(kind, name).at(revision)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit
