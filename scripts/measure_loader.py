"""How many frames per second the training's data loader delivers, with how much padding, and at what cost.

    python scripts/measure_loader.py PREPARED [--workers 2] [--batch-frames 3600] [--epochs 2]

Prints, for each epoch after the first (which starts the workers), the frames and clips per second, the
frames per second of all processes' CPU time, and the memory of each at the epoch's end. Linux only.
"""

import argparse
import os
import time

import torch
from torch.utils.data import DataLoader

from hf_lip2speech_extras import needs_extra

with needs_extra("train"):
    from hf_lip2speech.constants import NUM_UNITS
    from hf_lip2speech.data.augmentation import VideoAugmentation
    from hf_lip2speech.data.collation import FrameBatchSampler, Lip2SpeechCollator
    from hf_lip2speech.data.prepared import PreparedDataset
    from hf_lip2speech.data.sampling import AugmentedDataset
    from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
    from hf_lip2speech.training.common import start_worker

FIELDS = ("frames", "mel", "unit_ids", "speaker_embeddings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared")
    parser.add_argument("--split", default="train")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-frames", type=int, default=3600)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()

    begin = time.perf_counter()
    clips = PreparedDataset(arguments.prepared, arguments.split, fields=FIELDS)
    dataset = AugmentedDataset(clips, VideoAugmentation())
    sampler = FrameBatchSampler(dataset.lengths, arguments.batch_frames, dataset)
    print(f"{len(dataset)} clips, {len(sampler)} batches; opened in {time.perf_counter() - begin:.2f} s")
    torch.set_num_threads(1)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=Lip2SpeechCollator(Lip2SpeechConfig(num_units=NUM_UNITS)),
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
        worker_init_fn=start_worker,
    )
    for epoch in range(arguments.epochs + 1):
        dataset.set_epoch(epoch)
        processes = [os.getpid()] if epoch == 0 else [os.getpid(), *workers_of(loader)]
        begin, cpu = time.perf_counter(), sum(map(cpu_seconds, processes))
        count = frames = places = 0
        for batch in loader:
            count += len(batch["attention_mask"])
            frames += int(batch["attention_mask"].sum())
            places += batch["attention_mask"].numel()
        took = time.perf_counter() - begin
        if epoch == 0:
            continue
        cpu = sum(map(cpu_seconds, processes)) - cpu
        memory = ", ".join(f"{resident(process) / 1e6:.0f}" for process in processes)
        print(
            f"epoch {epoch}: {frames / took:.0f} frames/s, {count / took:.1f} clips/s; "
            f"{frames / cpu:.0f} frames for a second of CPU time; padding {1 - frames / places:.1%}; "
            f"memory of main process and workers {memory} MB"
        )


def workers_of(loader: DataLoader) -> list[int]:
    return [worker.pid for worker in getattr(loader._iterator, "_workers", [])]


def cpu_seconds(process: int) -> float:
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> int:
    with open(f"/proc/{process}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
