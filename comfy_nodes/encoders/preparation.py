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


@dataclass(frozen=True, slots=True)
class Preparation:
    """`shortest` is the shorter side after resizing, None to stretch to `height` x `width`; then the middle is cut."""

    height: int
    width: int
    shortest: int | None
    resample: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pictures: Sequence[Picture]) -> npt.NDArray[np.float32]:
        """N x 3 x height x width."""
        batch = np.stack([self._one(picture) for picture in pictures])
        normal = (batch - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2), np.float32)

    def _one(self, picture: Picture) -> npt.NDArray[np.float32]:
        height, width = self.height, self.width
        if self.shortest is not None:
            scale = self.shortest / min(picture.shape[:2])
            height, width = (max(self.shortest, round(size * scale)) for size in picture.shape[:2])
        resized = _resize(picture, height, width, _RESAMPLING.get(self.resample, Image.Resampling.BICUBIC))
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return resized[top : top + self.height, left : left + self.width]


def preparation(processor: Mapping[str, Any], config: Mapping[str, Any]) -> Preparation:
    """What preprocessor_config.json says, else the size of config.json."""
    size = _size(processor.get("size"), config)
    crop = _size(processor.get("crop_size"), config) if processor.get("do_center_crop") else None
    stretched = "shortest_edge" not in size
    height, width = size.get("height", 0), size.get("width", 0)
    if crop is not None and not stretched:
        height, width = crop.get("height", size["shortest_edge"]), crop.get("width", size["shortest_edge"])
    elif not stretched:
        height = width = size["shortest_edge"]
    return Preparation(
        height=height,
        width=width,
        shortest=None if stretched else max(size["shortest_edge"], height, width),
        resample=int(processor.get("resample", 3)),
        mean=tuple(processor.get("image_mean") or (0.5, 0.5, 0.5)),
        std=tuple(processor.get("image_std") or (0.5, 0.5, 0.5)),
    )


def _size(size: Any, config: Mapping[str, Any]) -> dict[str, int]:
    if isinstance(size, Mapping) and size:
        return {name: int(pixels) for name, pixels in size.items()}
    if not isinstance(size, int):
        vision = config.get("vision_config") or config.get("encoder") or config
        size = int(vision.get("image_size", 224))
    return {"height": size, "width": size}


def _resize(picture: Picture, height: int, width: int, filter_: Image.Resampling) -> npt.NDArray[np.float32]:
    """Each channel in float, so that no rounding depends on the platform."""
    channels = [Image.fromarray(picture[..., channel].astype(np.float32)) for channel in range(3)]
    resized = [np.asarray(channel.resize((width, height), filter_), np.float32) for channel in channels]
    return np.clip(np.stack(resized, axis=-1), 0, 1)
