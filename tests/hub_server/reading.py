"""Answers that change nothing: who asks, which repositories there are, and what is in them."""

import json
from typing import Any
from urllib.parse import parse_qs

from . import cards
from .processes import USER
from .repositories import DATE
from .server import KIND, NAME, Handler, Refusal, route


@route("GET", "/api/whoami-v2")
def whoami(request: Handler) -> Any:
    if request.user is None:
        raise Refusal(401, "", "Invalid username or password.")
    token = {"displayName": "test", "role": "write"}
    return {"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": {"accessToken": token}}


@route("POST", "/api/validate-yaml")
def validate_yaml(request: Handler) -> Any:
    errors = [{"message": problem} for problem in cards.problems(json.loads(request.body)["content"])]
    answer = {"errors": errors, "warnings": []}
    return (lambda: request.send(400, json.dumps(answer).encode())) if errors else answer


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


@route("GET", f"/api/{KIND}/{NAME}/tree/([^/]+)(?:/(.*))?")
def tree(request: Handler, kind: str, name: str, revision: str, folder: str) -> Any:
    prefix = f"{folder.strip('/')}/" if folder else ""
    below = {
        path: one
        for path, one in request.commit(kind, name, revision).entries().items()
        if path.startswith(prefix)
    }
    if prefix and not below:
        raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {revision}")
    deep = request.query.get("recursive", "").lower() == "true"
    return [one for path, one in below.items() if deep or "/" not in path.removeprefix(prefix)]


@route("POST", f"/api/{KIND}/{NAME}/paths-info/([^/]+)")
def paths_info(request: Handler, kind: str, name: str, revision: str) -> Any:
    known = request.commit(kind, name, revision).entries()
    if request.headers.get("Content-Type", "").startswith("application/json"):
        paths = json.loads(request.body)["paths"]
    else:
        paths = parse_qs(request.body.decode()).get("paths", [])
    return [known[path.strip("/")] for path in paths if path.strip("/") in known]


@route("GET", f"/(?:(dataset|space)s/)?{NAME}/(?:resolve|raw)/([^/]+)/(.*)")
def resolve(request: Handler, kind: str, name: str, revision: str, path: str) -> Any:
    commit = request.commit(kind or "model", name, revision)
    if request.repository(kind or "model", name).gated:
        raise Refusal(403 if request.user else 401, "GatedRepo", f"Access to {name} is restricted.")
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
