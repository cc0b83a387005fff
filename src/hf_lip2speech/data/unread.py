"""Clips that a training cannot read: they are left out, counted and named, and the run continues."""

import json
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import ConcatDataset, Dataset, Subset

from ..errors import DamagedClipError, DatasetError, Lip2SpeechError, UnexpectedError
from ..files import named_output

TOLERATED = 0.05  # of a split's clips
SAME_BUG = 3  # clips over which one bug stops a run
NEIGHBOURS = 100  # that are tried in place of clips that cannot be read
UNREAD = "unread"  # in a batch: the list of its `UnreadClip`s


@dataclass(frozen=True)
class UnreadClip:
    """The place of a clip that could not be read, in a list of items.

    `bug` is where a bug of this package was met, "" where the clip is damaged. If `fatal`, the trouble is not
    this clip's (no permission, a lost network, a setting): the run must stop.
    """

    clip: str
    reason: str
    bug: str = ""
    traceback: str = ""
    fatal: bool = False


def place_of_bug(error: Exception) -> str:
    """By which equal bugs are known: the kind of error, file and line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


class ReadableClips(Dataset):
    """A view of `dataset` for a DataLoader: in a batch, an `UnreadClip` stands for each that cannot be read.

    Args:
        dataset: A `PreparedDataset` or a view of one.
        at_least: As many items of a batch are readable, if need be by the readable clips that follow in the
            data set: 1 for training, None (all, so that processes gather batches of one size) for validation,
            0 where a batch may be empty.
    """

    def __init__(self, dataset: Dataset, at_least: int | None = 1):
        self.dataset = dataset
        self.at_least = at_least

    def __len__(self) -> int:
        return len(self.dataset)  # ty: ignore[invalid-argument-type]

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)  # ty: ignore[not-callable]

    def __getitem__(self, index: int) -> Any:
        """The item, or an `UnreadClip`."""
        try:
            return self.dataset[index]
        except DamagedClipError as error:
            return UnreadClip(error.clip, str(error))
        except (Lip2SpeechError, OSError, MemoryError, ImportError) as error:
            return UnreadClip(_clip_id(self.dataset, index), str(error), fatal=True)
        except Exception as error:
            where, trace = place_of_bug(error), traceback.format_exc()
            return UnreadClip(_clip_id(self.dataset, index), str(error), bug=where, traceback=trace)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        items = [self[index] for index in indices]
        wanted = len(indices) if self.at_least is None else self.at_least
        missing = wanted - sum(not isinstance(item, UnreadClip) for item in items)
        following = indices[-1] + 1
        for index in range(following, following + min(len(self), NEIGHBOURS)):
            if missing <= 0:
                break
            items.append(self[index % len(self)])
            missing -= not isinstance(items[-1], UnreadClip)
        return items


def _clip_id(dataset: Any, index: int) -> str:
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            if index < len(part):
                return _clip_id(part, index)
            index -= len(part)
    if isinstance(dataset, Subset):
        return _clip_id(dataset.dataset, dataset.indices[index])
    if hasattr(dataset, "dataset"):
        return _clip_id(dataset.dataset, index)
    return dataset.rows[index]["id"] if hasattr(dataset, "rows") else f"clip {index}"


class ReadableCollator:
    """`collate` for the items of `ReadableClips`: the batch of those that are readable, and under UNREAD the
    others. A batch without a readable item has UNREAD alone."""

    def __init__(self, collate: Callable[[list], Mapping[str, Any]]):
        self.collate = collate

    def __call__(self, items: Sequence[Any]) -> dict[str, Any]:
        unread = [item for item in items if isinstance(item, UnreadClip)]
        readable = [item for item in items if not isinstance(item, UnreadClip)]
        try:
            batch = dict(self.collate(readable)) if readable else {}
        except Lip2SpeechError as error:
            return {UNREAD: [UnreadClip("a batch", str(error), fatal=True)]}
        return batch | ({UNREAD: unread} if unread else {})


class SkippedClips:
    """Counts and names the clips of one split that are not read, and stops the run where they are too many.

    `clips` is the number of its clips that this process reads in an epoch; to the file `path` (JSON lines)
    each is written, with the traceback where a bug was met.
    """

    def __init__(self, split: str, clips: int, path: Path):
        self.split, self.clips, self.path = split, clips, path
        self.found: dict[str, UnreadClip] = {}
        self._bugs: Counter[str] = Counter()

    def take(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch without UNREAD, whose clips are counted.

        A DatasetError where more than 5 % of the clips are damaged, or one cannot be read for a reason that
        holds for others too; an UnexpectedError, with the traceback, where several clips met the same bug.
        """
        for clip in batch.pop(UNREAD, ()):
            self.note(clip)
        if not batch:
            raise DatasetError(f"No clip of a batch of the split {self.split} can be read: see {self.path}.")
        return batch

    def note(self, unread: UnreadClip) -> None:
        """Count one clip; raises as `take` does."""
        if unread.fatal:
            raise DatasetError(f"{unread.clip} of the split {self.split}: {unread.reason}")
        if unread.clip in self.found:
            return
        self.found[unread.clip] = unread
        number, share = len(self.found), len(self.found) / self.clips
        why = f"a bug of this package ({unread.bug}: {unread.reason})" if unread.bug else unread.reason
        line = f"skipped {unread.clip}, clip {number} of {self.clips:,} of {self.split} ({share:.1%}): {why}"
        print(line, flush=True)
        entry = {"split": self.split} | {name: value for name, value in asdict(unread).items() if value}
        with named_output(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        if unread.bug:
            self._bugs[unread.bug] += 1
            if (count := self._bugs[unread.bug]) == SAME_BUG or share > TOLERATED:
                raise UnexpectedError(
                    f"{count} clip(s), {unread.clip} the last of them, met the same bug of this package. "
                    f"Please report it with this traceback:\n{unread.traceback}"
                )
        if share > TOLERATED:
            raise DatasetError(
                f"{number} of {self.clips:,} clips of the split {self.split} ({share:.1%}) cannot be read; a "
                f"training leaves out {TOLERATED:.0%} at most. The last is {unread.clip}: {unread.reason} "
                f"{self.path} names each. Mend the prepared folder, then resume."
            )

    def summary(self) -> str:
        """A line for the end of a run; "" where all clips were read."""
        if not self.found:
            return ""
        ids = list(self.found)
        named = ", ".join(ids[:10]) + (", ..." if len(ids) > 10 else "")
        return f"{len(ids)} of {self.clips:,} clips of {self.split} were skipped ({named}): see {self.path}."
