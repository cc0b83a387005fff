"""A Hugging Face Hub on this machine, for the real client to talk to over HTTP.

Models, datasets and spaces with private repositories, uploads (preupload, LFS, commits), downloads (redirects
to the large files, ranges), branches, tags and commits as revisions, listings and the errors that the client
knows by name. Not there: xet storage (the environment below switches it off), pull requests, gates.

The client reads its variables when it is imported, so that it runs in processes of its own:

    def test_something(hub):
        hub.hf("upload", "anna/model", folder)
        hub.python("from huggingface_hub import snapshot_download; snapshot_download('anna/model')")
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN, USER = "hf_anna", "anna"
LFS_SIZE = 1 << 20  # files of that size are large ones, and those that git would call binary
DATE = "2026-01-01T00:00:00.000Z"


def git_oid(content: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class File:
    """A committed file: its content lies in the server's folder under its SHA-256."""

    sha256: str
    size: int
    lfs: bool
    oid: str  # what git would call it

    def described(self, path: str) -> dict[str, Any]:
        about = {"type": "file", "path": path, "size": self.size, "oid": self.oid}
        lfs = {"oid": self.sha256, "sha256": self.sha256, "size": self.size, "pointerSize": 130}
        return about | ({"lfs": lfs} if self.lfs else {})


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, File]
    parent: "Commit | None" = None

    def lineage(self) -> Iterator["Commit"]:
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent


@dataclass
class Repository:
    """One repository; `commits` by ID, `branches` and `tags` name some of them."""

    kind: str
    id: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit("main", "initial commit", {}, None)

    def commit(self, branch: str, title: str, files: dict[str, File], parent: Commit | None) -> Commit:
        names = json.dumps([(path, file.sha256) for path, file in sorted(files.items())])
        oid = hashlib.sha1(f"{self.id} {len(self.commits)} {title} {names}".encode()).hexdigest()
        self.commits[oid] = Commit(oid, title, files, parent)
        self.branches[branch] = oid
        return self.commits[oid]

    def at(self, revision: str) -> Commit | None:
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.commits.get(self.branches.get(revision, self.tags.get(revision, revision)))

    def info(self, commit: Commit) -> dict[str, Any]:
        files = [
            {"rfilename": path, "size": file.size, "blobId": file.oid, "lfs": file.described(path).get("lfs")}
            for path, file in sorted(commit.files.items())
        ]
        about = {"_id": commit.oid[:24], "id": self.id, "author": self.id.split("/")[0], "sha": commit.oid}
        about |= {"private": self.private, "gated": False, "disabled": False, "downloads": 0, "likes": 0}
        return about | {"tags": [], "createdAt": DATE, "lastModified": DATE, "siblings": files}


class HubServer(ThreadingHTTPServer):
    """The server; `with` starts and stops it.

    Attributes:
        repositories: by kind and ID.
        requests: (method, path) of all requests so far.
        cuts: So many of the next downloads break off in the middle.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.cuts = 0
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

    def environment(self, token: str | None = TOKEN) -> dict[str, str]:
        """The variables with which a process of its own finds this Hub, and nothing of the user's."""
        cleaned = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(self.folder / "home"), "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        own |= {"NO_PROXY": "127.0.0.1,localhost"}
        return cleaned | own | ({} if token is None else {"HF_TOKEN": token})

    def run(
        self, *command: object, token: str | None = TOKEN, check: bool = True
    ) -> subprocess.CompletedProcess:
        """Run a command that talks to this Hub; its output is text."""
        environment = self.environment(token)
        done = subprocess.run(
            [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def python(self, code: str, **options: Any) -> str:
        """What a fresh interpreter prints."""
        return self.run(sys.executable, "-c", code, **options).stdout

    def script(self, path: Path, *arguments: object, **options: Any) -> str:
        """What a script prints."""
        return self.run(sys.executable, path, *arguments, **options).stdout

    def hf(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess:
        """The command `hf`."""
        return self.run(sys.executable, "-m", "huggingface_hub.cli.hf", *arguments, **options)


class Refusal(Exception):
    """An answer that is an error; the client knows it by `name`."""

    def __init__(self, status: int, name: str, message: str):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Code": name, "X-Error-Message": message}


ROUTES: list[tuple[str, str, Callable]] = []
KIND = "(model|dataset|space)s"
NAME = r"([\w.-]+/[\w.-]+)"


def route(method: str, pattern: str) -> Callable[[Callable], Callable]:
    """Let a function answer requests; the groups of `pattern` are its arguments, unquoted."""

    def add(answer: Callable) -> Callable:
        ROUTES.append((method, pattern, answer))
        return answer

    return add


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self) -> None:
        url = urlsplit(self.path)
        self.server.requests.append((self.command, url.path))
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.body = self.read_body()
        self.user = USER if self.headers.get("Authorization") == f"Bearer {TOKEN}" else None
        method = "GET" if self.command == "HEAD" else self.command
        try:
            for known, pattern, function in ROUTES:
                if known == method and (match := re.fullmatch(pattern, url.path)):
                    with self.server.lock:
                        reply = function(self, *(unquote(group or "") for group in match.groups()))
                    return reply() if callable(reply) else self.send(200, json.dumps(reply).encode())
            raise Refusal(404, "NotThere", f"this Hub does not know {self.command} {url.path}")
        except Refusal as refusal:
            self.send(refusal.status, json.dumps({"error": str(refusal)}).encode(), **refusal.headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

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
        if self.command == "GET" and self.server.cuts:
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


# Who asks, and which repositories there are.


@route("GET", "/api/whoami-v2")
def whoami(request: Handler) -> Any:
    if request.user is None:
        raise Refusal(401, "", "Invalid username or password.")
    token = {"displayName": "test", "role": "write"}
    return {"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": {"accessToken": token}}


@route("POST", "/api/repos/create")
def create(request: Handler) -> Any:
    asked = json.loads(request.body)
    kind, name = asked.get("type") or "model", f"{asked.get('organization') or USER}/{asked['name']}"
    if request.user is None:
        raise Refusal(401, "", "Invalid username or password.")
    if not name.startswith(f"{USER}/"):
        raise Refusal(403, "", f"You don't have the rights to create a {kind} under this namespace")
    prefix = "" if kind == "model" else f"{kind}s/"
    reply = {"name": name, "id": name, "url": f"{request.server.url}/{prefix}{name}"}
    if (kind, name) in request.server.repositories:
        error = {"error": f"You already created this {kind} repo"} | reply
        return lambda: request.send(409, json.dumps(error).encode())
    request.server.repositories[kind, name] = Repository(kind, name, asked.get("visibility") == "private")
    return reply


@route("DELETE", "/api/repos/delete")
def delete(request: Handler) -> Any:
    asked = json.loads(request.body)
    kind, name = asked.get("type") or "model", f"{asked.get('organization') or USER}/{asked['name']}"
    request.repository(kind, name, write=True)
    return {"deleted": request.server.repositories.pop((kind, name)).id}


@route("PUT", f"/api/{KIND}/{NAME}/settings")
def settings(request: Handler, kind: str, name: str) -> Any:
    repository = request.repository(kind, name, write=True)
    asked = json.loads(request.body)
    repository.private = asked.get("visibility", "private" if repository.private else "public") == "private"
    return {"private": repository.private}


@route("GET", f"/api/{KIND}/{NAME}/auth-check")
def check(request: Handler, kind: str, name: str) -> Any:
    return {"id": request.repository(kind, name).id}


@route("GET", f"/api/{KIND}")
def listing(request: Handler, kind: str) -> Any:
    hub = request.server
    of_kind = [repository for (other, _), repository in sorted(hub.repositories.items()) if other == kind]
    seen = [repository for repository in of_kind if request.user or not repository.private]
    author, part = request.query.get("author"), request.query.get("search", "")
    chosen = [one for one in seen if part in one.id and author in (None, one.id.split("/")[0])]
    return [one.info(one.commits[one.branches["main"]]) for one in chosen]


# What is in them.


@route("GET", f"/api/{KIND}/{NAME}(?:/revision/([^/]+))?")
def info(request: Handler, kind: str, name: str, revision: str) -> Any:
    return request.repository(kind, name).info(request.commit(kind, name, revision or "main"))


@route("GET", f"/api/{KIND}/{NAME}/refs")
def refs(request: Handler, kind: str, name: str) -> Any:
    repository = request.repository(kind, name)

    def described(where: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": one, "ref": f"refs/{where}/{one}", "targetCommit": oid} for one, oid in names.items()
        ]

    return {
        "branches": described("heads", repository.branches),
        "tags": described("tags", repository.tags),
        "converts": [],
        "pullRequests": [],
    }


@route("GET", f"/api/{KIND}/{NAME}/commits/([^/]+)")
def commits(request: Handler, kind: str, name: str, revision: str) -> Any:
    lineage = request.commit(kind, name, revision).lineage()
    about = {"message": "", "authors": [{"user": USER}], "date": DATE}
    return [{"id": commit.oid, "title": commit.title} | about for commit in lineage]


def entries(commit: Commit) -> dict[str, dict[str, Any]]:
    """Files and folders by path, as listings describe them."""
    described = {path: file.described(path) for path, file in commit.files.items()}
    for path in commit.files:
        for parent in list(Path(path).parents)[:-1]:
            name = parent.as_posix()
            described[name] = {"type": "directory", "path": name, "size": 0, "oid": git_oid(name.encode())}
    last = {"lastCommit": {"id": commit.oid, "title": commit.title, "date": DATE}}
    return {path: entry | last for path, entry in sorted(described.items())}


@route("GET", f"/api/{KIND}/{NAME}/tree/([^/]+)(?:/(.*))?")
def tree(request: Handler, kind: str, name: str, revision: str, folder: str) -> Any:
    prefix = f"{folder.strip('/')}/" if folder else ""
    below = {
        path: one
        for path, one in entries(request.commit(kind, name, revision)).items()
        if path.startswith(prefix)
    }
    if prefix and not below:
        raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {revision}")
    deep = request.query.get("recursive", "").lower() == "true"
    return [one for path, one in below.items() if deep or "/" not in path.removeprefix(prefix)]


@route("POST", f"/api/{KIND}/{NAME}/paths-info/([^/]+)")
def paths_info(request: Handler, kind: str, name: str, revision: str) -> Any:
    known = entries(request.commit(kind, name, revision))
    if request.headers.get("Content-Type", "").startswith("application/json"):
        paths = json.loads(request.body)["paths"]
    else:
        paths = parse_qs(request.body.decode()).get("paths", [])
    return [known[path.strip("/")] for path in paths if path.strip("/") in known]


@route("GET", f"/(?:(dataset|space)s/)?{NAME}/(?:resolve|raw)/([^/]+)/(.*)")
def resolve(request: Handler, kind: str, name: str, revision: str, path: str) -> Any:
    commit = request.commit(kind or "model", name, revision)
    headers = {"X-Repo-Commit": commit.oid}
    file = commit.files.get(path)
    if file is None:
        message = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return lambda: request.send(404, b"Entry not found", **headers, **message)
    if not file.lfs:
        return lambda: request.send_file(file, ETag=f'"{file.oid}"', **headers)
    # Large files lie on another host, for the client, and whoever has the address may read them.
    headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    headers["Location"] = f"http://localhost:{request.server.server_port}/files/{file.sha256}"
    return lambda: request.send(302, b"", **headers)


@route("GET", "/files/([0-9a-f]{64})")
def large_file(request: Handler, sha256: str) -> Any:
    return lambda: request.send_file(request.server.large_file(sha256), ETag=f'"{sha256}"')


# Writing.


@route("POST", "/api/validate-yaml")
def validate_yaml(request: Handler) -> Any:
    return {"errors": [], "warnings": []}


@route("POST", f"/api/{KIND}/{NAME}/preupload/([^/]+)")
def preupload(request: Handler, kind: str, name: str, revision: str) -> Any:
    request.repository(kind, name, write=True)
    known = request.commit(kind, name, revision).files
    modes = []
    for file in json.loads(request.body)["files"]:
        path, binary = file["path"], b"\0" in base64.b64decode(file["sample"])
        mode = "lfs" if binary or file["size"] >= LFS_SIZE else "regular"
        oid = known[path].oid if path in known else None
        modes.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return {"files": modes}


@route("POST", f"/(?:(dataset|space)s/)?{NAME}[.]git/info/lfs/objects/batch")
def lfs_batch(request: Handler, kind: str, name: str) -> Any:
    request.repository(kind or "model", name, write=True)
    objects = []
    for one in json.loads(request.body)["objects"]:
        upload = {"upload": {"href": f"{request.server.url}/files/{one['oid']}"}}
        present = (request.server.files / one["oid"]).is_file()
        objects.append({"oid": one["oid"], "size": one["size"]} | ({} if present else {"actions": upload}))
    return {"transfer": "basic", "objects": objects}


@route("PUT", "/files/([0-9a-f]{64})")
def upload(request: Handler, sha256: str) -> Any:
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise Refusal(400, "", "the content is not that of this hash")
    request.server.store(request.body)
    return {}


@route("POST", f"/api/{KIND}/{NAME}/commit/([^/]+)")
def add_commit(request: Handler, kind: str, name: str, revision: str) -> Any:
    repository = request.repository(kind, name, write=True)
    if revision not in repository.branches or request.query.get("create_pr"):
        raise Refusal(
            404, "RevisionNotFound", f"{revision} is no branch of {name}; pull requests are not known"
        )
    parent = repository.commits[repository.branches[revision]]
    files, title = dict(parent.files), ""
    for line in filter(None, request.body.splitlines()):
        operation = json.loads(line)
        value, key = operation["value"], operation["key"]
        path = value.get("path", "")
        if key == "header":
            title = value["summary"]
            if value.get("parentCommit", parent.oid) != parent.oid:
                raise Refusal(412, "", "A commit has happened since. Please refresh and try again.")
        elif key == "file":
            files[path] = request.server.add_file(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            files[path] = request.server.large_file(value["oid"])
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                raise Refusal(404, "EntryNotFound", f"{path} does not exist")
        elif key == "deletedFolder":
            files = {
                other: file for other, file in files.items() if not other.startswith(path.rstrip("/") + "/")
            }
        else:
            raise Refusal(400, "", f"unknown operation {key}")
    commit = repository.commit(revision, title, files, parent)
    prefix = "" if kind == "model" else f"{kind}s/"
    url = f"{request.server.url}/{prefix}{name}/commit/{commit.oid}"
    return {"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": ""}


@route("POST", f"/api/{KIND}/{NAME}/(branch|tag)/([^/]+)")
def add_name(request: Handler, kind: str, name: str, sort: str, revision: str) -> Any:
    repository = request.repository(kind, name, write=True)
    asked = json.loads(request.body or b"{}")
    new, start = (revision, asked.get("startingPoint")) if sort == "branch" else (asked["tag"], revision)
    names = repository.branches if sort == "branch" else repository.tags
    if new in names:
        return lambda: request.send(409, json.dumps({"error": f"{new} is there already"}).encode())
    names[new] = request.commit(kind, name, start or "main").oid
    return {}


@route("DELETE", f"/api/{KIND}/{NAME}/(branch|tag)/([^/]+)")
def remove_name(request: Handler, kind: str, name: str, sort: str, revision: str) -> Any:
    repository = request.repository(kind, name, write=True)
    names = repository.branches if sort == "branch" else repository.tags
    if names.pop(revision, None) is None:
        raise Refusal(404, "RevisionNotFound", f"{revision} is no {sort}")
    return {}


@pytest.fixture
def hub(tmp_path: Path) -> Generator[HubServer]:
    """A Hub of its own for each test, without repositories."""
    with HubServer(tmp_path / "hub") as server:
        yield server
