"""Judges one value of one input: what ComfyUI itself would say of it, in words that say what to change.

ComfyUI converts before it compares (int("20"), float("7.5"), bool(anything)), and so does this. It is stricter in what
could only fail later: text in place of a model or an image, NaN, and file names, as files come from assets alone.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.graph.shape import asset_id, is_asset, is_link, is_list, is_object, kind_of, show
from orchestrator.graph.specs import InputSpec, Kind, Options, SlotType

_MATCH = "COMFY_MATCHTYPE_V3"  # stands for whatever is linked to it
_SHOWN = 12
_WIDE = 300  # options beyond which likeness is looked for only among those that share a part of the name


@dataclass(frozen=True, slots=True)
class Fault:
    """`message` goes on after the input's name."""

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def fault_of(spec: InputSpec, value: Any) -> Fault | None:
    """What is wrong with a value that is not a link; None when ComfyUI would take it."""
    kind = spec.kind
    if kind is Kind.STRING and isinstance(value, str):
        return None
    if is_object(value):
        value = value.get("__value__", value)
        if is_link(value):
            message = f"wraps {show(value[0])} and a number, which ComfyUI takes for a link once it is unwrapped"
            return Fault("bad_linked_input", message)
        if is_asset(value):
            return _asset_fault(spec, value)
    if kind is Kind.INT or kind is Kind.FLOAT:
        return _number_fault(spec, value)
    if kind is Kind.COMBO:
        return _combo_fault(spec, value)
    if kind is Kind.FILE:
        return _file_fault(spec, value)
    if kind is Kind.SOCKET and not (value is None and not spec.required):
        message = (
            f"must come from a node that makes {spec.type}, as a link [node id, output slot], not {kind_of(value)}"
        )
        return Fault("invalid_input_type", message)
    if kind is Kind.OTHER and isinstance(value, int | float) and not isinstance(value, bool):
        return _range_fault(spec, value)
    return None


def links_to(received: SlotType, wanted: SlotType) -> bool:
    """Whether ComfyUI lets an output of the one type into an input of the other."""
    if received is wanted or received == wanted:
        return True
    if received in ("*", _MATCH) or wanted in ("*", _MATCH):
        return True
    if isinstance(received, Options):
        return wanted == "COMBO" or (isinstance(wanted, Options) and received.values == wanted.values)
    if isinstance(wanted, Options):
        return False
    given, taken = ({part.strip() for part in slot.split(",")} for slot in (received, wanted))
    return "*" in given or "*" in taken or not given.isdisjoint(taken)


def type_name(slot: SlotType) -> str:
    return "COMBO" if isinstance(slot, Options) else slot


def nearest(value: Any, options: Sequence[Any], count: int = 3) -> list[Any]:
    """The few options most like the value, however many options there are."""
    if not isinstance(value, str):
        return list(options[:count])
    names = [option for option in options if isinstance(option, str)]
    if len(names) > _WIDE:
        names = _sharing(value, names)
    folded = {name.lower(): name for name in reversed(names)}
    return [folded[name] for name in difflib.get_close_matches(value[:256].lower(), folded, n=count, cutoff=0.5)]


def _sharing(value: str, names: list[str]) -> list[str]:
    """The names that have as much as possible of the value's own name in them."""
    stem = value.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0].lower()[:256]
    for part in (stem, stem[:8], stem[-8:], stem[:4], stem[-4:]):
        if found := [name for name in names if part in name.lower()]:
            return found[:_WIDE]
    return []


def _asset_fault(spec: InputSpec, value: Mapping[str, Any]) -> Fault | None:
    if asset_id(value) is None:
        message = 'holds an asset without an id: write {"__type": "core/ASSET", "info": {"id": "ast_..."}}'
        return Fault("invalid_input_type", message)
    if spec.kind in (Kind.FILE, Kind.STRING, Kind.OTHER):
        return None
    message = (
        f"takes {type_name(spec.type)}, not an asset: give the asset to a node that loads files, such as LoadImage"
    )
    return Fault("invalid_input_type", message)


def _number_fault(spec: InputSpec, value: Any) -> Fault | None:
    try:
        number = int(value) if spec.kind is Kind.INT else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        word = "an integer" if spec.kind is Kind.INT else "a number"
        given = (
            f"is {show(value)}, which is not {word}"
            if isinstance(value, str)
            else f"must be {word}, not {kind_of(value)}"
        )
        return Fault("invalid_input_type", given)
    return _range_fault(spec, number)


def _range_fault(spec: InputSpec, number: float) -> Fault | None:
    if spec.low is not None and number < spec.low:
        return Fault("value_smaller_than_min", f"is {show(number)}; it must be at least {spec.low}", {"min": spec.low})
    if spec.high is not None and number > spec.high:
        return Fault("value_bigger_than_max", f"is {show(number)}; it must be at most {spec.high}", {"max": spec.high})
    return None


def _combo_fault(spec: InputSpec, value: Any) -> Fault | None:
    options = spec.options
    if options is None or value in options:
        return None
    wrong = value
    if spec.multiselect and is_list(value):
        wrong = next((each for each in value if each not in options), None)
        if wrong is None:
            return None
    if spec.folder is not None:
        return _model_fault(spec.folder, wrong, options)
    message = f"is {show(wrong)}, which is not one of its values; {_offer(wrong, options)}"
    return Fault("value_not_in_list", message, _allowed(wrong, options))


def _model_fault(folder: str, name: Any, options: Options) -> Fault:
    place = f"models/{folder}" if folder != "unknown" else "its folder of models"
    message = f"is {show(name)}, a model that no worker has in {place}; {_offer(name, options)}"
    return Fault("missing_model", message, {"folder": folder, "model": show(name, 256), **_allowed(name, options)})


def _file_fault(spec: InputSpec, value: Any) -> Fault | None:
    if spec.options is not None and value in spec.options:
        return None
    message = (
        f"is {show(value)}, but files come from assets alone: "
        'upload it with POST /v1/assets and write {"__type": "core/ASSET", "info": {"id": "ast_..."}} here'
    )
    return Fault("unknown_file", message)


def _allowed(value: Any, options: Options) -> dict[str, Any]:
    shown = options.values if len(options.values) <= _SHOWN else nearest(value, options.values)
    return {"allowed": list(shown), "allowed_count": len(options.values)}


def _offer(value: Any, options: Options) -> str:
    if not options.values:
        return "it has none"
    if len(options.values) <= _SHOWN:
        return "there are " + ", ".join(map(show, options.values))
    like = nearest(value, options.values)
    return (
        f"of its {len(options.values)}, the nearest are {', '.join(map(show, like))}"
        if like
        else (f"it has {len(options.values)}, none like it")
    )
