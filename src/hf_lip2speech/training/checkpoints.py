"""Checkpoints and exported models on disk: complete, or not there at all."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from ..errors import Lip2SpeechError, TrainingError
from ..files import named_output
from ..loading import one_line

ENVIRONMENT = "environment.json"
# what the readers of a checkpoint's files raise for damaged and hostile ones
DAMAGE = (
    *(AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(SafetensorError, pickle.UnpicklingError),
)


def checkpoints(output_dir: str | os.PathLike) -> list[Path]:
    """The complete checkpoints, `output_dir/checkpoint-N`, in ascending order of N."""
    found = [
        (re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in Path(output_dir).glob("checkpoint-*")
    ]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def checkpoint_to_resume(args: Any, resume: bool) -> Path | None:
    """The checkpoint to resume from: args.resume_from_checkpoint, or the latest; None: start a new run.

    Raises:
        TrainingError: a new run was asked for, but there are checkpoints already.
    """
    found, named = checkpoints(args.output_dir), args.resume_from_checkpoint
    if named is not None:
        if not (Path(named) / ENVIRONMENT).is_file():
            raise TrainingError(f"resume_from_checkpoint is {named}, which is not a checkpoint folder.")
        return Path(named)
    if found and not resume:
        raise TrainingError(
            f"{args.output_dir} holds a training up to {found[-1].name}. Resume it with --resume, or give "
            "another output_dir."
        )
    if resume and not found and os.environ.get("RANK", "0") == "0":
        print(f"No checkpoint in {args.output_dir}: starting from the beginning.")
    return found[-1] if found else None


@contextmanager
def new_checkpoint(
    output_dir: str | os.PathLike,
    step: int,
    keep: int | None,
    accelerator: Accelerator,
    clips_per_update: float,
) -> Generator[Path]:
    """A folder that becomes `checkpoint-STEP` when the block ends; only the latest `keep` of these stay.

    All processes enter the block and write into the same folder, whose name is `checkpoint-STEP` too.

    Raises:
        OutputError: the disk is full, or the folder is read-only. The earlier checkpoints are whole.
    """
    output, unfinished = Path(output_dir), Path(output_dir) / "writing"
    folder = unfinished / f"checkpoint-{step}"
    try:
        with named_output(output / folder.name):
            if accelerator.is_main_process:
                shutil.rmtree(unfinished, ignore_errors=True)
                folder.mkdir(parents=True)
            accelerator.wait_for_everyone()
            yield folder
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                environment = json.dumps(_environment(accelerator, clips_per_update), indent=2)
                (folder / ENVIRONMENT).write_text(environment, encoding="utf-8")
                shutil.rmtree(output / folder.name, ignore_errors=True)
                os.replace(folder, output / folder.name)
                for old in checkpoints(output)[:-keep] if keep else []:
                    shutil.rmtree(old)
    finally:
        if accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
    accelerator.wait_for_everyone()


@contextmanager
def reading(checkpoint: str | os.PathLike) -> Generator[None]:
    """Inside, errors of reading a checkpoint name it.

    Raises:
        TrainingError: it is damaged, lacks a file, or holds more than tensors, which is not read.
    """
    try:
        yield
    except Lip2SpeechError:
        raise
    except DAMAGE as error:
        raise TrainingError(
            f"{checkpoint} is damaged ({one_line(error)[:300]}). Remove it: --resume then takes the one "
            "before it, or starts from the beginning."
        ) from error


def check_environment(checkpoint: Path, accelerator: Accelerator, clips_per_update: float) -> None:
    """Print what a resumed run does otherwise than the one that wrote the checkpoint.

    Raises:
        TrainingError: there were more processes, or fewer; or the checkpoint is damaged.
    """
    now = _environment(accelerator, clips_per_update)
    with reading(checkpoint):
        then = json.loads((checkpoint / ENVIRONMENT).read_text(encoding="utf-8"))
        before = then["processes"]
    if before != now["processes"]:
        raise TrainingError(
            f"{checkpoint} was written by {before} processes and this run has {now['processes']}. "
            "Resume with as many, or start a new run from the saved model: init_from=OUTPUT_DIR/best."
        )
    accelerator.print(f"Resuming from {checkpoint}.")
    if then != now:
        accelerator.print(
            f"It was written with {then}, this run has {now}: the results will differ slightly."
        )


def _environment(accelerator: Accelerator, clips_per_update: float) -> dict[str, float]:
    return {
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "clips_per_update": clips_per_update,
    }


@contextmanager
def replaced_folder(path: str | os.PathLike) -> Generator[Path]:
    """A new folder to write into that takes the place of `path` when the block ends, never half-written.

    Raises:
        OutputError: the disk is full, or the folder is read-only. What was there stays.
    """
    path = Path(path)
    unfinished, old = (path.with_name(f"{path.name}.{end}") for end in ("writing", "old"))
    try:
        with named_output(path):
            settle(path)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            yield unfinished
            if path.exists():
                os.replace(path, old)
            os.replace(unfinished, path)
            settle(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def settle(path: str | os.PathLike) -> None:
    """Repair what a kill inside `replaced_folder` left: the old folder returns if there is no new one."""
    path = Path(path)
    old = path.with_name(f"{path.name}.old")
    if old.exists() and path.exists():
        shutil.rmtree(old)
    elif old.exists():
        os.replace(old, path)
