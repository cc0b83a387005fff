from itertools import islice

import numpy as np
import pytest
import torch

from hf_lip2speech.errors import NoFaceError
from hf_lip2speech.evaluation.lip_sync import face_crops, lip_sync
from hf_lip2speech.evaluation.metrics import MetricError
from hf_lip2speech.evaluation.syncnet import SyncNet, sync_mfcc
from tests.media.voices import babble

FRAMES = 50


class KnowsTheSound(SyncNet):
    """Stands for trained weights: it sees in the faces what is said when, and hears it in the sound."""

    def __init__(self, true_speech: np.ndarray):
        torch.nn.Module.__init__(self)  # without SyncNet's 14 million weights
        self.true_speech = true_speech

    def embed_faces(self, faces: np.ndarray) -> torch.Tensor:
        return self.embed_sound(sync_mfcc(self.true_speech))[: len(faces) - 4]

    def embed_sound(self, mfcc: np.ndarray) -> torch.Tensor:
        frames = torch.from_numpy(mfcc).float().unfold(0, 20, 4)  # (W, 13, 20)
        return frames.flatten(1)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return babble(FRAMES / 25, seed=2)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.zeros((FRAMES, 224, 224, 3), np.uint8)


def test_the_true_sound_fits_best_where_it_is(faces, speech):
    score = lip_sync(faces, speech, KnowsTheSound(speech))
    assert score.offset == 0
    assert score.distance < 0.01 < score.confidence


@pytest.mark.parametrize("late", [3, 7])
def test_a_delay_is_told_by_the_offset(faces, speech, late):
    delayed = np.concatenate([np.zeros(late * 640, np.float32), speech])
    assert lip_sync(faces, delayed, KnowsTheSound(speech)).offset == -late


def test_another_sound_is_further_away_and_less_sure(faces, speech):
    network = KnowsTheSound(speech)
    true, other = lip_sync(faces, speech, network), lip_sync(faces, babble(2.0, pitch=200, seed=9), network)
    assert other.distance > true.distance + 1
    assert other.confidence < true.confidence


def test_the_video_sets_the_length(faces, speech):
    network = KnowsTheSound(speech)
    half = speech[: len(speech) // 2]
    silent = np.concatenate([half, np.zeros(len(speech) - len(half), np.float32)])
    assert lip_sync(faces, half, network) == lip_sync(faces, silent, network)
    assert lip_sync(faces, np.concatenate([speech, speech]), network) == lip_sync(faces, speech, network)


@pytest.mark.parametrize(
    "shape, message",
    [((FRAMES, 96, 96), "face_crops"), ((10, 224, 224, 3), "10 frames")],
    ids=["mouth crops", "too short"],
)
def test_faces_that_cannot_be_scored_are_refused(shape, message, speech):
    with pytest.raises(MetricError, match=message):
        lip_sync(np.zeros(shape, np.uint8), speech, KnowsTheSound(speech))


def test_a_real_face_stands_where_syncnet_expects_it(grid_dir):
    """The face's middle across, its mouth about half-way down the square."""
    import av

    from hf_lip2speech.video.landmarks import MeshLandmarkDetector
    from hf_lip2speech.video.mouth import OUTER_LIPS

    path = next((grid_dir / "s1").glob("*.mp4"))
    with av.open(str(path)) as container:
        shown = islice(container.decode(video=0), 8)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    crops = face_crops({"frames": frames, "fps": 25.0})
    assert crops.shape == (8, 224, 224, 3) and crops.dtype == np.uint8
    face = MeshLandmarkDetector()(crops[4])[0]
    x, y = face.points[OUTER_LIPS].mean(axis=0) / 224
    assert x == pytest.approx(0.5, abs=0.06) and y == pytest.approx(0.53, abs=0.08)
    width, height = (face.box[2:] - face.box[:2]) / 224
    assert max(width, height) == pytest.approx(1 / 1.4, abs=0.1)


def test_a_video_without_a_face_is_refused():
    with pytest.raises(NoFaceError, match="3 frames"):
        face_crops({"frames": np.full((3, 128, 128, 3), 128, np.uint8), "fps": 25.0})
