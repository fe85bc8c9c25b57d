"""face_fidelity: whether the faces are those of the references; and the geometry of faces that it needs. Pure.

Boxes and landmarks come from SCRFD (Guo et al., "Sample and computation redistribution for efficient face detection",
ICLR 2022), vectors from ArcFace (Deng et al., CVPR 2019), which wants the eyes, nose and mouth in fixed places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from . import Measure, Measured, Unscorable, curve
from .picture import Picture

MEASURE = Measure("face_fidelity", "arcface", 1, "cosine")

CROP = 112
"""Pixels, square, of a face as ArcFace wants it."""

_PLACES = np.array(  # of eyes, nose and corners of the mouth in the crop: x, y
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_ANCHORS = 2
_STRIDES = (8, 16, 32)

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Face:
    """`box` is left, top, right, bottom in px; `landmarks` 5 x 2; `vector` of unit length."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: Floats
    vector: Floats | None = None


def face_fidelity(faces: Sequence[Floats], references: Sequence[Floats]) -> Measured:
    """`raw` is the cosine of the best pair. Same person: about 0.4 and more; others: about 0.2 and less."""
    if not len(references):
        raise Unscorable("there is no face in the references: give pictures that show it from the front")
    if not len(faces):
        return Measured(0.0, None, "there is no face in the image", {"faces": 0})
    cosines = np.stack(faces) @ np.stack(references).T
    raw = float(cosines.max())
    mean = float(cosines[cosines.max(axis=1).argmax()].mean())  # of that face with all references
    return Measured(curve.rising(raw, 0.2, 0.5), raw, details={"mean": mean, "faces": len(faces)})


def decode(outputs: Sequence[Floats], side: int, scale: float, threshold: float = 0.5) -> list[Face]:
    """Faces from the nine outputs of SCRFD (scores, boxes, landmarks, each of three strides) for a square of `side` px.

    `scale` is that of the square to the picture. Best first, without overlaps.
    """
    found: list[Face] = []
    for level, stride in enumerate(_STRIDES):
        scores, boxes, points = (outputs[level + 3 * part].reshape(-1, width) for part, width in enumerate((1, 4, 10)))
        cells = side // stride
        y, x = np.divmod(np.repeat(np.arange(cells * cells), _ANCHORS), cells)
        centres = np.stack([x, y], axis=1) * stride
        for index in np.flatnonzero(scores[:, 0] >= threshold):
            centre = centres[index]
            left_top, right_bottom = centre - boxes[index, :2] * stride, centre + boxes[index, 2:] * stride
            box = tuple(float(at) / scale for at in (*left_top, *right_bottom))
            landmarks = (centre + points[index].reshape(5, 2) * stride) / scale
            found.append(Face((box[0], box[1], box[2], box[3]), float(scores[index, 0]), landmarks))
    return _without_overlaps(sorted(found, key=lambda face: -face.score))


def align(picture: Picture, landmarks: Floats) -> Picture:
    """The face in its fixed place, CROP x CROP: by the similarity that fits best (Umeyama, PAMI 1991)."""
    centre, target = landmarks.mean(axis=0), _PLACES.mean(axis=0)
    source, wanted = landmarks - centre, _PLACES - target
    u, sizes, v = np.linalg.svd(wanted.T @ source)
    signs = np.array([1.0, np.sign(np.linalg.det(u @ v))])
    rotation = u @ np.diag(signs) @ v
    scale = float((sizes * signs).sum() / max(1e-9, (source**2).sum()))
    back = np.linalg.inv(scale * rotation)  # from the crop into the picture, x before y
    matrix = back[::-1, ::-1]
    mapping = np.column_stack((matrix, centre[::-1] - matrix @ target[::-1]))
    channels = [
        ndimage.affine_transform(picture[..., channel], mapping, output_shape=(CROP, CROP), order=1, mode="constant")
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1).astype(np.float32)


def around(picture: Picture, face: Face, margin: float = 0.2) -> Picture:
    """What is in the box of a face, and that share of its size around it."""
    left, top, right, bottom = face.box
    room = margin * max(right - left, bottom - top)
    height, width = picture.shape[:2]
    rows = slice(max(0, int(top - room)), min(height, int(bottom + room) + 1))
    columns = slice(max(0, int(left - room)), min(width, int(right + room) + 1))
    return picture[rows, columns]


def _without_overlaps(faces: Sequence[Face], most: float = 0.4) -> list[Face]:
    kept: list[Face] = []
    for face in faces:
        if all(_overlap(face.box, other.box) <= most for other in kept):
            kept.append(face)
    return kept


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)
