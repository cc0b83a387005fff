"""A lip-to-speech model's mel and units of clips: what a vocoder or a mel flow will be given in use."""

import hashlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from torch.nn.utils.rnn import pad_sequence

from ..constants import MEL_PER_FRAME, UNITS_PER_FRAME
from ..data.layout import DAMAGE
from ..data.sampling import AugmentedDataset
from ..data.unread import ReadableClips, SkippedClips, UnreadClip
from ..errors import DamagedClipError
from ..files import atomic_file, write_text
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..progress import tracked
from .common import SKIPPED, loader


class StoredPredictions(Sequence):
    """Clip by clip {"mel": float32 (4T, 80), "unit_ids": int64 (2T,)}, read from a folder when asked for."""

    def __init__(self, folder: str | Path, clips: int):
        self.folder, self.clips = Path(folder), clips

    def __len__(self) -> int:
        return self.clips

    def path(self, index: int) -> Path:
        return self.folder / f"{index:07d}.npz"

    def __getitem__(self, index: Any) -> Any:
        if index >= len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        try:
            with np.load(io.BytesIO(self.path(index).read_bytes())) as arrays:
                return {name: arrays[name] for name in ("mel", "unit_ids")}
        except (*DAMAGE, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise  # of the machine
            raise DamagedClipError(
                f"{self.path(index)} is missing or damaged: the clip's video could not be read, or the "
                "file was changed. Mend the video or remove the file, then resume.",
                f"clip {index}",
            ) from error


@torch.no_grad()
def predict(
    model: Lip2SpeechModel,
    clips: AugmentedDataset,
    folder: str | Path,
    accelerator: Accelerator | PartialState,
    *,
    batch_frames: int = 2000,
    workers: int = 0,
    split: str = "train",
) -> StoredPredictions:
    """Predict every clip in its own voice; the processes share the work, and what is there already is kept.

    A model is better at the clips that it learned from than at new ones. Augmentation makes its predictions
    of them about as poor as those that a vocoder will meet.

    Args:
        model: In evaluation mode, on the accelerator's device.
        clips: Whole (`max_frames=None`), with the field "speaker_embeddings".
        folder: Where they are stored, one file per clip; those of another model or other clips are removed.
        batch_frames: Frames per batch, padding included.
        workers: Processes that load clips.
        split: Its name, for the record of clips that cannot be read.

    A clip whose video is damaged is named and gets no prediction.

    Raises:
        DatasetError: More than 5 % of the clips are damaged.
    """
    stored = StoredPredictions(folder, len(clips))
    made_by = stored.folder / "made_by.json"
    sizes = [len(clips), sum(clips.lengths)]
    about = json.dumps({"model": _fingerprint(model), "seed": clips.seed, "clips": sizes})
    if accelerator.is_main_process:
        if not made_by.is_file() or made_by.read_bytes() != about.encode():
            shutil.rmtree(stored.folder, ignore_errors=True)
            write_text(made_by, about)
    accelerator.wait_for_everyone()
    ordered = sorted(range(len(clips)), key=clips.lengths.__getitem__)
    batches: list[list[int]] = []
    for index in ordered[accelerator.process_index :: accelerator.num_processes]:
        if stored.path(index).is_file():
            continue
        if not batches or (len(batches[-1]) + 1) * clips.lengths[index] > batch_frames:
            batches.append([])
        batches[-1].append(index)
    share = -(-len(clips) // accelerator.num_processes)
    skipped = SkippedClips(split, share, stored.folder.parent / SKIPPED)
    found = loader(ReadableClips(clips, at_least=0), list, workers, batch_sampler=batches)
    shown = accelerator.is_local_main_process
    for indices, items in zip(tracked(batches, "batches to predict", shown=shown), found, strict=True):
        for unread in (item for item in items if isinstance(item, UnreadClip)):
            skipped.note(unread)
        readable = [pair for pair in zip(indices, items, strict=True) if not isinstance(pair[1], UnreadClip)]
        if not readable:
            continue
        indices, items = zip(*readable, strict=True)
        videos = [item["pixel_values_videos"] for item in items]
        mask = pad_sequence([torch.ones(len(video), dtype=torch.long) for video in videos], batch_first=True)
        speakers = torch.stack([item["speaker_embeddings"] for item in items])
        dtype = model.dtype if videos[0].is_floating_point() else None  # visual units stay whole numbers
        output = model(
            pad_sequence(videos, batch_first=True).to(model.device, dtype),
            mask.to(model.device),
            speakers.to(model.device, model.dtype),
        )
        units = model.unit_ids(output.unit_logits).cpu().numpy()
        mels = output.spectrogram.float().cpu().numpy()
        for index, video, mel, ids in zip(indices, videos, mels, units, strict=True):
            mel, ids = mel[: MEL_PER_FRAME * len(video)], ids[: UNITS_PER_FRAME * len(video)]
            with atomic_file(stored.path(index)) as unfinished:
                np.savez(unfinished, mel=mel, unit_ids=ids)
    accelerator.wait_for_everyone()
    return stored


def _fingerprint(model: Lip2SpeechModel) -> str:
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.float().cpu().numpy().tobytes())
    return digest.hexdigest()
