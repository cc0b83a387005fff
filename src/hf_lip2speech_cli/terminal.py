"""What is shown on the terminal besides results: progress, and no lines of libraries."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

PROGRAM = "hf-lip2speech"
SHOWN = 3  # skipped clips that are printed per reason; the report lists all


class Bars:
    """The progress of a video's stages; of several videos, that of all and, on a terminal, of the stages."""

    def __init__(self, videos: int):
        from hf_lip2speech.progress import Progress

        self._new, self._several = Progress, videos > 1
        self._all = Progress("videos", videos, shown=self._several)
        self._stages: dict[str, Any] = {}

    def stage(self, name: str, done: int, total: int | None) -> None:
        """A pipeline's `progress`."""
        if name not in self._stages or done < self._stages[name].done:
            self.close()
            shown = not self._several or sys.stderr.isatty()
            self._stages[name] = self._new(name, total, done=done - 1, shown=shown, leave=not self._several)
        self._stages[name].at(done, max(total, done) if total else None)

    def video_done(self) -> None:
        self.close()
        self._all.update()

    def close(self) -> None:
        """The stages end."""
        for bar in self._stages.values():
            bar.close()
        self._stages.clear()

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._all.close()


def say(line: str, file: Any = None) -> None:
    """Print a line, above the bars if there are any."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=file or sys.stdout)
    else:
        print(line, file=file or sys.stdout)


def error_line(message: str, program: str = PROGRAM) -> None:
    """Say what went wrong, in one line."""
    say(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)


def print_report(report: dict[str, Any], out: str) -> None:
    """What a preparation made, lost and why; `out` is where its report is."""
    from hf_lip2speech.constants import FRAME_RATE

    path = os.path.join(out, "report.json")
    lines = []
    for reason, skipped in report["skipped"].items():
        lines.append(f"Skipped {len(skipped)}, {reason}:")
        lines += [f"  {clip['id']}: {clip['message']}" for clip in skipped[:SHOWN]]
        if len(skipped) > SHOWN:
            lines.append(f"  and {len(skipped) - SHOWN} more, see {path}")
    for bug, clips in report["failed"].items():
        ids = clips["ids"]
        lines.append(f"Failed {len(ids)} because of a bug, {bug} (please report it; traceback: {path}):")
        lines.append(f"  {', '.join(ids[:SHOWN])}")
    splits = ", ".join(f"{name} {split['clips']}" for name, split in report["splits"].items())
    lines.append(f"{report['clips']} clips ({splits}), {report['hours']:.2f} hours in {out}")
    if report["cut"]:
        lines.append(f"Cut between words: {report['cut']} long clips.")
    if report["trimmed"]:
        lines.append(f"Trimmed {report['trimmed']} clips whose sound was longer than the video, see {path}")
    if report["padded"]:
        lines.append(f"Padded {report['padded']} clips whose sound was shorter than the video, see {path}")
    if report["faceless"]["clips"]:
        seconds = report["faceless"]["frames"] / FRAME_RATE
        lines.append(f"No face for {seconds:.1f} s in {report['faceless']['clips']} clips, see {path}")
    lost = report["lost"]
    if lost["clips"]:
        unknown = f", and {lost['unknown']} of unknown length" if lost["unknown"] else ""
        lines.append(f"Lost {lost['clips']} of {report['found']} clips: {lost['hours']:.2f} hours{unknown}.")
    if "shard" in report:
        rest = "After all shards, the same command without --shard writes the manifest."
        lines.append(f"This was shard {report['shard']}. {rest}")
    print(*lines, sep="\n", file=sys.stderr)


def print_results(results: dict[str, Any]) -> None:
    """The main table of an evaluation, and which clips it left out."""
    from hf_lip2speech.results_text import summary

    print(summary(results))
    for clip in results["skipped"]:
        say(f"left out: {clip['id']}: {clip['message']}", file=sys.stderr)


@contextmanager
def quiet_loading() -> Generator[None]:
    """No bars of transformers and the Hub off a terminal."""
    name = "HF_HUB_DISABLE_PROGRESS_BARS"  # read when they are imported, here or in a worker
    if sys.stderr.isatty() or name in os.environ:
        yield
        return
    logging: Any = sys.modules.get("transformers.utils.logging")
    shown = logging is not None and logging.is_progress_bar_enabled()
    os.environ[name] = "1"
    try:
        if shown:
            logging.disable_progress_bar()
        yield
    finally:
        os.environ.pop(name, None)
        if shown:
            logging.enable_progress_bar()
