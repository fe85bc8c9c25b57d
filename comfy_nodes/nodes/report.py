"""What happens with scores inside a graph: they are reported, and images are let through or not."""

from __future__ import annotations

from typing import Any

from ..internals.running import blocked
from ..scores import Score, as_text, parse_thresholds, passing, report

_SHOWN = 12


class FleetReport:
    """Gathers FLEET_SCOREs and writes them into ComfyUI's history, as `fleet_report`: [score report]."""

    CATEGORY = "fleet/quality"
    FUNCTION = "gather"
    OUTPUT_NODE = True
    RETURN_TYPES = ("FLEET_SCORE", "STRING")
    RETURN_NAMES = ("scores", "text")
    OUTPUT_TOOLTIPS = (
        "All scores together, for a Score Gate or another Score Report.",
        "The scores as a person reads them, for a node that shows text.",
    )
    DESCRIPTION = (
        "Writes scores into the run's history and sends them to whoever listens. Scores of more than "
        f"{_SHOWN} nodes: connect one report to the next."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        tooltip = {"tooltip": "The scores of any node of fleet/quality, or of another report."}
        further = {f"score_{number}": ("FLEET_SCORE", tooltip) for number in range(2, _SHOWN + 1)}
        return {"required": {"score_1": ("FLEET_SCORE", tooltip)}, "optional": further}

    def gather(self, **inputs: tuple[Score, ...]) -> dict[str, Any]:
        """ComfyUI's call. A graph in API format may connect more inputs score_N than the editor shows."""
        ordered = sorted(inputs, key=lambda name: int(name.removeprefix("score_")))
        scores = tuple(score for name in ordered for score in inputs[name])
        return {"ui": {"fleet_report": [report(scores)]}, "result": (scores, as_text(scores))}


class FleetGate:
    """Lets through the images that reach all thresholds. What is not needed is not computed."""

    CATEGORY = "fleet/quality"
    FUNCTION = "decide"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_TOOLTIPS = (
        "The images that passed, or those of `otherwise` if none did. If there is neither, what follows is skipped.",
    )
    DESCRIPTION = (
        "Passes the images that reach every threshold. `images` may be the end of a costly branch (an upscaler) behind "
        "the images that were scored: it is computed only if one of them passes, `otherwise` only if none does."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        thresholds = {
            "default": "sharpness: 0.35\nartifacts: 0.6", "multiline": True,
            "tooltip": "DIMENSION: VALUE, one a line. An image passes if it reaches all of them.",
        }  # fmt: skip
        unscored = {
            "default": "block",
            "tooltip": "What becomes of an image where a scorer failed: block it, or pass it.",
        }
        images = {"lazy": True, "tooltip": "What is passed on: as many images as were scored, in the same order."}
        otherwise = {"lazy": True, "tooltip": "What is passed on if no image passes, such as another attempt."}
        return {
            "required": {
                "scores": ("FLEET_SCORE", {"tooltip": "Of one scoring node, or of a Score Report."}),
                "thresholds": ("STRING", thresholds),
                "unscored": (["block", "pass"], unscored),
                "images": ("IMAGE", images),
            },
            "optional": {"otherwise": ("IMAGE", otherwise)},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, thresholds: str | None = None) -> bool | str:
        """Before the run; a text that comes from another node is None here."""
        try:
            if thresholds is not None:
                parse_thresholds(thresholds)
        except ValueError as error:
            return str(error)
        return True

    def check_lazy_status(self, scores: tuple[Score, ...], thresholds: str, unscored: str, **lazy: Any) -> list[str]:
        """Which of the lazy inputs is needed and not there yet; one that is not connected is not in `lazy`."""
        needed = "images" if any(_passed(scores, thresholds, unscored)) else "otherwise"
        return [needed] if needed in lazy and lazy[needed] is None else []

    def decide(
        self, scores: tuple[Score, ...], thresholds: str, unscored: str, images: Any = None, otherwise: Any = None
    ) -> tuple[Any]:
        """ComfyUI's call: those of `images` that passed. Raises ValueError if they are not as many as were scored."""
        passed = _passed(scores, thresholds, unscored)
        if not any(passed):
            return (blocked() if otherwise is None else otherwise,)
        if len(images) != len(passed):
            raise ValueError(f"{len(images)} images came and {len(passed)} were scored: connect as many as were scored")
        return (images[[index for index, passes in enumerate(passed) if passes]],)


def _passed(scores: tuple[Score, ...], thresholds: str, unscored: str) -> list[bool]:
    count = max((len(score.images) for score in scores), default=0)
    return passing(scores, parse_thresholds(thresholds), count, unscored_pass=unscored == "pass")
