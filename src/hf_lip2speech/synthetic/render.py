"""Writing a folder of rendered clips, with several processes, going on where it was interrupted."""

import importlib.util
import json
import multiprocessing
import shutil
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ..data.workers import follow_parent
from ..errors import DatasetError, WorkerDiedError
from ..files import write_text
from .layout import SPLITS, RenderedFolder
from .plan import NUM_SENTENCES, SIZE, ClipPlan, plan_clips
from .speech import flite_version

try:
    import fcntl
except ImportError:  # Windows has no flock: nothing there keeps two runs out of one folder
    fcntl = None

LEAST_SIDE = 96  # pixels of a frame


def render(
    out: str | Path,
    num_clips: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    num_proc: int = 1,
    progress: bool = True,
) -> None:
    """Render clips of the four talkers, laid out as GRID is; run again to go on.

    Clip i is the same whatever `num_clips` and `num_proc` are, so that more clips can be added later.

    Args:
        out: the folder to write.
        num_clips: of all talkers together, who take turns; at most 64,000, the number of GRID's sentences.
        seed: of sentences, speaking rates, looks and noise.
        size: width and height of the frames, pixels, even.
        num_proc: processes; with more than 1 a script needs the usual `if __name__ == "__main__":`.
        progress: show a bar on stderr.

    Raises:
        DatasetError: an argument out of range, `out` holds clips made otherwise, or another run is at work
            there.
        FliteError: flite is missing or fails.
        ImportError: OpenCV is missing; names the extra that holds it.
        WorkerDiedError: a process died.
    """
    if not 1 <= num_clips <= NUM_SENTENCES or num_proc < 1 or seed < 0:
        raise DatasetError(
            f"num_clips={num_clips}, num_proc={num_proc}, seed={seed}; expected 1 to {NUM_SENTENCES} clips "
            "(each sentence of the grammar comes once), at least 1 process and a seed from 0 on."
        )
    if min(size) < LEAST_SIDE or any(side % 2 for side in size):
        raise DatasetError(f"size={tuple(size)}; expected even numbers of pixels from {LEAST_SIDE} on.")
    if importlib.util.find_spec("cv2") is None:
        raise ImportError(
            "OpenCV is not installed. It comes with an extra: pip install 'hf-lip2speech[render]'"
        )
    folder = RenderedFolder(out)
    recipe = {"seed": seed, "size": list(size), "flite": flite_version()}
    with _sole_use(folder):
        _keep_recipe(folder, recipe)
        plans = list(plan_clips(num_clips, seed))
        todo = [plan for plan in plans if not folder.is_done(plan.id)]
        with tqdm(
            total=len(plans), initial=len(plans) - len(todo), desc="clips", disable=not progress
        ) as bar:
            for _ in _write_all(folder, todo, size, min(num_proc, len(todo))):
                bar.update()
        for split in SPLITS:
            ids = sorted(plan.id for plan in plans if plan.split == split)
            write_text(folder.list_of(split), "".join(f"{clip_id}\n" for clip_id in ids))


@contextmanager
def _sole_use(folder: RenderedFolder) -> Generator[None]:
    """Keep a second run out by a lock that dies with the process; remove what a killed one left half."""
    folder.staging.mkdir(parents=True, exist_ok=True)
    with open(folder.lock, "w") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DatasetError(
                    f"Another run is rendering into {folder.root}; expected to be the only one. Wait for it, "
                    "or give another folder."
                ) from None
        shutil.rmtree(folder.staging)
        folder.staging.mkdir()
        yield
        shutil.rmtree(folder.staging)


def _keep_recipe(folder: RenderedFolder, recipe: dict) -> None:
    if not folder.recipe.is_file():
        write_text(folder.recipe, json.dumps(recipe) + "\n")
        return
    found = json.loads(folder.recipe.read_text(encoding="utf-8"))
    if found != recipe:
        raise DatasetError(
            f"{folder.root} holds clips made with {found}, asked for were {recipe}. Give another folder, or "
            "remove this one."
        )


def _write(folder: RenderedFolder, plan: ClipPlan, size: tuple[int, int]) -> None:
    from .clips import write_clip  # it needs OpenCV, whose absence `render` reports first

    write_clip(folder, plan, size)


def _write_all(
    folder: RenderedFolder, plans: list[ClipPlan], size: tuple[int, int], num_proc: int
) -> Iterator[None]:
    if num_proc <= 1:
        for plan in plans:
            yield _write(folder, plan, size)
        return
    pool = ProcessPoolExecutor(
        num_proc, mp_context=multiprocessing.get_context("spawn"), initializer=follow_parent
    )
    try:
        for future in as_completed([pool.submit(_write, folder, plan, size) for plan in plans]):
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            f"One of the {num_proc} processes rendering into {folder.root} died, most likely for want of "
            "memory. What was done is kept: run again to go on, with a smaller num_proc if so."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
