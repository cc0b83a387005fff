"""What a Hub holds: repositories with branches and tags, of commits, of files."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    def entries(self) -> dict[str, dict[str, Any]]:
        """Files and folders by path, as listings describe them."""
        described = {path: file.described(path) for path, file in self.files.items()}
        for path in self.files:
            for parent in list(Path(path).parents)[:-1]:
                name = parent.as_posix()
                described[name] = {"type": "directory", "path": name, "size": 0}
                described[name]["oid"] = git_oid(name.encode())
        last = {"lastCommit": {"id": self.oid, "title": self.title, "date": DATE}}
        return {path: entry | last for path, entry in sorted(described.items())}


@dataclass
class Repository:
    """One repository; `commits` by ID, `branches` and `tags` name some of them.

    A gated one is known to everybody, and its files are had by nobody: its owner has granted nobody access.
    """

    kind: str
    id: str
    private: bool
    gated: bool = False
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
        about |= {"private": self.private, "gated": "manual" if self.gated else False, "disabled": False}
        about |= {"downloads": 0, "likes": 0, "tags": [], "createdAt": DATE, "lastModified": DATE}
        return about | {"siblings": files}
