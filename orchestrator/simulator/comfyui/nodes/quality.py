"""Stand-ins for the node pack's scorers, whose scores a test chooses by the colour of the picture's first pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from orchestrator.simulator.comfyui.nodes.registry import Shown, node
from orchestrator.simulator.comfyui.run import Run
from orchestrator.simulator.comfyui.values import Images

Score = dict[str, Any]
UNSCORABLE = 255
"""Red in the first pixel of a picture that no scorer can score."""


@node("FleetSharpness")
def sharpness(run: Run, images: Images) -> tuple[Images, Score]:
    """As sharp as it is green."""
    return images, _score("sharpness", images, lambda pixel: pixel[1] / 255)


@node("FleetArtifacts")
def artifacts(run: Run, images: Images) -> tuple[Images, Score]:
    """As clean as it is blue."""
    return images, _score("artifacts", images, lambda pixel: pixel[2] / 255)


@node("FleetReferenceSimilarity")
def reference_similarity(run: Run, images: Images, reference: Images) -> tuple[Images, Score]:
    """As similar as the first pixels are."""
    wanted = _first_pixel(reference[0])

    def similar(pixel: tuple[int, ...]) -> float:
        return 1 - max(abs(one - other) for one, other in zip(pixel, wanted, strict=True)) / 255

    return images, _score("reference_similarity", images, similar)


@node("FleetReport")
def report(run: Run, **scores: Score) -> Shown:
    return Shown((), {"fleet_report": ({"version": 1, "scores": list(scores.values())},)})


def _score(dimension: str, images: Images, value: Callable[[tuple[int, ...]], float]) -> Score:
    found = [_of_image(_first_pixel(image), value) for image in images]
    return {"dimension": dimension, "measure": f"{dimension}/1", "unit": "", "seconds": 0.001, "images": found}


def _of_image(pixel: tuple[int, ...], value: Callable[[tuple[int, ...]], float]) -> dict[str, Any]:
    if pixel[0] == UNSCORABLE:
        return {"value": None, "raw": None, "reason": "no weights"}
    return {"value": value(pixel), "raw": value(pixel), "reason": ""}


def _first_pixel(image: Image.Image) -> tuple[int, ...]:
    pixel = image.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(channel) for channel in pixel)
