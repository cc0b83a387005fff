"""Real articulation on drawn heads, with a small head of this test's own in the layout of the scanned one."""

import numpy as np
import pytest

from hf_lip2speech.data.layout import PreparedFolder
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.errors import DatasetError, Lip2SpeechError, NoFaceError
from hf_lip2speech.synthetic import RenderedTalker
from hf_lip2speech.synthetic.reface import reface
from hf_lip2speech.synthetic.scanned_head import (
    LANDMARKS,
    LOWER,
    MARKS,
    MOUTH_SHAPES,
    UPPER,
    Person,
    drawn_crops,
    mouth_motion,
    read_head,
    shape_weights,
)
from hf_lip2speech_cli import main

from ..fake_corpora import RENDERED

OPTIONS = ("--people", "2", "--split", "test")
SIDE = 81  # vertices of the front, SIDE x SIDE from number 0 on


def face_like() -> dict[str, np.ndarray]:
    """A bulging sheet 20 wide, in which the landmarks' vertices have been moved to where a face has them."""
    x, y = np.meshgrid(np.linspace(-10, 10, SIDE), np.linspace(-12, 12, SIDE))
    vertices = np.stack([x, y, 6 - (x**2 + y**2) / 40], -1).reshape(-1, 3)
    marks = np.zeros((68, 2))
    marks[:17] = np.stack(
        [9 * np.sin(np.linspace(-1.5, 1.5, 17)), -10 * np.cos(np.linspace(-1.2, 1.2, 17))], 1
    )
    marks[[33, 36, 39, 42, 45]] = [[0, -1.0], [-4.5, 4], [-1.7, 4], [1.7, 4], [4.5, 4]]
    turn = np.linspace(np.pi, -np.pi, 13)[:12]
    marks[48:60] = np.stack([2.6 * np.cos(turn), -4 + 0.9 * np.sin(turn)], 1)
    turn = np.linspace(np.pi, -np.pi, 9)[:8]
    marks[60:68] = np.stack([2.0 * np.cos(turn), -4 + 0.02 * np.sin(turn)], 1)
    for vertex, (across, up) in zip(LANDMARKS, marks, strict=True):
        vertices[vertex] = [across, up, 6.1 - (across**2 + up**2) / 40]
    below = vertices[:, 1] < -4
    shapes = {name: np.zeros_like(vertices) for name in MOUTH_SHAPES}
    shapes["jawOpen"][below, 1] = -3
    shapes["mouthPucker"][:, 0] = -0.3 * vertices[:, 0] * (np.abs(vertices[:, 1] + 4) < 2)
    shapes["mouthStretch_L"][:, 0] = (vertices[:, 0] > 1) * (np.abs(vertices[:, 1] + 4) < 2)
    row, column = np.meshgrid(np.arange(SIDE - 1), np.arange(SIDE - 1), indexing="ij")
    first = (row * SIDE + column).reshape(-1, 1)
    return {
        "V0": vertices.astype(np.float32),
        "I": 0.05 * np.random.default_rng(0).normal(size=(3, 1, 3)) * np.ones((3, *vertices.shape)),
        "E": np.stack([shapes[name] for name in MOUTH_SHAPES]).astype(np.float16),
        "ex": np.array(MOUTH_SHAPES),
        "q": (first + [0, 1, SIDE + 1, SIDE]).astype(np.int32),
        "mats": np.full(len(first), "M_Face"),
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder, arrays = tmp_path_factory.mktemp("head"), face_like()
    np.savez(folder / "shapes.npz", **{name: arrays[name] for name in ("V0", "I", "E", "ex")})
    np.savez(folder / "topology.npz", **{name: arrays[name] for name in ("q", "mats")})
    return folder


def write_obj(path, vertices, quads):
    lines = ["# a comment", *(f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices), "usemtl M_Face"]
    lines += ["f " + " ".join(f"{corner + 1}/1/1" for corner in quad) for quad in quads]
    path.write_text("\n".join(lines) + "\n")


def test_a_clones_folder_and_its_cache_are_the_same_head(cache, tmp_path):
    arrays = face_like()
    write_obj(tmp_path / "generic_neutral_mesh.obj", arrays["V0"], arrays["q"])
    for index, shape in enumerate(arrays["I"]):
        write_obj(tmp_path / f"identity{index:03}.obj", arrays["V0"] + shape, arrays["q"])
    for name, shape in zip(MOUTH_SHAPES, arrays["E"], strict=True):
        write_obj(tmp_path / f"{name}.obj", arrays["V0"] + shape, arrays["q"])
    clone, cached = read_head(tmp_path), read_head(cache)
    np.testing.assert_allclose(clone.neutral, cached.neutral, atol=1e-4)
    np.testing.assert_allclose(clone.identities, cached.identities, atol=1e-3)
    assert clone.expressions.keys() == cached.expressions.keys()
    assert np.array_equal(clone.quads, cached.quads) and set(clone.materials) == {"M_Face"}
    (tmp_path / "jawOpen.obj").unlink()
    with pytest.raises(Lip2SpeechError, match="jawOpen"):
        read_head(tmp_path)
    with pytest.raises(Lip2SpeechError, match="FaceXModel"):
        read_head(tmp_path / "nowhere")


def test_weights_find_the_shapes_that_made_a_motion(cache):
    person = Person(read_head(cache), np.random.default_rng(0))
    weights = np.zeros((4, len(MOUTH_SHAPES)))
    weights[:, MOUTH_SHAPES.index("jawOpen")] = [0, 0.3, 0.6, 0.9]
    weights[2, MOUTH_SHAPES.index("mouthPucker")] = 0.5
    flat = np.stack([person.rest + np.tensordot(one, person.shapes, 1) for one in weights])[..., :2] * [1, -1]
    places = flat[:, LANDMARKS[MARKS]]
    scale = 74.15 / 9  # the mean face's outer eye corners are 74.15 pixels apart, this head's are 9 units
    found = shape_weights(scale * (places - places[0]), person)
    np.testing.assert_allclose(found, weights, atol=0.12)


def test_a_drawn_mouth_opens_with_the_motion_and_people_differ(cache):
    head = read_head(cache)
    motion = np.zeros((6, 21, 2))
    motion[3:, [*LOWER, 9], 1] = 12
    motion[3:, UPPER, 1] = -1
    first, second = (drawn_crops(motion, Person(head, np.random.default_rng(seed))) for seed in (1, 2))
    assert first.shape == (6, 96, 96) and first.dtype == np.uint8
    assert (
        np.abs(first[5].astype(int) - first[0]).mean() > 1 and np.abs(first.astype(int) - second).mean() > 5
    )
    again = drawn_crops(motion, Person(head, np.random.default_rng(1)))
    assert np.array_equal(first, again)


class Nobody:
    def __call__(self, frame: np.ndarray) -> list:
        return []

    def reset(self) -> None:
        pass


def test_the_motion_of_a_clip_without_a_face_is_an_error():
    with pytest.raises(NoFaceError, match="0 of 3 frames"):
        mouth_motion([np.zeros((96, 96, 3), np.uint8)] * 3, Nobody(), "x.mp4")


def test_a_folder_is_drawn_in_shards_resumes_and_keeps_the_targets(
    prepared, cache, tmp_path, monkeypatch, capsys
):
    corpus, out = RenderedTalker(RENDERED), tmp_path / "out"
    seen: list[str] = []

    def without_the_first(frames, detector, name):
        seen.append(name)
        if len(seen) == 1:
            raise NoFaceError("nobody")
        return mouth_motion(frames, detector, name)

    monkeypatch.setattr("hf_lip2speech.synthetic.scanned_head.mouth_motion", without_the_first)
    for part in ((1, 2), (2, 2)):
        report = reface(corpus, prepared, cache, out, people=2, split="test", shard=part, progress=False)
        lost = report["skipped"].get("NoFaceError", [])
        assert report["shard"] == f"{part[0]}/2" and report["lost"]["clips"] == len(lost)
        assert [clip["message"] for clip in lost] == (["nobody"] * 2 if part == (1, 2) else [])
    assert not (out / "manifest.parquet").exists()
    drawn = sorted(out.glob("video/**/*.mp4"))
    times = [file.stat().st_mtime_ns for file in drawn]
    assert main(["reface", "rendered", str(RENDERED), str(prepared), str(cache), str(out), *OPTIONS]) == 0
    assert [file.stat().st_mtime_ns for file in drawn] == times
    true, clips = PreparedDataset(prepared, "test"), PreparedDataset(out, "test")
    assert len(clips) == 2 * len(true)
    report = PreparedFolder(out).read_report()
    assert report["corpus"] == "refaced rendered" and report["lost"]["clips"] == 0
    assert report["splits"]["test"]["clips"] == report["clips"] == len(clips)
    assert f"{len(clips)} clips (test {len(clips)}), 0.01 hours in {out}" in capsys.readouterr().err
    by_id = {clips[index]["id"]: clips[index] for index in range(len(clips))}
    for index in range(len(true)):
        for person in range(2):
            item = by_id[f"person{person}/{true[index]['id']}"]
            assert item["frames"].shape == true[index]["frames"].shape
            assert not np.array_equal(item["frames"], true[index]["frames"])
            for name in ("mel", "unit_ids", "speaker_embeddings", "waveform"):
                assert np.array_equal(item[name], true[index][name])


def test_a_corpus_that_does_not_fit_and_impossible_numbers_are_errors(prepared, cache, tmp_path):
    corpus = RenderedTalker(RENDERED)
    with pytest.raises(DatasetError, match="people=0"):
        reface(corpus, prepared, cache, tmp_path / "a", people=0)
    with pytest.raises(DatasetError, match="choose another"):
        reface(corpus, prepared, cache, prepared, split="test")
