"""Writing a folder of rendered clips, with several processes, going on where it was interrupted."""

import json
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..data.workers import local_pool, sole_use
from ..errors import DatasetError
from ..extras import require_extra
from ..files import write_text
from .layout import SPLITS, RenderedFolder
from .plan import NUM_SENTENCES, SIZE, plan_clips
from .speech import flite_version

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
    require_extra("cv2", "render")
    from .clips import ClipRenderer

    folder = RenderedFolder(out)
    recipe = {"seed": seed, "size": list(size), "flite": flite_version()}
    with sole_use(folder.root, folder.state):
        _keep_recipe(folder, recipe)
        plans = list(plan_clips(num_clips, seed))
        todo = [plan for plan in plans if not folder.is_done(plan.id)]
        processes = max(1, min(num_proc, len(todo)))
        with (
            local_pool(
                partial(ClipRenderer, folder, size), processes, f"rendering into {folder.root}"
            ) as run,
            tqdm(total=num_clips, initial=num_clips - len(todo), desc="clips", disable=not progress) as bar,
        ):
            for _ in run("write", ((plan,) for plan in todo)):
                bar.update()
        for split in SPLITS:
            ids = sorted(plan.id for plan in plans if plan.split == split)
            write_text(folder.list_of(split), "".join(f"{clip_id}\n" for clip_id in ids))


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
