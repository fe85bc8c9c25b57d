"""Which encoders lie in the model folders, and what to say when one does not."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from ..internals.weights import roots
from . import MissingWeights

FOLDER = "quality"
"""models/quality/NAME/: a folder with config.json and model.safetensors, as Hugging Face lays them out."""

FACES = "insightface"
"""models/insightface/models/NAME/: an InsightFace pack of ONNX files. Other node packs keep theirs there too."""

NONE = "none"
"""What a list of encoders offers beside those that are there: to do without, or else to be told what is missing."""

DUAL = {"clip", "siglip"}  # the type siglip2 is of NaFlex alone, which wants patches; its fixed sizes are siglip
IMAGE = DUAL | {"dinov2", "dinov2_with_registers"}
READER = {"vision-encoder-decoder"}


def listed(kinds: Collection[str]) -> list[str]:
    """Names of the folders whose config.json states one of these model types."""
    return [name for name, config in _configs().items() if str(config.get("model_type")) in kinds]


def classifiers() -> list[str]:
    """Names of the folders that hold an image classifier."""
    return [name for name, config in _configs().items() if "ForImageClassification" in str(config.get("architectures"))]


def face_packs() -> list[str]:
    """Names of the InsightFace packs."""
    found = {pack.name for root in roots(FACES) for pack in root.glob("models/*") if any(pack.glob("*.onnx"))}
    return sorted(found)


def folder(name: str, what: str) -> Path:
    """Where an encoder's folder is. Raises MissingWeights, which says what (such as "CLIP or SigLIP") to put where."""
    for root in roots(FOLDER):
        if _is_name(name) and (root / name / "config.json").is_file():
            if any((root / name).glob("*.safetensors")):
                return root / name
            raise MissingWeights(f"models/{FOLDER}/{name} has no .safetensors file: put the weights there (no pickles)")
    wanted = f"{name} is not there" if name != NONE else "no encoder is chosen"
    raise MissingWeights(
        f"{wanted}: put a {what} folder (config.json, model.safetensors, preprocessor_config.json, tokenizer) into "
        f"models/{FOLDER}, and choose it"
    )


def face_pack(name: str) -> Path:
    """Where an InsightFace pack is. Raises MissingWeights."""
    for root in roots(FACES):
        if _is_name(name) and (root / "models" / name).is_dir():
            return root / "models" / name
    wanted = f"there is no face pack {name!r}" if name != NONE else "no face pack is chosen"
    raise MissingWeights(
        f"{wanted}: put det_10g.onnx and w600k_r50.onnx (InsightFace's buffalo_l) into "
        f"models/{FACES}/models/buffalo_l, and choose it"
    )


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON file's object; empty if there is no such file. Raises ValueError for another content."""
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return cast("dict[str, Any]", content)


def _is_name(name: str) -> bool:
    """Whether it is of something in a folder, and leads nowhere else."""
    return name not in (NONE, "", ".", "..") and Path(name).name == name


def _configs() -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for root in roots(FOLDER):
        for path in sorted(root.glob("*/config.json")):
            try:
                found.setdefault(path.parent.name, read_json(path))
            except (OSError, ValueError):  # an unfinished download: the list of nodes is no place to complain
                continue
    return found
