"""The scoring nodes that need no weights: each measures pixels, with the measure of its name."""

from __future__ import annotations

from typing import Any

from ..measures import (
    artifacts,
    background_consistency,
    brand_color,
    composition,
    reference_similarity,
    sharpness,
)
from .base import Judge, Scorer, mask_at, mask_if_any, picture_at

_REFERENCE = "one for all images, or one for each"
_COVERAGE = 0.02


class FleetSharpness(Scorer):
    """Edge spread where there is structure. Float32 B x H x W x C in, any size from 16 px."""

    MEASURE = sharpness.MEASURE
    DESCRIPTION = (
        "How narrow the edges are, in px, where there are edges: a smooth sky is not blurred. The sharpest part "
        "counts, so that a subject may stand before a blurred background; a mask says which subject."
    )

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        return {
            "optional": {"mask": ("MASK", {"tooltip": "Judge only what it covers, such as the subject. None: all."})}
        }

    def judge(self, mask: Any = None) -> Judge:
        return lambda picture, index: sharpness.sharpness(picture, mask_if_any(mask, index))


class FleetArtifacts(Scorer):
    """Blocks, banding, noise, specks, checkerboards, ringing, burnt colour, dead images. Any size from 16 px."""

    MEASURE = artifacts.MEASURE
    DESCRIPTION = (
        "Freedom from what no camera would have made: JPEG blocks, banding, noise, specks, the checkerboard of "
        "upsamplers, halos of over-sharpening, burnt colours. A black, broken or one-coloured image is worth 0."
    )

    def judge(self) -> Judge:
        return lambda picture, _: artifacts.artifacts(picture)


class FleetComposition(Scorer):
    """Presence, wholeness, placement and headroom of the subject. Any size from 16 px."""

    MEASURE = composition.MEASURE
    DESCRIPTION = (
        "Whether there is a subject, whether the border cuts it, and whether it stands in the centre or on the thirds. "
        "Without a mask the subject is what catches the eye."
    )

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        return {"optional": {"mask": ("MASK", {"tooltip": "The subject. None: what is salient is taken for it."})}}

    def judge(self, mask: Any = None) -> Judge:
        return lambda picture, index: composition.composition(picture, mask_if_any(mask, index))


class FleetBrandColor(Scorer):
    """CIEDE2000 between the brand's colours and the nearest that the image really has."""

    MEASURE = brand_color.MEASURE
    DESCRIPTION = "Whether each of the brand's colours is in the image, and not one that is nearly the same."

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        colors = {"default": "#FF5A00", "tooltip": "The brand's colours as #RRGGBB, with commas between."}
        coverage = {
            "default": _COVERAGE, "min": 0.0, "max": 1.0, "step": 0.005,
            "tooltip": "The share of the image (or of what the mask covers) that each colour fills at least.",
        }  # fmt: skip
        return {
            "required": {"colors": ("STRING", colors)},
            "optional": {
                "coverage": ("FLOAT", coverage),
                "mask": ("MASK", {"tooltip": "Look only at what it covers, such as the logo. None: all."}),
            },
        }

    def judge(self, colors: str, coverage: float = _COVERAGE, mask: Any = None) -> Judge:
        return lambda picture, index: brand_color.brand_color(picture, colors, coverage, mask_if_any(mask, index))


class FleetReferenceSimilarity(Scorer):
    """SSIM, gradient similarity and CIEDE2000 to a reference of the same framing."""

    MEASURE = reference_similarity.MEASURE
    DESCRIPTION = (
        "How close a render is to the picture it should look like, such as its keyshot: structure, edges, colour."
    )

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        tooltip = f"The picture to look like, in the same framing and in any resolution: {_REFERENCE}."
        return {"required": {"reference": ("IMAGE", {"tooltip": tooltip})}}

    def judge(self, reference: Any) -> Judge:
        def judge(picture: Any, index: int) -> Any:
            return reference_similarity.reference_similarity(picture, picture_at(reference, index))

        return judge


class FleetBackgroundConsistency(Scorer):
    """CIEDE2000 and SSIM to a reference outside a mask, and the seam of 3 px around it."""

    MEASURE = background_consistency.MEASURE
    DESCRIPTION = "That nothing changed outside the subject, and that the subject has no halo."

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        reference = f"The picture with the background as it should be, in the same framing: {_REFERENCE}."
        mask = f"The subject, which may have changed: {_REFERENCE}."
        return {"required": {"reference": ("IMAGE", {"tooltip": reference}), "mask": ("MASK", {"tooltip": mask})}}

    def judge(self, reference: Any, mask: Any) -> Judge:
        def judge(picture: Any, index: int) -> Any:
            there, subject = picture_at(reference, index), mask_at(mask, index)
            return background_consistency.background_consistency(picture, there, subject)

        return judge
