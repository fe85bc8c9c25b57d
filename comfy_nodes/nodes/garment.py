"""FleetGarmentAccuracy: pixels are enough for it, and an encoder's opinion joins if there is one."""

from __future__ import annotations

from typing import Any

from ..encoders import files
from ..measures import Measured, garment_accuracy
from ..measures.picture import Picture
from .base import Judge, mask_at, mask_if_any, picture_at
from .encoded import EncodedScorer, choice, likeness

_ONE_FOR_ALL = "one for all images, or one for each"


class FleetGarmentAccuracy(EncodedScorer):
    """Dominant colours, details of the pattern and, if chosen, an encoder's likeness, of what two masks cover."""

    MEASURE = garment_accuracy.MEASURE
    DESCRIPTION = "Whether it is the same garment or product as in the reference, in another pose and scene."

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        mask = {"tooltip": f"Where the garment is in the images: {_ONE_FOR_ALL}."}
        reference = {"tooltip": f"The garment as it should be: {_ONE_FOR_ALL}."}
        reference_mask = {"tooltip": "Where it is in the reference. None: the reference shows it alone."}
        explanation = "A CLIP, SigLIP or DINOv2 folder in models/quality. none: colours and pattern alone."
        options, explained = choice(files.listed(files.IMAGE), explanation)
        return {
            "required": {"mask": ("MASK", mask), "reference": ("IMAGE", reference)},
            "optional": {
                "reference_mask": ("MASK", reference_mask),
                "encoder": (options, {**explained, "default": files.NONE}),
            },
        }

    def judge(self, mask: Any, reference: Any, reference_mask: Any = None, encoder: str = files.NONE) -> Judge:
        def judge(picture: Picture, index: int) -> Measured:
            worn = garment_accuracy.cut_out(picture, mask_at(mask, index), "mask")
            wanted_mask = mask_if_any(reference_mask, index)
            wanted = garment_accuracy.cut_out(picture_at(reference, index), wanted_mask, "reference_mask")
            alike = None if encoder == files.NONE else likeness(encoder, worn.picture, wanted.picture)
            return garment_accuracy.garment_accuracy(worn, wanted, alike)

        return judge
