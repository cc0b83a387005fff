"""That the whole way teaches something: rendered faces are prepared and learnt from nothing."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hf_lip2speech_cli
from hf_lip2speech.data.prepared import PreparedDataset

from .conftest import EXAMPLES

MINUTES = 10
CLIPS = 200


def command(*arguments: object) -> None:
    assert hf_lip2speech_cli.main([str(argument) for argument in arguments]) == 0


def curve(logs: Path, name: str) -> list[float]:
    """The values of a scalar, of all event files below `logs`."""
    values = []
    for file in sorted(logs.rglob("events.out.*")):
        events = EventAccumulator(str(file)).Reload()
        if name in events.Tags()["scalars"]:
            values += [event.value for event in events.Scalars(name)]
    return values


@pytest.mark.slow
def test_ten_minutes_of_training_on_rendered_faces_learn_to_read_unseen_sentences(scripts, tmp_path):
    pytest.importorskip("cv2", reason="rendering needs the extra `render`")
    if shutil.which("flite") is None:
        pytest.skip("rendering needs flite: apt-get install flite")
    processes = ("--num-proc", os.cpu_count() or 1)
    command("render", tmp_path / "faces", "--clips", CLIPS, *processes)
    command(
        "prepare",
        "rendered",
        tmp_path / "faces",
        tmp_path / "talkers",
        "--units",
        "mfcc",
        "--num-units",
        50,
        *processes,
    )
    scripts["train"].main(
        [
            str(EXAMPLES / "configs" / "grid_s1.yaml"),
            f"data={tmp_path / 'talkers'}",
            f"output_dir={tmp_path / 'run'}",
            "model.num_units=50",
            "max_steps=700",
            f"max_minutes={MINUTES}",
            "ema_decay=0.99",
            "eval_steps=50",
            "logging_steps=25",
            "num_threads=null",
        ]
    )  # fmt: skip
    logs = tmp_path / "run" / "logs"

    validation = PreparedDataset(tmp_path / "talkers", "val", fields=("unit_ids",))
    units = np.concatenate([validation[index]["unit_ids"] for index in range(len(validation))])
    always_the_commonest = Counter(units.tolist()).most_common(1)[0][1] / len(units)
    accuracy = curve(logs, "eval/unit_accuracy")
    assert max(accuracy) > always_the_commonest + 0.15, (accuracy, always_the_commonest)

    loss = curve(logs, "train/loss")
    assert np.mean(loss[-3:]) < 0.6 * np.mean(loss[:3]), loss
    mel_error = curve(logs, "eval/mel_l1")
    assert mel_error[-1] < 0.5 * mel_error[0], mel_error
