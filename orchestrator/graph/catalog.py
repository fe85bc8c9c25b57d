"""Catalog: what a ComfyUI offers (node classes, combo values, model files), parsed once from its /object_info.

Several workers serve a pool, so the catalog that a graph is checked against is the union of theirs: a graph is valid
when some worker could have what it names. Which worker really has it, `lacks` says of each one's own catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.graph.loaders import is_model_name
from orchestrator.graph.shape import Graph, is_object
from orchestrator.graph.specs import Branch, ClassSpec, Compiler, Inputs, InputSpec, Kind, Options, SlotType


@dataclass(frozen=True, repr=False)
class Catalog:
    """Node classes by name."""

    classes: Mapping[str, ClassSpec]

    @classmethod
    def parse(cls, object_info: Mapping[str, Any]) -> Catalog:
        """From the decoded answer of /object_info. What it says in no known way takes anything."""
        compiler = Compiler()
        return cls({name: compiler.compile(name, info) for name, info in object_info.items() if is_object(info)})

    def __repr__(self) -> str:
        return f"Catalog({len(self.classes)} classes)"

    @cached_property
    def models(self) -> frozenset[ModelRef]:
        """Every model file that some loader offers. Embeddings are not among them: no loader lists those."""
        offers = {(spec.folder, spec.options) for spec in self._combos() if spec.folder and spec.options}
        return frozenset(
            ModelRef(folder, name)
            for folder, options in offers
            for name in options.values
            if is_model_name(folder, name)
        )

    @cached_property
    def folders(self) -> frozenset[str]:
        """The model folders whose files are known, be they empty."""
        return frozenset(spec.folder for spec in self._combos() if spec.folder)

    def output_nodes(self, graph: Graph, wanted: Sequence[str] = ()) -> list[str]:
        """Ids of the graph's output nodes: those among `wanted`, or all of them when it is empty."""
        known = self.classes
        return [
            node_id
            for node_id, node in graph.items()
            if (spec := known.get(node["class_type"])) is not None
            and spec.output_node
            and (not wanted or node_id in wanted)
        ]

    def lacks(self, needs: Needs) -> Needs:
        """What of `needs` is not here; empty when a graph with these needs could run."""
        return Needs(
            classes=tuple(name for name in needs.classes if name not in self.classes),
            models=tuple(model for model in needs.models if model.folder in self.folders and model not in self.models),
        )

    def _combos(self) -> Iterable[InputSpec]:
        waiting = [spec.inputs for spec in self.classes.values()]
        while waiting:
            inputs = waiting.pop()
            yield from inputs.specs.values()
            for branch in inputs.branches:
                waiting.extend(branch.by_value.values())
                waiting.extend([branch.always] if branch.always else [])


def merge(catalogs: Iterable[Catalog]) -> Catalog:
    """The union: every class that any has, every combo value that any offers, the widest of every range."""
    distinct = {id(catalog): catalog for catalog in catalogs}.values()
    if len(distinct) == 1:
        return next(iter(distinct))
    classes: dict[str, ClassSpec] = {}
    compiler = Compiler()
    for catalog in distinct:
        for name, spec in catalog.classes.items():
            classes[name] = _merge_classes(classes[name], spec, compiler) if name in classes else spec
    return Catalog(classes)


def _merge_classes(one: ClassSpec, other: ClassSpec, compiler: Compiler) -> ClassSpec:
    outputs = list(max(one.outputs, other.outputs, key=len))
    for slot, pair in enumerate(zip(one.outputs, other.outputs, strict=False)):
        outputs[slot] = _merge_types(*pair, compiler)
    inputs = _merge_inputs(one.inputs, other.inputs, compiler)
    return ClassSpec(one.name, one.title, inputs, tuple(outputs), one.output_node or other.output_node)


def _merge_inputs(one: Inputs, other: Inputs, compiler: Compiler) -> Inputs:
    specs: dict[str, InputSpec] = {}
    for name in [*one.specs, *(name for name in other.specs if name not in one.specs)]:
        pair = [inputs.specs[name] for inputs in (one, other) if name in inputs.specs]
        merged = reduce(lambda a, b: _merge_specs(a, b, compiler), pair)
        # Where one worker's version of the class does not know the input, a graph without it is right there.
        specs[name] = merged if len(pair) == 2 else replace(merged, required=False)
    theirs = {branch.name: branch for branch in other.branches}
    branches = [
        _merge_branches(branch, theirs.pop(branch.name), compiler) if branch.name in theirs else branch
        for branch in one.branches
    ]
    required = tuple(name for name, spec in specs.items() if spec.required)
    return Inputs(specs, required, (*branches, *theirs.values()))


def _merge_branches(one: Branch, other: Branch, compiler: Compiler) -> Branch:
    by_value = dict(one.by_value)
    for value, inputs in other.by_value.items():
        by_value[value] = _merge_inputs(by_value[value], inputs, compiler) if value in by_value else inputs
    always = _merge_inputs(one.always, other.always, compiler) if one.always and other.always else one.always
    return Branch(one.name, by_value, always or other.always)


def _merge_specs(one: InputSpec, other: InputSpec, compiler: Compiler) -> InputSpec:
    if one == other:
        return one
    if one.kind is not other.kind:
        return replace(
            one, type=_merge_types(one.type, other.type, compiler), kind=Kind.OTHER, options=None, low=None, high=None
        )
    return InputSpec(
        type=_merge_types(one.type, other.type, compiler),
        kind=one.kind,
        required=one.required and other.required,
        low=None if one.low is None or other.low is None else min(one.low, other.low),
        high=None if one.high is None or other.high is None else max(one.high, other.high),
        options=_merge_options(one.options, other.options, compiler),
        folder=one.folder or other.folder,
        multiselect=one.multiselect or other.multiselect,
    )


def _merge_options(one: Options | None, other: Options | None, compiler: Compiler) -> Options | None:
    if one is None or other is None:
        return None  # a combo without a list takes anything
    return compiler.options([*one.values, *(value for value in other.values if value not in one)])


def _merge_types(one: SlotType, other: SlotType, compiler: Compiler) -> SlotType:
    if isinstance(one, Options) and isinstance(other, Options):
        return _merge_options(one, other, compiler) or one
    if isinstance(one, Options) or isinstance(other, Options):
        return "COMBO"  # the same combo, said in the older and in the newer style
    return one if one == other else f"{one},{other}"
