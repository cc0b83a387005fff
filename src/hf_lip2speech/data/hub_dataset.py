"""A prepared folder on the Hub: pushed to a private repository, and streamed from there.

In the repository a clip is a row of Parquet: "id", "speaker", "text", "words" [{"word", "start", "end"}],
"frames" (T), and as bytes the files that layout.py names: "video", "audio", "mel", "units" and
"speaker_embedding". Nothing is encoded again, so a streamed clip is bit for bit the prepared one.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from ..cards import prepared_card
from ..errors import DatasetError
from .builders import FEATURES as CORPUS_FEATURES
from .builders import SPLITS, datasets
from .layout import COLUMNS, FIELDS, READERS, PreparedFolder
from .prepared import PreparedDataset

SHARD_FRAMES = 180_000  # two hours; half a gigabyte, at the 2.7 kB per frame of prepared GRID clips
FEATURES = {name: CORPUS_FEATURES[name] for name in ("id", "speaker", "text", "words")}
FEATURES |= {"frames": datasets.Value("int64")} | {name: datasets.Value("binary") for name in COLUMNS}


def push_prepared(root: str | Path, repo_id: str, *, token: str | None = None) -> str:
    """Push a prepared folder to a private dataset repository, which is created if it does not exist.

    Clips are read and uploaded a shard at a time, so that no second copy of the folder is needed.

    Args:
        root: A finished prepared folder.
        repo_id: "user/name".
        token: Of the Hub; default: that of `hf auth login` or the variable HF_TOKEN.

    Returns:
        The repository's address.

    Raises:
        DatasetError: `root` is not a finished prepared folder, the repository is public, or the Hub refuses.
    """
    folder = PreparedFolder(root)
    if not folder.manifest.is_file():
        raise DatasetError(
            f"{root} has no {folder.manifest.name}; expected a finished output folder of `prepare`."
        )
    rows = PreparedDataset(root).rows
    api = HfApi(token=token)
    try:
        url = api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
    except HfHubHTTPError as error:
        raise DatasetError(
            f"The Hub refuses to create {repo_id!r}: {error}. Log in with `hf auth login` or pass token=, "
            "and give a name that you may write to."
        ) from error
    if not api.dataset_info(url.repo_id).private:
        raise DatasetError(
            f"{url} is public; expected a private repository, since a prepared corpus shows faces. Make it "
            "private, or give another name."
        )
    report = folder.read_report()
    card = prepared_card(report["corpus"], report["clips"], report["hours"], url.repo_id)
    extractor = [path for path in folder.unit_extractor.rglob("*") if path.is_file()]
    files: dict[str, bytes | Path] = {"README.md": card.encode()}
    files |= {path.relative_to(folder.root).as_posix(): path for path in (folder.report, *extractor)}
    # First the card: pushing the clips adds their description to it.
    api.create_commit(
        url.repo_id,
        [CommitOperationAdd(name, content) for name, content in files.items()],
        repo_type="dataset",
        commit_message=f"Describe prepared {report['corpus']}",
    )
    for split, name in SPLITS.items():
        shards = _shards([row for row in rows if row["split"] == split])
        if shards:
            stream = datasets.IterableDataset.from_generator(
                _read_shards,
                gen_kwargs={"root": folder.root, "shards": shards},
                features=datasets.Features(FEATURES),
            )
            stream.push_to_hub(url.repo_id, split=str(name), token=token)
    return str(url)


def stream_prepared(
    repo_id: str,
    split: str,
    *,
    fields: Iterable[str] = FIELDS,
    revision: str | None = None,
    token: str | bool | None = None,
) -> "datasets.IterableDataset":
    """The clips of a pushed folder, streamed from the Hub.

    Args:
        repo_id: "user/name".
        split: "train", "val" or "test".
        fields: Which fields an item has, as for `PreparedDataset`.
        revision: A branch, tag or commit of the repository.
        token: Of the Hub, as for `push_prepared`; False: none.

    Returns:
        Items as those of `PreparedDataset`. `shuffle`, `shard` and loader workers are the library's own.

    Raises:
        DatasetError: No such field; or for this token no such repository, revision or split.
    """
    fields = tuple(fields)
    if split not in SPLITS or not set(fields) <= set(FIELDS):
        given = f"split={split!r}, fields={fields}"
        raise DatasetError(f"{given}; expected one of {tuple(SPLITS)} and some of {FIELDS}.")
    try:
        stream = datasets.load_dataset(
            repo_id, split=str(SPLITS[split]), streaming=True, revision=revision, token=token
        )
    except (HfHubHTTPError, FileNotFoundError, ValueError) as error:
        raise DatasetError(
            f"{repo_id!r} (split {split!r}, revision {revision or 'main'!r}) cannot be streamed: {error}. A "
            "private repository needs a token: `hf auth login`, or token=."
        ) from error
    stream = stream.select_columns(["id", *(READERS[field][0] for field in fields)])
    return stream.map(_decode, fn_kwargs={"fields": fields}, remove_columns=stream.column_names)


def _decode(row: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    item = {"id": row["id"]}
    for field in fields:
        column, decode, _ = READERS[field]
        value = row[column]
        item[field] = decode(io.BytesIO(value) if isinstance(value, bytes) else value)
    return item


def _shards(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows in a row of about SHARD_FRAMES frames."""
    total = 0
    numbered = []
    for row in rows:
        numbered.append((total // SHARD_FRAMES, row))
        total += row["frames"]
    return [[row for _, row in group] for _, group in groupby(numbered, key=lambda pair: pair[0])]


def _read_shards(root: Path, shards: list[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    schema = datasets.Features(FEATURES).arrow_schema
    for rows in shards:
        for row in rows:
            about = {name: row[name] for name in FEATURES if name not in COLUMNS}
            # The library infers types row by row, and a clip without words would have words of another one.
            typed = {name: pyarrow.scalar(value, schema.field(name).type) for name, value in about.items()}
            yield typed | {column: (root / row[column]).read_bytes() for column in COLUMNS}
