"""What one node class takes and gives, compiled from its entry in /object_info so that checking a value is a look-up.

ComfyUI says an input as [type, settings]. The type is a word, words joined by commas (any of them), "*" (anything), or,
in nodes of the older style, the list of a combo's values itself. Three types of its V3 schema stand for inputs that
depend on other inputs: autogrow (name0, name1, ...), dynamic combo and dynamic slot (further inputs under a prefix).
Equal parts are shared, as a ComfyUI with its custom nodes has thousands of inputs and workers come in hundreds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeAlias

from orchestrator.graph.loaders import combo_folder
from orchestrator.graph.shape import is_list, is_object

COMBO = "COMBO"
AUTOGROW = "COMFY_AUTOGROW_V3"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
DYNAMIC_SLOT = "COMFY_DYNAMICSLOT_V3"


class Kind(Enum):
    """How a value that is not a link is checked."""

    INT = "INT"
    FLOAT = "FLOAT"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    COMBO = "COMBO"
    FILE = "FILE"  # names a file of the input folder: an asset, or one of `options`
    SOCKET = "SOCKET"  # only ever comes through a link
    OTHER = "OTHER"  # a type that its node pack knows; any value will do


_KINDS = {kind.value: kind for kind in (Kind.INT, Kind.FLOAT, Kind.STRING, Kind.BOOLEAN, Kind.COMBO)}

# What no JSON value can stand in for. ComfyUI lets such values pass, and the node then fails on them.
_SOCKETS = frozenset({
    "AUDIO", "CLIP", "CLIP_VISION", "CLIP_VISION_OUTPUT", "CONDITIONING", "CONTROL_NET", "GLIGEN", "GUIDER", "IMAGE",
    "LATENT", "MASK", "MODEL", "NOISE", "PHOTOMAKER", "SAMPLER", "SIGMAS", "STYLE_MODEL", "UPSCALE_MODEL", "VAE",
    "VIDEO",
})  # fmt: skip

# Combos of files in the input folder that carry no upload flag.
_FILE_INPUTS = frozenset({
    ("GeminiInputFiles", "file"), ("LoadLatent", "latent"), ("OpenAIInputFiles", "file"),
    ("VHS_LoadAudioUpload", "audio"), ("VHS_LoadVideo", "video"), ("VHS_LoadVideoFFmpeg", "video"),
})  # fmt: skip

# Inputs that the node's own VALIDATE_INPUTS judges, in place of ComfyUI's check of the combo.
_SELF_CHECKED = frozenset({
    ("CustomCombo", "choice"), ("ModelAttentionBackend", "attention"), ("SelectCLIPDevice", "device"),
    ("SelectModelDevice", "device"), ("SelectVAEDevice", "device"),
})  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """The values of a combo, in the order in which ComfyUI offers them; compared by identity, as they are shared."""

    values: tuple[Any, ...]
    lookup: frozenset[Any]

    def __contains__(self, value: Any) -> bool:
        return not isinstance(value, list | dict) and value in self.lookup


SlotType: TypeAlias = str | Options
"""What travels over a link. A combo of the older style has its list of values as its type."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    type: SlotType
    kind: Kind
    required: bool
    low: float | None = None
    high: float | None = None
    options: Options | None = None
    folder: str | None = None  # of a combo that offers model files
    multiselect: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs by their full names; `branches` are those that a value of another input adds."""

    specs: Mapping[str, InputSpec]
    required: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()

    def given(self, values: Mapping[str, Any]) -> Inputs:
        """The inputs that the node has when its inputs have these values."""
        if not self.branches:
            return self
        specs, required, waiting = dict(self.specs), list(self.required), list(self.branches)
        while waiting:
            chosen = waiting.pop().chosen(values)
            if chosen is not None:
                specs.update(chosen.specs)
                required.extend(chosen.required)
                waiting.extend(chosen.branches)
        return Inputs(specs, tuple(required))


@dataclass(frozen=True, slots=True)
class Branch:
    """Further inputs that the input `name` adds: by its value (a dynamic combo), or by being there (`always`)."""

    name: str
    by_value: Mapping[Any, Inputs] = field(default_factory=dict[Any, Inputs])
    always: Inputs | None = None

    def chosen(self, values: Mapping[str, Any]) -> Inputs | None:
        if self.name not in values:
            return None
        key = values[self.name]
        return self.always or (None if isinstance(key, list | dict) else self.by_value.get(key))


@dataclass(frozen=True, slots=True)
class ClassSpec:
    name: str
    title: str  # what the editor shows, and an export has as the title of a node that nobody renamed
    inputs: Inputs
    outputs: tuple[SlotType, ...]
    output_node: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """An input as /object_info says it."""

    owner: str  # the node class
    name: str
    type: Any
    settings: Mapping[str, Any]
    required: bool

    @property
    def is_file(self) -> bool:
        flagged = any(key.endswith("_upload") and value for key, value in self.settings.items())
        return flagged or (self.owner, self.name) in _FILE_INPUTS

    @property
    def choices(self) -> list[Any] | None:
        values = self.type if is_list(self.type) else self.settings.get("options")
        return values if is_list(values) else None

    @property
    def kind(self) -> Kind:
        if self.is_file:
            return Kind.FILE
        if (self.owner, self.name) in _SELF_CHECKED:
            return Kind.OTHER
        if not isinstance(self.type, str):
            return Kind.COMBO if is_list(self.type) else Kind.OTHER
        return Kind.SOCKET if self.type in _SOCKETS else _KINDS.get(self.type, Kind.OTHER)

    def bound(self, name: str) -> float | None:
        value = self.settings.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


class Compiler:
    """Compiles node classes, sharing whatever is equal among all that it compiled."""

    def __init__(self) -> None:
        self._shared: dict[Any, Any] = {}

    def compile(self, name: str, info: Mapping[str, Any]) -> ClassSpec:
        said = info.get("output")
        outputs = tuple(self._slot(output) for output in said) if is_list(said) else ()
        inputs = self._inputs(name, _object(info.get("input")), "")
        title = self.share(str(info.get("display_name") or name))
        return ClassSpec(self.share(name), title, inputs, self.share(outputs), info.get("output_node") is True)

    def options(self, values: Iterable[Any]) -> Options:
        # Some node packs offer {"content": name, "image": preview} in place of names.
        plain = [value.get("content") if is_object(value) else value for value in values]
        names = tuple(self.share(value) for value in plain if not isinstance(value, list | dict))
        key = (Options, names, tuple(map(type, names)))  # True and 1 are equal, and mean different things
        if key not in self._shared:
            self._shared[key] = Options(names, frozenset(names))
        return self._shared[key]

    def share(self, part: Any) -> Any:
        """The first part that was equal to this one."""
        return self._shared.setdefault((type(part), part), part)

    def _slot(self, said: Any) -> SlotType:
        if is_list(said):
            return self.options(said)
        return self.share(said) if isinstance(said, str) else "*"

    def _inputs(self, owner: str, said: Mapping[str, Any], prefix: str) -> Inputs:
        specs: dict[str, InputSpec] = {}
        branches: list[Branch] = []
        for category in ("required", "optional"):
            for name, entry in _object(said.get(category)).items():
                parts = entry if is_list(entry) and entry else ["*"]
                settings = _object(parts[1] if len(parts) > 1 else None)
                found = _Entry(owner, self.share(prefix + name), parts[0], settings, category == "required")
                specs.update(self._specs(found, branches))
        required = tuple(name for name, spec in specs.items() if spec.required)
        return Inputs(specs, self.share(required), tuple(branches))

    def _specs(self, entry: _Entry, branches: list[Branch]) -> dict[str, InputSpec]:
        """What an entry stands for: itself, mostly. What depends on its value is put to `branches`."""
        if entry.type == AUTOGROW:
            return self._grown(entry)
        if entry.type == DYNAMIC_COMBO:
            choices = {
                choice["key"]: self._inputs(entry.owner, _object(choice.get("inputs")), f"{entry.name}.")
                for choice in entry.choices or ()
            }
            branches.append(Branch(entry.name, choices))
            spec = self._spec(entry)
            return {entry.name: self.share(replace(spec, kind=Kind.COMBO, options=self.options(choices)))}
        if entry.type == DYNAMIC_SLOT:
            added = self._inputs(entry.owner, _object(entry.settings.get("inputs")), f"{entry.name}.")
            branches.append(Branch(entry.name, always=added))
            entry = replace(entry, type=entry.settings.get("slotType", "*"))
        return {entry.name: self._spec(entry)}

    def _grown(self, entry: _Entry) -> dict[str, InputSpec]:
        """All the inputs that an autogrow input may grow to, those beyond its minimum optional."""
        template = _object(entry.settings.get("template"))
        grown = self._inputs(entry.owner, _object(template.get("input")), "").specs
        if not grown:
            return {}
        spec = next(iter(grown.values()))
        optional, least = self.share(replace(spec, required=False)), template.get("min", 0)
        names: list[str] = template.get("names") or [
            f"{template.get('prefix', '')}{i}" for i in range(template.get("max", 0))
        ]
        return {
            self.share(f"{entry.name}.{name}"): spec if position < least else optional
            for position, name in enumerate(names)
        }

    def _spec(self, entry: _Entry) -> InputSpec:
        kind, values = entry.kind, entry.choices
        if kind is Kind.FILE and entry.settings.get("default") == "":
            values = [*(values or []), ""]
        options = self.options(values) if values is not None and kind in (Kind.COMBO, Kind.FILE) else None
        folder = combo_folder(entry.owner, entry.name, options.values) if kind is Kind.COMBO and options else None
        return self.share(
            InputSpec(
                type=self._slot(entry.type),
                kind=kind,
                required=entry.required,
                low=entry.bound("min"),
                high=entry.bound("max"),
                options=options,
                folder=folder,
                multiselect=entry.settings.get("multiselect") is True,
            )
        )


def _object(value: Any) -> Mapping[str, Any]:
    """An object of /object_info; what should be one and is not says nothing."""
    return value if is_object(value) else {}
