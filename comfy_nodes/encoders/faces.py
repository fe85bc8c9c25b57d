# pyright: reportMissingImports=false
"""Finds faces and turns them into vectors, with the ONNX files of an InsightFace pack.

On the CPU: onnxruntime's memory on a GPU is outside ComfyUI's care, and a score must not push the sampler's model out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..measures.faces import Face, Floats, align, decode
from ..measures.picture import Picture, resize
from . import MissingWeights

_DETECTORS = ("det_10g.onnx", "scrfd_10g_bnkps.onnx", "det_500m.onnx", "det_2.5g.onnx")
_RECOGNISERS = ("w600k_r50.onnx", "glintr100.onnx", "w600k_mbf.onnx")
_SIDE = 640  # px, square, that the detector looks at
_OUTPUTS = 9  # scores, boxes and landmarks, of three strides

Session = Callable[[Floats], "list[Floats]"]
"""A network: one batch in, its outputs out."""


class FaceEncoder:
    """A detector and, unless only boxes are wanted, a recogniser."""

    def __init__(self, detector: Session, recogniser: Session) -> None:
        self._detector = detector
        self._recogniser = recogniser

    def find(self, picture: Picture) -> list[Face]:
        """All faces, the surest first, without vectors."""
        scale = _SIDE / max(picture.shape[:2])
        height, width = (max(1, round(size * scale)) for size in picture.shape[:2])
        square = np.zeros((_SIDE, _SIDE, 3), np.float32)
        square[:height, :width] = resize(picture, height, width)
        outputs = self._detector(_batch(square, 127.5, 128.0))
        if len(outputs) != _OUTPUTS:
            raise MissingWeights(
                f"the detector has {len(outputs)} outputs, and a SCRFD with landmarks {_OUTPUTS}: put {_DETECTORS[0]} "
                "(InsightFace's buffalo_l) there"
            )
        return decode(outputs, _SIDE, scale)

    def embed(self, picture: Picture) -> list[Face]:
        """All faces, with vectors."""
        return [replace(face, vector=self._vector(picture, face)) for face in self.find(picture)]

    def _vector(self, picture: Picture, face: Face) -> Floats:
        [vector] = self._recogniser(_batch(align(picture, face.landmarks), 127.5, 127.5))[0]
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


@lru_cache(1)
def face_encoder(pack: Path) -> FaceEncoder:
    """That of a pack, read once. Raises MissingWeights."""
    return FaceEncoder(_session(_file(pack, _DETECTORS)), _session(_file(pack, _RECOGNISERS)))


def _file(pack: Path, names: tuple[str, ...]) -> Path:
    found = next((pack / name for name in names if (pack / name).is_file()), None)
    if found is None:
        raise MissingWeights(f"{pack.name} has none of {', '.join(names)}: put one of them into {pack}")
    return found


def _session(path: Path) -> Session:
    try:
        import onnxruntime
    except ImportError:
        raise MissingWeights(
            f"onnxruntime is not installed, and {path.name} needs it: run pip install onnxruntime in ComfyUI's Python"
        ) from None
    try:
        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise MissingWeights(f"{path.parent.name}/{path.name} cannot be read: put it there again ({error})") from error
    [given] = session.get_inputs()
    return lambda batch: session.run(None, {given.name: batch})


def _batch(picture: Picture, mean: float, std: float) -> Floats:
    """1 x 3 x H x W, from 0..1 by way of 0..255."""
    return np.ascontiguousarray(((picture * 255 - mean) / std).transpose(2, 0, 1)[None], np.float32)
