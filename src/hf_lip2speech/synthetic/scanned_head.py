"""A morphable head from scans (ICT-FaceKit's layout), drawn as random people with NumPy and OpenCV, and moved
by the lips and jaw of filmed speakers.

The head is a clone's FaceXModel folder of .obj files, or its arrays in two .npz files. Lengths are in the
scans' units: the head is about 25 wide, x to the picture's right, y up, z to the viewer.
"""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..constants import FRAME_RATE, MOUTH_SIZE
from ..errors import Lip2SpeechError, NoFaceError
from ..video.crops import MEAN_FACE, SMOOTHING_WINDOW, STABLE_POINTS, crop_matrix
from ..video.landmarks import LandmarkDetector
from ..video.warp import apply_affine, invert_affine, similarity_transform

# Vertices of the 68 landmarks of the Multi-PIE scheme.
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147,
    4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081,
    0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
])  # fmt: skip
STABLE = [33, 36, 39, 42, 45]  # of the landmarks: nose base, eye corners as in `video.crops.STABLE_POINTS`
MOUTH, OUTER_LIPS = slice(48, 68), slice(48, 60)
MOUTH_SHAPES = (
    "jawOpen", "mouthClose", "mouthPucker", "mouthFunnel", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthStretch_L", "mouthStretch_R",
    "mouthLowerDown_L", "mouthLowerDown_R", "mouthUpperUp_L", "mouthUpperUp_R", "mouthPress_L",
    "mouthPress_R", "mouthSmile_L", "mouthSmile_R", "mouthFrown_L", "mouthFrown_R",
)  # fmt: skip
IDENTITIES = 40  # shapes used; they hold 98 % of the variance
SKIN, INSIDE = ("M_Face", "M_BackHead"), ("M_GumsTongue", "M_Teeth")
SCALE = 2  # pixels drawn per pixel of the picture, on a side
# Points of the face mesh at landmarks 48..67 (outer, then inner lips) and 8 (chin).
MESH = [61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178, 152]
MARKS = [*range(48, 68), 8]
WEIGHTS = np.array([1.0] * 12 + [2.0] * 8 + [0.7])  # inner lips count double: they tell open from closed
UPPER, LOWER = [13, 14, 15], [19, 18, 17]  # of MESH: inner lips, pairs above each other
CLOSED = 0.2  # of the frames; those with the least opening
RIDGE = 0.3
STEPS = 300  # of the projected gradient


@dataclass(frozen=True)
class ScannedHead:
    """Shapes of one topology: neutral float32 (V, 3); identities float32 (N, V, 3), to be added with
    coefficients ~ N(0, 1); expressions by name, float32 (V, 3), to be added with 0..1; quads int32 (Q, 4), of
    which a triangle repeats its last corner, and their materials' names (Q,)."""

    neutral: np.ndarray
    identities: np.ndarray
    expressions: dict[str, np.ndarray]
    quads: np.ndarray
    materials: np.ndarray


def read_head(source: str | Path) -> ScannedHead:
    """The head in a FaceXModel folder, or in a folder with shapes.npz (V0 (V, 3), I (N, V, 3), E (M, V, 3),
    ex M names) and topology.npz (q (Q, 4), mats Q names), fields as in `ScannedHead`.

    Raises:
        Lip2SpeechError: the folder has neither, lacks a shape, or is damaged.
    """
    folder = Path(source)
    try:
        head = _read_head(folder)
        vertices, quads = head.neutral, head.quads
        whole = vertices.shape[1:] == (3,) and quads.shape == (len(head.materials), 4)
        whole = whole and 0 <= quads.min() <= quads.max() < len(vertices)
    except Lip2SpeechError:
        raise
    except (EOFError, IndexError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise Lip2SpeechError(f"The head in {folder} is damaged ({error}): copy it again.") from error
    if not whole:
        raise Lip2SpeechError(f"The head in {folder} is damaged (faces of no vertices): copy it again.")
    return head


def _read_head(folder: Path) -> ScannedHead:
    if (folder / "shapes.npz").is_file() and (folder / "topology.npz").is_file():
        shapes, topology = np.load(folder / "shapes.npz"), np.load(folder / "topology.npz")
        names = [str(name) for name in shapes["ex"]]
        missing = set(MOUTH_SHAPES) - set(names)
        if missing:
            raise Lip2SpeechError(f"{folder}/shapes.npz lacks the shapes {', '.join(sorted(missing))}.")
        expressions = {name: shapes["E"][names.index(name)].astype(np.float32) for name in MOUTH_SHAPES}
        identities = shapes["I"][:IDENTITIES].astype(np.float32)
        return ScannedHead(shapes["V0"], identities, expressions, topology["q"], topology["mats"])
    neutral_file = folder / "generic_neutral_mesh.obj"
    if not neutral_file.is_file():
        raise Lip2SpeechError(
            f"{folder} has neither generic_neutral_mesh.obj nor shapes.npz and topology.npz: give the folder "
            "FaceXModel of a clone of https://github.com/ICT-VGL/ICT-FaceKit."
        )
    neutral, quads, materials = _read_obj(neutral_file)
    identities = sorted(folder.glob("identity*.obj"))[:IDENTITIES]
    missing = [name for name in MOUTH_SHAPES if not (folder / f"{name}.obj").is_file()]
    if missing or not identities:
        raise Lip2SpeechError(
            f"{folder} lacks {', '.join(missing) or 'identity*.obj'}: clone the repository whole."
        )
    return ScannedHead(
        neutral,
        np.stack([_read_obj(file)[0] - neutral for file in identities]),
        {name: _read_obj(folder / f"{name}.obj")[0] - neutral for name in MOUTH_SHAPES},
        quads,
        materials,
    )


def _read_obj(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, quads and their materials of a Wavefront .obj file."""
    vertices, quads, materials, material = [], [], [], ""
    for line in file.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(number) for number in rest.split()[:3]])
        elif kind == "usemtl":
            material = rest.strip()
        elif kind == "f":
            corners = [int(corner.partition("/")[0]) - 1 for corner in rest.split()]
            quads.append((corners + corners[-1:])[:4])
            materials.append(material)
    return np.array(vertices, np.float32), np.array(quads, np.int32), np.array(materials)


class Person:
    """A random person: identity, skin, light, pose and camera, drawn as mouth crops.

    Args:
        head: the shapes.
        random: draws everything.
    """

    def __init__(self, head: ScannedHead, random: np.random.Generator):
        coefficients = np.clip(random.normal(size=len(head.identities)), -2, 2)
        self.rest = head.neutral + np.tensordot(coefficients.astype(np.float32), head.identities, axes=1)
        self.shapes = np.stack([head.expressions[name] for name in MOUTH_SHAPES])
        self.yaw, self.pitch, self.distance = (
            random.uniform(-0.25, 0.25),
            random.uniform(-0.15, 0.15),
            random.uniform(60, 160),
        )
        self.sway = random.uniform(0.2, 0.9, 2), random.uniform(0, 2 * np.pi, 2), random.uniform(0.0, 0.06, 2)
        self._choose_quads(head)
        self._paint(head, random)
        self._light(random)

    def _choose_quads(self, head: ScannedHead) -> None:
        """Quads that a mouth crop can show: the lower face in front, teeth, gums and tongue."""
        marks = head.neutral[LANDMARKS]
        mouth, eyes = marks[MOUTH].mean(0), marks[[36, 45]].mean(0)
        centres = head.neutral[head.quads].mean(1)
        reach = 1.6 * (eyes[1] - mouth[1])
        near = (np.abs(centres[:, 1] - mouth[1]) < reach) & (centres[:, 2] > mouth[2] - 14)
        skin, inside = np.isin(head.materials, SKIN), np.isin(head.materials, INSIDE)
        kept = near & (skin | inside)
        quads = head.quads[kept]
        used, corners = np.unique(quads, return_inverse=True)
        self.used, self.quads, self.inside = used, corners.reshape(-1, 4), inside[kept]
        self.teeth = (head.materials == "M_Teeth")[kept]

    def _paint(self, head: ScannedHead, random: np.random.Generator) -> None:
        """The albedo of every vertex used, 0..1."""
        points = head.neutral[self.used]
        skin = random.uniform(0.3, 0.8)
        albedo = np.full(len(points), skin)
        for size, strength in ((4.0, 0.05), (1.2, 0.05), (0.4, 0.04)):  # blotches of skin
            waves = random.normal(size=(12, 3)) / size
            phases = random.uniform(0, 2 * np.pi, 12)
            albedo *= 1 + strength * random.uniform(0, 1) * np.cos(points @ waves.T + phases).mean(1) * 2
        outline = head.neutral[LANDMARKS[OUTER_LIPS], :2].astype(np.float32)
        depth = np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y, _ in points])
        lips = 1 / (1 + np.exp(-8 * depth - 1))
        front = points[:, 2] > head.neutral[LANDMARKS[MOUTH], 2].mean() - 3
        albedo *= 1 - random.uniform(0.1, 0.45) * lips * front
        nose, chin = head.neutral[LANDMARKS[33]], head.neutral[LANDMARKS[8]]
        if random.random() < 0.25:  # a beard's or moustache's shadow
            below = np.clip((nose[1] - points[:, 1]) / 1.0, 0, 1) * (1 - lips)
            if random.random() < 0.3:
                below *= points[:, 1] > head.neutral[LANDMARKS[MOUTH], 1].max() - 0.3
            grain = 1 + 0.3 * random.normal(size=len(points))
            albedo *= 1 - random.uniform(0.1, 0.6) * below * np.clip(grain, 0, 2) * (
                points[:, 1] > chin[1] - 4
            )
        self.albedo = np.clip(albedo, 0.03, 1)[self.quads].mean(1)
        gums = random.uniform(0.25, 0.45)
        self.albedo[self.inside] = gums
        self.albedo[self.teeth] = random.uniform(0.7, 1.0)
        self.cavity = random.uniform(0.4, 1.2)  # how fast it gets dark inside

    def _light(self, random: np.random.Generator) -> None:
        """Two lights and the room's; the background."""
        angles = random.uniform([-1.2, -0.3], [1.2, 1.0], (2, 2))
        self.lights = np.stack(
            [
                np.sin(angles[:, 0]) * np.cos(angles[:, 1]),
                np.sin(angles[:, 1]),
                np.cos(angles[:, 0]) * np.cos(angles[:, 1]),
            ],
            1,
        )
        self.strengths = np.array([random.uniform(0.3, 0.8), random.uniform(0, 0.4)])
        self.ambient, self.shine = random.uniform(0.25, 0.6), random.uniform(0, 0.25)
        self.background = random.uniform(0, 1, 3) * 255

    def project(self, weights: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """All vertices with these weights of `MOUTH_SHAPES`: turned (V, 3) and projected (V, 2)."""
        vertices = self.rest + np.tensordot(weights.astype(np.float32), self.shapes, axes=1)
        rate, phase, size = self.sway
        yaw, pitch = np.array([self.yaw, self.pitch]) + size * np.sin(2 * np.pi * rate * time + phase)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        turned = vertices @ (nod @ turn).T.astype(np.float32)
        nearness = self.distance / (self.distance - turned[:, 2])
        return turned, turned[:, :2] * nearness[:, None] * [1, -1]

    def anchors(self, flat: np.ndarray) -> np.ndarray:
        """The points that place the crop, (6, 2), of projected vertices."""
        marks = flat[LANDMARKS]
        return np.vstack([marks[STABLE], marks[MOUTH].mean(0)])

    def draw(
        self, weights: np.ndarray, time: float, anchors: np.ndarray | None = None, size: int = MOUTH_SIZE
    ) -> np.ndarray:
        """A gray picture uint8 (size, size) about the mouth, at the crops' scale.

        Args:
            weights: of `MOUTH_SHAPES`, (20,), 0..1.
            time: seconds; the head sways.
            anchors: the smoothed points that place the crop; default: this frame's.
        """
        turned, flat = self.project(weights, time)
        to_crop = invert_affine(crop_matrix(self.anchors(flat) if anchors is None else anchors))
        places = apply_affine(to_crop, flat[self.used]) + (size - MOUTH_SIZE) / 2
        points, quads = turned[self.used], self.quads
        a, b, c, d = (points[quads[:, corner]] for corner in range(4))
        normals = np.cross(c - a, d - b)
        smooth = np.zeros_like(points)
        for corner in range(4):
            np.add.at(smooth, quads[:, corner], normals)
        smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-9
        facing = normals[:, 2] > 0
        centre = places[quads].mean(1)
        margin = 12
        seen = facing & (centre > -margin).all(1) & (centre < size + margin).all(1)
        light = self.ambient + (np.clip(smooth @ self.lights.T, 0, None) * self.strengths).sum(1)
        middle = self.lights[0] + [0, 0, 1]
        shine = self.shine * np.clip(smooth @ (middle / np.linalg.norm(middle)), 0, 1) ** 12
        values = light[quads].mean(1) * self.albedo + np.where(self.inside & ~self.teeth, 0.3, 1) * shine[
            quads
        ].mean(1)
        depth = points[quads, 2].mean(1)
        lips = turned[LANDMARKS[MOUTH], 2].mean()
        behind = np.clip(lips - depth[self.inside], 0, None)
        values[self.inside] *= np.exp(-self.cavity * behind / np.where(self.teeth[self.inside], 5, 2.5))
        order = np.flatnonzero(seen)
        order = order[np.argsort((depth - self.inside)[order], kind="stable")]  # teeth do not pierce lips
        picture = self._background(size)
        corners = np.round(places[quads[order]] * SCALE * 16 + (SCALE - 1) * 8).astype(np.int32)
        grays = np.clip(255 * values[order], 0, 255).tolist()
        for corner, gray in zip(corners, grays, strict=True):
            cv2.fillConvexPoly(picture, corner, gray, cv2.LINE_8, 4)
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

    def _background(self, size: int) -> np.ndarray:
        first, second, third = self.background
        x = np.linspace(0, 1, size * SCALE)
        return np.clip(first + (second - first) * x + (third - first) * x[:, None], 0, 255).astype(np.uint8)


def mouth_motion(
    frames: Iterable[np.ndarray], detector: LandmarkDetector, name: str = "the video"
) -> np.ndarray:
    """Lip and chin points of a video's largest face against its closed mouth, float64 (T, 21, 2).

    They are at the scale of the mean face, 74 pixels from eye to eye.

    Raises:
        NoFaceError: fewer than half of the frames show a face.
    """
    detector.reset()
    found, points = [], []
    count = 0
    for index, frame in enumerate(frames):
        count = index + 1
        faces = detector(frame)
        if faces:
            face = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
            found.append(index)
            points.append(
                apply_affine(similarity_transform(face.points[STABLE_POINTS], MEAN_FACE), face.points[MESH])
            )
    if 2 * len(found) < max(count, 1):
        raise NoFaceError(f"{name} shows a face in {len(found)} of {count} frames: expected a talking face.")
    flat = np.stack(points).reshape(len(points), -1)
    places = np.stack([np.interp(np.arange(count), found, column) for column in flat.T], 1).reshape(
        count, -1, 2
    )
    opening = (places[:, LOWER] - places[:, UPPER])[..., 1].mean(1)
    closed = places[np.argsort(opening)[: max(1, round(CLOSED * count))]].mean(0)
    return places - closed


def shape_weights(motion: np.ndarray, person: Person, gain: float = 1.0) -> np.ndarray:
    """Weights (T, N) in 0..1 of `MOUTH_SHAPES` that move the lips as the motion (T, 21, 2) does: least
    squares with a small ridge."""
    marks = person.rest[LANDMARKS]
    scale = np.linalg.norm(similarity_transform(marks[STABLE, :2] * [1, -1], MEAN_FACE)[:, :2], axis=0).mean()
    basis = scale * person.shapes[:, LANDMARKS[MARKS], :2] * [1, -1]  # (N, 21, 2)
    basis = (basis * WEIGHTS[:, None]).reshape(len(basis), -1)
    target = gain * (motion * WEIGHTS[:, None]).reshape(len(motion), -1)
    normal = basis @ basis.T
    normal += RIDGE * np.diag(np.diag(normal)).mean() * np.eye(len(basis)) / len(basis)
    step, wanted = 1 / np.linalg.eigvalsh(normal)[-1], target @ basis.T
    weights = np.zeros((len(motion), len(basis)))
    ahead, momentum = weights, 1.0
    for _ in range(STEPS):  # accelerated projected gradient (Beck and Teboulle, 2009)
        following = np.clip(ahead - step * (ahead @ normal - wanted), 0, 1)
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / faster * (following - weights)
        weights, momentum = following, faster
    return weights


def drawn_crops(motion: np.ndarray, person: Person, gain: float = 1.0) -> np.ndarray:
    """Mouth crops uint8 (T, 96, 96) of a person who articulates as the motion (T, 21, 2) does."""
    weights, times = shape_weights(motion, person, gain), np.arange(len(motion)) / FRAME_RATE
    anchors = np.stack(
        [person.anchors(person.project(one, time)[1]) for one, time in zip(weights, times, strict=True)]
    )
    half = SMOOTHING_WINDOW // 2
    smooth = [anchors[max(0, index - half) : index + half].mean(0) for index in range(len(anchors))]
    return np.stack([person.draw(*frame) for frame in zip(weights, times, smooth, strict=True)])
