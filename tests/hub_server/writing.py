"""Answers that change what the Hub holds."""

import base64
import hashlib
import json
from typing import Any

from .processes import USER
from .repositories import Repository
from .server import KIND, NAME, Handler, Refusal, route

LFS_SIZE = 1 << 20  # files of that size are large ones, and those that git would call binary


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
