"""Pictures as a network wants them: size, crop and normalisation by its preprocessor_config.json. Pure.

Done here and not by transformers' processors: these change between versions, and a score must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..measures.picture import Picture

_RESAMPLING = {2: Image.Resampling.BILINEAR, 3: Image.Resampling.BICUBIC, 1: Image.Resampling.LANCZOS}


Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The picture is resized, to `resized` or so that its shorter side is that many px; then the middle is cut."""

    resized: Size | int
    cut: Size
    resample: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pictures: Sequence[Picture]) -> npt.NDArray[np.float32]:
        """N x 3 x height x width."""
        batch = np.stack([self._one(picture) for picture in pictures])
        normal = (batch - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2), np.float32)

    def _one(self, picture: Picture) -> npt.NDArray[np.float32]:
        height, width = self.resized if isinstance(self.resized, tuple) else _scaled(picture, self.resized)
        resized = _resize(picture, height, width, _RESAMPLING.get(self.resample, Image.Resampling.BICUBIC))
        top, left = (height - self.cut[0]) // 2, (width - self.cut[1]) // 2
        return resized[top : top + self.cut[0], left : left + self.cut[1]]


def preparation(processor: Mapping[str, Any], config: Mapping[str, Any]) -> Preparation:
    """What preprocessor_config.json says, else the size of config.json. A size that is one number, as older files have
    it, is the shorter side where the middle is cut, and both sides where not."""
    cuts = bool(processor.get("do_center_crop"))
    resized = _size(processor.get("size") or _image_size(config), shorter=cuts)
    wanted = _size(processor.get("crop_size") or resized, shorter=False) if cuts else resized
    cut = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    if not isinstance(resized, tuple):
        resized = max(resized, *cut)
    normal = processor.get("do_normalize", True)
    return Preparation(
        resized=resized,
        cut=cut,
        resample=int(processor.get("resample", 3)),
        mean=tuple(processor.get("image_mean") or (0.5, 0.5, 0.5)) if normal else (0.0, 0.0, 0.0),
        std=tuple(processor.get("image_std") or (0.5, 0.5, 0.5)) if normal else (1.0, 1.0, 1.0),
    )


def _size(said: Any, *, shorter: bool) -> Size | int:
    """Both sides, or the shorter one. `shorter`: a mere number is that."""
    if isinstance(said, Mapping):
        both = "height" in said and "width" in said
        return (int(said["height"]), int(said["width"])) if both else int(said["shortest_edge"])
    if isinstance(said, tuple):
        return said[0], said[1]
    return int(said) if shorter else (int(said), int(said))


def _image_size(config: Mapping[str, Any]) -> int:
    vision = config.get("vision_config") or config.get("encoder") or config
    return int(vision.get("image_size", 224))


def _scaled(picture: Picture, shortest: int) -> Size:
    scale = shortest / min(picture.shape[:2])
    height, width = (max(shortest, round(size * scale)) for size in picture.shape[:2])
    return height, width


def _resize(picture: Picture, height: int, width: int, filter_: Image.Resampling) -> npt.NDArray[np.float32]:
    """Each channel in float, so that no rounding depends on the platform."""
    channels = [Image.fromarray(picture[..., channel].astype(np.float32)) for channel in range(3)]
    resized = [np.asarray(channel.resize((width, height), filter_), np.float32) for channel in channels]
    return np.clip(np.stack(resized, axis=-1), 0, 1)
