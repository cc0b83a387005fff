"""SyncNet and its scores, with networks that know the answer in place of trained weights."""

from itertools import islice

import numpy as np
import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError, MetricError, NoFaceError
from hf_lip2speech.evaluation.lip_sync import SyncNet, best_offset, face_crops, lip_sync, sync_mfcc

from ..fake_corpora import two_talkers
from ..media.voices import babble

FRAMES = 50


class KnowsTheSound(SyncNet):
    """In place of trained weights: it sees in the faces what is said when, and hears it in the sound."""

    def __init__(self, true_speech: np.ndarray):
        torch.nn.Module.__init__(self)  # without SyncNet's 14 million weights
        self.true_speech = true_speech

    def embed_faces(self, faces: np.ndarray) -> torch.Tensor:
        return self.embed_sound(sync_mfcc(self.true_speech))[: len(faces) - 4]

    def embed_sound(self, mfcc: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(mfcc).float().unfold(0, 20, 4).flatten(1)  # (W, 13, 20)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return babble(FRAMES / 25, seed=2)


@pytest.fixture(scope="module")
def knowing(speech) -> KnowsTheSound:
    return KnowsTheSound(speech)


@pytest.fixture(scope="module")
def network() -> SyncNet:
    torch.manual_seed(0)
    return SyncNet()


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.zeros((FRAMES, 224, 224, 3), np.uint8)


def test_the_true_sound_fits_best_where_it_is_and_another_is_further_away(faces, speech, knowing):
    true = lip_sync(faces, speech, knowing)
    other = lip_sync(faces, babble(2.0, pitch=200, seed=9), knowing)
    assert true.offset == 0 and true.distance < 0.01 < true.confidence
    assert other.distance > true.distance + 1 and other.confidence < true.confidence


@pytest.mark.parametrize("late", [3, 7])
def test_a_delay_is_told_by_the_offset(faces, speech, knowing, late):
    delayed = np.concatenate([np.zeros(late * 640, np.float32), speech])
    assert lip_sync(faces, delayed, knowing).offset == -late


def test_the_video_sets_the_length(faces, speech, knowing):
    half = speech[: len(speech) // 2]
    silent = np.concatenate([half, np.zeros(len(speech) - len(half), np.float32)])
    assert lip_sync(faces, half, knowing) == lip_sync(faces, silent, knowing)
    twice = np.concatenate([speech, speech])
    assert lip_sync(faces, twice, knowing) == lip_sync(faces, speech, knowing)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((FRAMES, 96, 96), "face_crops"), ((10, 224, 224, 3), "10 frames")],
    ids=["mouth crops", "too short"],
)
def test_faces_that_cannot_be_scored_are_refused(shape, message, speech, knowing):
    with pytest.raises(MetricError, match=message):
        lip_sync(np.zeros(shape, np.uint8), speech, knowing)


@pytest.mark.parametrize("late", [-9, -1, 0, 4, 15])
def test_sound_that_is_late_is_found_where_it_fits(late):
    """Each frame's embedding is its own; the sound's is the same `late` frames later."""
    faces = torch.from_numpy(np.random.default_rng(0).standard_normal((70, 32))).float()
    sound = torch.zeros_like(faces)
    kept = faces[max(0, -late) : len(faces) - max(0, late)]
    sound[max(0, late) : max(0, late) + len(kept)] = kept
    distance, confidence, offset = best_offset(faces, sound, 15)
    apart = float(torch.pdist(faces).mean())
    assert offset == -late and distance < 0.25 * apart and confidence > 0.5 * apart


def test_sound_of_something_else_has_no_confidence():
    faces, sound = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 70, 32))).float()
    assert best_offset(faces, sound, 15)[1] < 0.1 * float(torch.pdist(faces).mean())


def test_a_real_face_is_framed_as_syncnet_expects_it(grid_dir):
    """The face's middle across, its mouth about half-way down the square."""
    import av

    from hf_lip2speech.video.crops import OUTER_LIPS
    from hf_lip2speech.video.landmarks import MeshLandmarkDetector

    with av.open(str(next((grid_dir / "s1").glob("*.mp4")))) as container:
        shown = islice(container.decode(video=0), 8)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    crops = face_crops({"frames": frames, "fps": 25.0})
    assert crops.shape == (8, 224, 224, 3) and crops.dtype == np.uint8
    face = MeshLandmarkDetector()(crops[4])[0]
    x, y = face.points[OUTER_LIPS].mean(axis=0) / 224
    assert x == pytest.approx(0.5, abs=0.06) and y == pytest.approx(0.53, abs=0.08)
    width, height = (face.box[2:] - face.box[:2]) / 224
    assert max(width, height) == pytest.approx(1 / 1.4, abs=0.1)


def test_of_several_faces_the_one_that_is_meant_is_framed(tmp_path):
    talkers = two_talkers(tmp_path / "call.mp4", frames=12)
    for face, talker in enumerate(talkers):
        alone = face_crops({"frames": talker, "fps": 25.0})
        both = face_crops(str(tmp_path / "call.mp4"), face)
        assert np.abs(both[:, 40:180, 60:160].astype(int) - alone[:, 40:180, 60:160]).mean() < 8


def test_a_video_without_a_face_is_refused():
    with pytest.raises(NoFaceError, match="3 frames"):
        face_crops({"frames": np.full((3, 128, 128, 3), 128, np.uint8), "fps": 25.0})


@pytest.mark.parametrize("samples", [48_000, 47_648, 16_001, 399])
def test_the_cepstra_are_those_that_syncnet_was_trained_on(samples):
    library = pytest.importorskip("python_speech_features")
    speech = babble(3.0)[:samples]
    theirs = library.mfcc(np.round(speech.astype(np.float64) * 32767).astype(np.int16), 16_000)
    ours = sync_mfcc(speech)
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-9
    assert np.isfinite(sync_mfcc(np.zeros(samples))).all()


def test_the_networks_names_and_shapes_are_those_of_the_published_weights(network):
    """As its authors' model is described: two stacks of convolutions and two projections to 1024."""
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if len(shape) > 3} == {
        "netcnnaud.0.weight": (64, 1, 3, 3),
        "netcnnaud.4.weight": (192, 64, 3, 3),
        "netcnnaud.8.weight": (384, 192, 3, 3),
        "netcnnaud.11.weight": (256, 384, 3, 3),
        "netcnnaud.14.weight": (256, 256, 3, 3),
        "netcnnaud.18.weight": (512, 256, 5, 4),
        "netcnnlip.0.weight": (96, 3, 5, 7, 7),
        "netcnnlip.4.weight": (256, 96, 1, 5, 5),
        "netcnnlip.8.weight": (256, 256, 1, 3, 3),
        "netcnnlip.11.weight": (256, 256, 1, 3, 3),
        "netcnnlip.14.weight": (256, 256, 1, 3, 3),
        "netcnnlip.18.weight": (512, 256, 1, 6, 6),
    }
    for branch in ("netfcaud", "netfclip"):
        assert shapes[f"{branch}.0.weight"] == (512, 512) and shapes[f"{branch}.3.weight"] == (1024, 512)
        assert shapes[f"{branch}.1.running_mean"] == (512,)


@pytest.mark.slow
def test_a_clip_in_one_pass_gives_what_its_windows_of_5_frames_give(network):
    faces = np.random.default_rng(0).integers(0, 256, (7, 224, 224, 3), dtype=np.uint8)
    whole = network.embed_faces(faces)
    windows = torch.cat([network.embed_faces(faces[start : start + 5]) for start in range(3)])
    assert whole.shape == (3, 1024) and torch.allclose(whole, windows, atol=1e-4)


def test_faces_are_embedded_once_and_again_where_the_array_holds_others(network):
    faces = np.zeros((5, 224, 224, 3), dtype=np.uint8)
    before = network.embed_faces(faces)
    assert network.embed_faces(faces.copy()) is before
    faces += 100
    assert not torch.equal(network.embed_faces(faces), before)


def test_every_4_cepstra_begin_a_window_of_20(network):
    mfcc = np.random.default_rng(0).standard_normal((32, 13))
    whole = network.embed_sound(mfcc)
    windows = torch.cat([network.embed_sound(mfcc[start : start + 20]) for start in range(0, 16, 4)])
    assert whole.shape == (4, 1024) and torch.allclose(whole, windows, atol=1e-5)


def test_weights_come_back_from_a_file_even_without_the_counters_that_old_files_lack(network, tmp_path):
    weights = {
        name: weight for name, weight in network.state_dict().items() if not name.endswith("batches_tracked")
    }
    torch.save(weights, tmp_path / "syncnet_v2.model")
    again = SyncNet.from_file(tmp_path / "syncnet_v2.model").state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())
    with pytest.raises(Lip2SpeechError, match="syncnet_v2.model"):
        SyncNet.from_file(tmp_path / "none")


class Dangerous:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    "content", [{"a": torch.zeros(1)}, [1, 2], Dangerous()], ids=["other weights", "a list", "code"]
)
def test_a_file_that_holds_something_else_is_refused_and_runs_nothing(content, tmp_path, capsys):
    torch.save(content, tmp_path / "file")
    with pytest.raises(Lip2SpeechError, match="does not hold SyncNet's weights"):
        SyncNet.from_file(tmp_path / "file")
    assert "must not run" not in capsys.readouterr().out
