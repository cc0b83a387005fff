import numpy as np
import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.evaluation.syncnet import SyncNet, best_offset, sync_mfcc
from tests.media.voices import babble


@pytest.fixture(scope="module")
def network() -> SyncNet:
    torch.manual_seed(0)
    return SyncNet()


@pytest.mark.parametrize("samples", [48_000, 47_648, 16_001, 399])
def test_the_cepstra_are_those_that_syncnet_was_trained_on(samples):
    library = pytest.importorskip("python_speech_features")
    speech = babble(3.0)[:samples]
    theirs = library.mfcc(np.round(speech.astype(np.float64) * 32767).astype(np.int16), 16_000)
    ours = sync_mfcc(speech)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-9


def test_digital_silence_has_cepstra():
    assert np.isfinite(sync_mfcc(np.zeros(3200))).all()


def test_the_networks_names_and_shapes_are_those_of_the_published_weights(network):
    """As its authors' model is described: two stacks of convolutions and two projections to 1024."""
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    convolutions = {name: shape for name, shape in shapes.items() if len(shape) > 3}
    assert convolutions == {
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
    assert whole.shape == (3, 1024)
    windows = torch.cat([network.embed_faces(faces[start : start + 5]) for start in range(3)])
    assert torch.allclose(whole, windows, atol=1e-4)


def test_every_4_cepstra_begin_a_window_of_20(network):
    mfcc = np.random.default_rng(0).standard_normal((32, 13))
    whole = network.embed_sound(mfcc)
    assert whole.shape == (4, 1024)
    windows = torch.cat([network.embed_sound(mfcc[start : start + 20]) for start in range(0, 16, 4)])
    assert torch.allclose(whole, windows, atol=1e-5)


def test_weights_come_back_from_a_file_even_without_the_counters_that_old_files_lack(network, tmp_path):
    weights = {
        name: weight for name, weight in network.state_dict().items() if not name.endswith("batches_tracked")
    }
    torch.save(weights, tmp_path / "syncnet_v2.model")
    again = SyncNet.from_file(tmp_path / "syncnet_v2.model").state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


def test_without_weights_it_is_said_which_file_is_needed(tmp_path):
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


@pytest.mark.parametrize("late", [-9, -1, 0, 4, 15])
def test_sound_that_is_late_is_found_where_it_fits(late):
    """Each frame's embedding is its own; the sound's is the same `late` frames later."""
    faces = torch.from_numpy(np.random.default_rng(0).standard_normal((70, 32))).float()
    sound = torch.zeros_like(faces)
    kept = faces[max(0, -late) : len(faces) - max(0, late)]
    sound[max(0, late) : max(0, late) + len(kept)] = kept
    distance, confidence, offset = best_offset(faces, sound, 15)
    assert offset == -late
    apart = float(torch.pdist(faces).mean())
    assert distance < 0.25 * apart and confidence > 0.5 * apart


def test_sound_of_something_else_has_no_confidence():
    faces, sound = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 70, 32))).float()
    _, confidence, _ = best_offset(faces, sound, 15)
    assert confidence < 0.1 * float(torch.pdist(faces).mean())
