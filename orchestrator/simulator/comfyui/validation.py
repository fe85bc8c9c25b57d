"""ComfyUI's own validation of a prompt, with its errors word for word: clients parse them.

Like ComfyUI it converts the values of widgets in place, drops outputs that are bad as long as one is good, and reports
a node once however many outputs depend on it.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.simulator.comfyui.config import Profile
from orchestrator.simulator.comfyui.files import Files
from orchestrator.simulator.comfyui.nodes import NodeClass, NodeClasses
from orchestrator.simulator.comfyui.nodes.registry import InputSpec

Error = dict[str, Any]

CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
WILDCARDS = frozenset({"*", "COMFY_MATCHTYPE_V3"})
LONG_LIST = 20


@dataclass
class Verdict:
    """What became of a prompt: an error, or the good outputs and the errors of the others."""

    outputs: list[str] = field(default_factory=list[str])
    error: Error | None = None
    node_errors: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class _Checked:
    valid: bool
    errors: list[Error]


def validate(
    prompt: dict[str, Any], targets: Sequence[str] | None, classes: NodeClasses, files: Files, profile: Profile
) -> Verdict:
    """Validate a prompt; targets are partial_execution_targets."""
    outputs: list[str] = []
    for node_id, node in prompt.items():
        node_class = classes.get(node.get("class_type"))
        if node_class is None:
            return Verdict(error=_missing_class(node_id, node, profile))
        if node_class.is_output and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs", "", {}))
    return _Validation(prompt, classes, files, profile).of(outputs)


def _missing_class(node_id: str, node: Mapping[str, Any], profile: Profile) -> Error:
    class_type = node.get("class_type")
    title = node.get("_meta", {}).get("title", class_type)
    if "class_type" not in node:
        name = title or f"ID #{node_id}"
        new = f"Node '{name}' has no class_type. The workflow may be corrupted or a custom node is missing."
        old = "Cannot execute because a node is missing the class_type property."
    else:
        new = f"Node '{title}' not found. The custom node may not be installed."
        old = f"Cannot execute because node {class_type} does not exist."
    if not profile.names_missing_nodes:
        return _error("invalid_prompt", old, f"Node ID '#{node_id}'", {})
    extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return _error("missing_node_type", new, f"Node ID '#{node_id}'", extra)


class _Validation:
    """One pass over one prompt; what was found of a node is kept, as several outputs may lead to it."""

    def __init__(self, prompt: dict[str, Any], classes: NodeClasses, files: Files, profile: Profile) -> None:
        self._prompt = prompt
        self._classes = classes
        self._files = files
        self._profile = profile
        self._checked: dict[str, _Checked] = {}
        self._path: list[str] = []

    def of(self, outputs: list[str]) -> Verdict:
        verdict = Verdict()
        failures: list[str] = []
        for output in outputs:
            checked = self._output(output)
            if checked.valid:
                verdict.outputs.append(output)
                continue
            failures += [f"{error['message']}: {error['details']}" for error in checked.errors]
            self._blame(output, verdict.node_errors)
        if not verdict.outputs:
            verdict.error = _error(
                "prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(failures), {}
            )
        return verdict

    def _output(self, output: str) -> _Checked:
        try:
            return self._node(output)
        except Exception as error:  # noqa: BLE001 - ComfyUI reports whatever a malformed prompt makes it raise
            extra = {"exception_type": type_name(error), "traceback": traceback.format_tb(error.__traceback__)}
            reasons = [_error("exception_during_validation", "Exception when validating node", str(error), extra)]
            self._checked[output] = _Checked(False, reasons)
            return self._checked[output]

    def _blame(self, output: str, node_errors: dict[str, Any]) -> None:
        """Nodes that are invalid only because of others above them carry no errors, and are not reported."""
        for node_id, checked in self._checked.items():
            if checked.valid or not checked.errors:
                continue
            entry = node_errors.setdefault(
                node_id,
                {
                    "errors": checked.errors,
                    "dependent_outputs": [],
                    "class_type": self._prompt[node_id]["class_type"],
                },
            )
            entry["dependent_outputs"].append(output)

    def _node(self, node_id: str) -> _Checked:
        if node_id in self._checked:
            return self._checked[node_id]
        if node_id in self._path:
            return self._cycle(node_id)
        node = self._prompt[node_id]
        node_class, inputs = self._classes[node["class_type"]], node["inputs"]
        errors: list[Error] = []
        valid = True
        for name, spec in {**node_class.required, **node_class.optional}.items():
            if name not in inputs:
                if name in node_class.required:
                    errors.append(
                        _error("required_input_missing", "Required input is missing", name, {"input_name": name})
                    )
            elif isinstance(inputs[name], list):
                error, upstream = self._link(node_id, name, spec, inputs[name])
                errors += error
                valid = valid and upstream
            else:
                errors += _widget(name, spec, inputs, node_class, self._profile)
        errors += self._custom(node_class, inputs)
        return self._remember(node_id, valid, errors)

    def _remember(self, node_id: str, valid: bool, errors: list[Error]) -> _Checked:
        """A cycle through this node may have been found meanwhile: its error stays, and stays first."""
        before = self._checked.get(node_id, _Checked(True, []))
        new = [error for error in errors if error not in before.errors]
        self._checked[node_id] = _Checked(before.valid and valid and not errors, before.errors + new)
        return self._checked[node_id]

    def _cycle(self, node_id: str) -> _Checked:
        if not self._profile.names_cycles:
            raise RecursionError("maximum recursion depth exceeded")
        path = [*self._path[self._path.index(node_id) :], node_id]
        nodes = list(dict.fromkeys(path))
        details = " -> ".join(f"{each} ({self._prompt[each]['class_type']})" for each in path)
        for each in nodes:
            extra = {"node_id": each, "cycle_nodes": nodes}
            error = _error("dependency_cycle", "Dependency cycle detected", details, extra)
            self._checked[each] = _Checked(False, [error])
        return self._checked[node_id]

    def _link(self, node_id: str, name: str, spec: InputSpec, link: list[Any]) -> tuple[list[Error], bool]:
        """The input's errors, and whether the node that it links to is valid."""
        config = {"input_name": name, "input_config": spec}
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [_error("bad_linked_input", message, name, {**config, "received_value": link})], True
        source, slot = link
        received = self._classes[self._prompt[source]["class_type"]].outputs[slot]
        if not _accepts(spec[0], received):
            details = f"{name}, received_type({received}) mismatch input_type({spec[0]})"
            extra = {**config, "received_type": received, "linked_node": link}
            return [_error("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)], True
        self._path.append(node_id)
        try:
            return [], self._node(source).valid
        except Exception as error:  # noqa: BLE001 - see _output
            extra = {
                **config,
                "exception_message": str(error),
                "exception_type": type_name(error),
                "traceback": traceback.format_tb(error.__traceback__),
                "linked_node": link,
            }
            reason = _error(
                "exception_during_inner_validation", "Exception when validating inner node", str(error), extra
            )
            self._checked[source] = _Checked(False, [reason])
            return [], False
        finally:
            self._path.pop()

    def _custom(self, node_class: NodeClass, inputs: Mapping[str, Any]) -> list[Error]:
        implementation = node_class.implementation
        values = {name: inputs.get(name) for name in implementation.checked if name in inputs}
        if implementation.check is None or not values or any(isinstance(value, list) for value in values.values()):
            return []
        answer = implementation.check(self._files, **values)
        if answer is True:
            return []
        message = "Custom validation failed for node"
        reason = f" - {answer}" if answer else ""
        return [_error("custom_validation_failed", message, f"{name}{reason}", {"input_name": name}) for name in values]


def _widget(name: str, spec: InputSpec, inputs: dict[str, Any], node_class: NodeClass, profile: Profile) -> list[Error]:
    """Convert the value in place, then hold it against its range or choices."""
    kind, options = spec
    value = inputs[name]
    config = {"input_name": name, "input_config": spec}
    if isinstance(value, dict) and "__value__" in value:
        inputs[name] = value = value["__value__"]
    if isinstance(kind, str) and kind in CONVERSIONS:
        try:
            inputs[name] = value = CONVERSIONS[kind](value)
        except (TypeError, ValueError, OverflowError) as error:
            extra = {**config, "received_value": value, "exception_message": str(error)}
            message = f"Failed to convert an input value to a {kind} value"
            return [_error("invalid_input_type", message, f"{name}, {value}, {error}", extra)]
    if name in node_class.implementation.checked:
        return []
    extra = {**config, "received_value": value}
    if "min" in options and value < options["min"]:
        message = f"Value {value} smaller than min of {options['min']}"
        return [_error("value_smaller_than_min", message, name, extra)]
    if "max" in options and value > options["max"]:
        return [_error("value_bigger_than_max", f"Value {value} bigger than max of {options['max']}", name, extra)]
    newer = kind == "COMBO" and profile.checks_all_combos
    choices = kind if isinstance(kind, list) else options.get("options", []) if newer else None
    if choices is None or value in choices:
        return []
    if len(choices) > LONG_LIST:
        extra, shown = {**extra, "input_config": None}, f"(list of length {len(choices)})"
    else:
        shown = str(choices)
    return [_error("value_not_in_list", "Value not in list", f"{name}: {value!r} not in {shown}", extra)]


def _accepts(wanted: Any, received: Any) -> bool:
    """Types agree when they are equal, or share one of their comma-separated names, or one is a wildcard."""
    if wanted == received:
        return True
    if not isinstance(wanted, str) or not isinstance(received, str):
        return isinstance(received, list) and wanted == "COMBO"
    wanted_types = {name.strip() for name in wanted.split(",")}
    received_types = {name.strip() for name in received.split(",")}
    return bool(wanted_types & received_types or (wanted_types | received_types) & WILDCARDS)


def type_name(error: BaseException) -> str:
    """The class of an exception as ComfyUI writes it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _error(kind: str, message: str, details: str, extra: Mapping[str, Any]) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
