"""Finds the weights in what a node gives out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ..provenance import Given
from . import is_a, module

_HOLDER_FIELDS = (
    "patcher",  # comfy.sd.CLIP and VAE, ClipVisionModel; since 0.33 what UpscaleModelLoader gives
    "control_model_wrapped",  # comfy.controlnet.ControlNet
    "t2i_model",  # comfy.controlnet.T2IAdapter
    "model",  # StyleModel, and most custom nodes' wrappers
    "_model",  # spandrel's ModelDescriptor: upscale models of 0.3.64
)
_DEPTH = 4  # outputs are lists of values; pipes of custom nodes nest further
_MANY = 10_000  # a list of masks is not searched to its end


def given(outputs: Any) -> list[Given]:
    """The weights among a node's outputs."""
    found = (_given(value) for value in islice(_values(outputs), _MANY))
    return [weights for weights in found if weights is not None]


def kind(holder: Any, patcher: Any, weights: Any) -> str | None:
    """What weights are for, by their classes; None where these do not tell."""
    if getattr(patcher, "is_clip", False) or is_a(holder, "comfy.sd", "CLIP"):
        return "text_encoder"
    if is_a(holder, "comfy.sd", "VAE"):
        return "vae"
    if is_a(holder, "comfy.controlnet", "ControlBase"):
        return "controlnet"
    if is_a(weights, "comfy.model_base", "BaseModel"):
        return "diffusion_model"
    return None


def is_module(value: Any) -> bool:
    return isinstance(value, module("torch").nn.Module)


def _values(value: Any, depth: int = 0) -> Iterator[Any]:
    """Objects with attributes, wherever they are nested; not plain values, tensors and classes."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value[:_MANY] if depth < _DEPTH else ():
            yield from _values(inner, depth + 1)
    elif hasattr(value, "__dict__") and not isinstance(value, (module("torch").Tensor, type)):
        yield value


def _given(value: Any) -> Given | None:
    if is_module(value):
        return Given(value, kind=kind(None, None, value))
    held = value if _is_patcher(value) else _held_by(value)
    patcher = held if _is_patcher(held) else None
    weights = held if patcher is None else patcher.model
    use = kind(value, patcher, weights)
    if weights is None:
        return Given(value, kind=use) if use else None  # a ControlLora: tensors, and no module before it is used
    return Given(weights, patcher, use)


def _held_by(value: Any) -> Any:
    """The patcher or module that an object wraps. Properties are not asked: those of custom nodes may start to load."""
    fields = vars(value)
    found = (fields.get(name) for name in _HOLDER_FIELDS)
    return next((held for held in found if _is_patcher(held) or is_module(held)), None)


def _is_patcher(value: Any) -> bool:
    return is_a(value, "comfy.model_patcher", "ModelPatcher")
