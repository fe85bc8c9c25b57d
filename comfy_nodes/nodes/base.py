"""What every scoring node has in common: images go in, are judged one by one, and go on as they came.

A score that cannot be had is a Failed with the reason, for one image or for all; the run goes on. Only two things end
it: somebody cancelled it, or the graph is wrong, which ComfyUI finds before it starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..encoders import MissingWeights
from ..internals.running import is_interruption, stop_if_interrupted
from ..measures import Broken, Measure, Measured, Unscorable
from ..measures.picture import Picture, Plane, prepare
from ..scores import Failed, Score, judged

log = logging.getLogger("comfyfleet")

Judge = Callable[[Picture, int], Measured]
"""Judges one picture; the number is its place in the batch."""


class Scorer:
    """A node that scores. Subclasses say what with, name their further inputs, and make a Judge of these."""

    MEASURE: ClassVar[Measure]

    CATEGORY = "fleet/quality"
    FUNCTION = "score"
    RETURN_TYPES = ("IMAGE", "FLEET_SCORE")
    RETURN_NAMES = ("images", "score")
    OUTPUT_TOOLTIPS = (
        "The images, unchanged.",
        "A value of 0 to 1 for each image, 1 is best. Connect it to a Score Report or a Score Gate.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        further = cls.further_inputs()
        images = ("IMAGE", {"tooltip": "The images to judge, each by itself."})
        return {"required": {"images": images, **further.get("required", {})}, "optional": further.get("optional", {})}

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        """Inputs beside the images, as INPUT_TYPES has them."""
        return {}

    def judge(self, *_: Any, **inputs: Any) -> Judge:
        """The judge of these inputs. What this raises fails the score of all images, what the judge raises of one."""
        raise NotImplementedError

    def judge_batch(self, images: Any, *_: Any, **inputs: Any) -> Judge:
        """As judge, for those that look at the images of a batch together."""
        return self.judge(**inputs)

    def score(self, images: Any, **inputs: Any) -> tuple[Any, tuple[Score, ...]]:
        """ComfyUI's call. Shapes: images is B x H x W x C, a mask B x H x W, both also with a B of 1 for all."""
        began = perf_counter()
        judge = _guarded(self.MEASURE, lambda: self.judge_batch(images, **inputs))
        found = [
            judge if isinstance(judge, Failed) else self._judged(judge, images[index], index)
            for index in range(len(images))
        ]
        return images, (Score(self.MEASURE, tuple(found), perf_counter() - began),)

    def _judged(self, judge: Judge, image: Any, index: int) -> Measured | Failed:
        stop_if_interrupted()
        answer = _guarded(self.MEASURE, lambda: judge(prepare(to_array(image)), index))
        return answer if isinstance(answer, Failed) else judged(answer)


def _guarded(measure: Measure, call: Callable[[], Any]) -> Any:
    """What the call answers, or why there is no answer."""
    try:
        return call()
    except Broken as broken:
        return Measured(0.0, None, str(broken))
    except (Unscorable, MissingWeights) as reason:
        return Failed(str(reason))
    except Exception as error:
        if is_interruption(error):
            raise
        log.warning("%s could not be scored", measure.dimension, exc_info=True)
        return Failed(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def to_array(tensor: Any) -> npt.NDArray[Any]:
    """A tensor as an array, from whatever device and in whatever precision."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    return np.asarray(tensor)


def sound(images: Any) -> dict[int, Picture]:
    """The images that are pictures, by their place in the batch. The others are judged one by one, and found broken."""
    there: dict[int, Picture] = {}
    for index in range(len(images)):
        try:
            there[index] = prepare(to_array(images[index]))
        except Unscorable:
            continue
    return there


def pictures_of(images: Any) -> list[Picture]:
    """All of a batch. Raises Unscorable if one is no picture."""
    return [prepare(to_array(images[index])) for index in range(len(images))]


def picture_at(images: Any, index: int) -> Picture:
    """The picture of a batch that belongs to the image at `index`: the only one, or that at the same place."""
    return prepare(to_array(_at(images, index, "references")))


def mask_at(masks: Any, index: int) -> Plane:
    """The mask that belongs to the image at `index`."""
    return to_array(_at(masks if masks.ndim == 3 else masks[None], index, "masks"))


def mask_if_any(masks: Any, index: int) -> Plane | None:
    """As mask_at; None where no masks are connected."""
    return None if masks is None else mask_at(masks, index)


def _at(batch: Any, index: int, what: str) -> Any:
    if len(batch) == 1:
        return batch[0]
    if index >= len(batch):
        raise Unscorable(
            f"image {index + 1} has none of the {len(batch)} {what}: give one for all, or one for each image"
        )
    return batch[index]
