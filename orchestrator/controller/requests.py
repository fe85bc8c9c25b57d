"""What callers send, as the models that parse it and that the OpenAPI document is made from.

One function, `conform`, turns a parsed document into a model or into one refusal that names the first wrong place,
and, for an unknown key, the nearest known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orchestrator.domain.job import Priority
from orchestrator.domain.quality import Enough, Otherwise, Unscored
from orchestrator.domain.run import DEFAULT_TENANT
from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import pointer
from orchestrator.graph.values import nearest

MAX_LABELS = 16
NAME = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
_LABEL_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_LABEL_BYTES = 256


class Request(BaseModel):
    """Base of all that callers send: unknown keys are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Name = Annotated[str, Field(pattern=NAME, description="Lower-case letters, digits, '.', '_' and '-'; at most 64.")]
Seconds = Annotated[float, Field(strict=True, gt=0, le=7 * 86400, allow_inf_nan=False)]
Retries = Annotated[int, Field(strict=True, ge=0, le=20)]
Candidates = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Version = Annotated[int, Field(strict=True, ge=1, le=2**31)]


def _labels(value: Any) -> Any:
    """Labels are checked by hand for one code of their own, which Comfy API v2 names too."""
    if not isinstance(value, Mapping):
        raise InvalidRequest("metadata_invalid", "metadata must be an object of labels", pointer="/metadata")
    if len(value) > MAX_LABELS:
        raise InvalidRequest(
            "metadata_invalid", f"metadata has {len(value)} labels; at most {MAX_LABELS} are kept", pointer="/metadata"
        )
    for key, label in value.items():
        place = pointer("metadata", key)
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidRequest(
                "metadata_invalid", "a label's key is 1 to 40 characters of A-Z a-z 0-9 _ . -", pointer=place
            )
        if not isinstance(label, str) or len(label.encode()) > _LABEL_BYTES:
            raise InvalidRequest(
                "metadata_invalid", f"{place} must be a string of at most {_LABEL_BYTES} bytes", pointer=place
            )
    return value


Labels = Annotated[
    dict[str, str],
    BeforeValidator(_labels),
    Field(description=f"Labels of your own, to find jobs by: at most {MAX_LABELS}, values at most 256 bytes."),
]


class JobOptions(Request):
    tenant: Name = DEFAULT_TENANT
    """On whose account it is: tenants share the fleet by the weights that `tenants:` of fleet.yaml gives them."""
    priority: Priority | None = None
    metadata: Labels = Field(default_factory=dict)
    deadline_s: Seconds | None = None
    """The job expires unless it has ended this many seconds after it was submitted."""


class WorkflowJob(JobOptions):
    """A job of a registered workflow."""

    params: dict[str, Any] = Field(default_factory=dict)
    """Validated by the workflow's schema; see GET /v1/workflows/{name}/schema."""
    candidates: Candidates | None = None
    """How many runs to choose from, where the workflow has a gate; within its max_candidates."""
    deliver: Candidates | None = None
    """How many of them to deliver."""
    version: Version | None = None
    """A version other than the active one."""


class GraphJob(JobOptions):
    """A job of a raw graph."""

    workflow: Any = Field(json_schema_extra={"type": "object"})
    """The graph, in API format or in the typed-node format."""
    pool: Name = "default"
    timeout_s: Seconds = 600.0
    """Execution budget of one run."""
    retries: Retries = 2
    """How many runs may be lost before the job fails."""
    outputs: tuple[str, ...] = Field(default=(), max_length=100)
    """Ids of the nodes whose files are wanted; every output node when omitted."""


class ScoreRule(Request):
    """What is asked of one dimension. Other keys are inputs of its scorer: values, or $NAME for a param of the job."""

    model_config = ConfigDict(extra="allow")

    min: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    """The least value, 0 to 1, of a good candidate; without one the dimension only ranks."""
    weight: Annotated[float, Field(strict=True, gt=0, le=1000)] = 1.0
    """Of this dimension in the mean that the candidates are ranked by."""


class OnMiss(Request):
    """What to do when too few candidates are good."""

    reruns: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    """How many more candidates may be tried, at most."""
    reseed: str | None = None
    """The param that every candidate gets a fresh integer for; the workflow's seed when omitted."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Other params of those candidates, e.g. {cfg: 6.0}."""


class ReviewRule(Request):
    """How long a person has, and what happens when nobody decides."""

    timeout_s: Seconds = 86400.0
    otherwise: Otherwise = Otherwise.FAIL


class Quality(Request):
    """The gate: what a candidate has to score, how many are made, and how many are delivered."""

    scores: dict[str, ScoreRule] = Field(min_length=1)
    images: tuple[str, ...] = Field(min_length=1, max_length=20)
    """Ids of the output nodes that are judged."""
    candidates: Candidates = 1
    """Runs per job."""
    deliver: Candidates = 1
    """How many of them are delivered: the best."""
    max_candidates: Candidates | None = None
    """What a job may ask for at most; `candidates` when omitted."""
    enough: Enough = Enough.ALL
    """`first`: deliver as soon as enough are good, and cancel the rest."""
    unscored: Unscored = Unscored.MISS
    """What a score that could not be computed counts as."""
    on_miss: OnMiss = OnMiss()
    otherwise: Otherwise = Otherwise.FAIL
    """When the reruns are spent: fail, flag (deliver, marked) or review (a person decides)."""
    review: ReviewRule = ReviewRule()


class Registration(Request):
    """A workflow to register: the graph, the schema of its params, where each param goes, and its policy."""

    name: Name
    description: str = Field(default="", max_length=10_000)
    graph: Any = Field(json_schema_extra={"type": "object"})
    """The graph, as exported in API format."""
    params: Any = Field(json_schema_extra={"type": "object"})
    """JSON Schema 2020-12 of the params. `additionalProperties` is false unless it says otherwise."""
    bind: dict[str, Any] = Field(default_factory=dict)
    """Param -> "NODE.INPUT" or "@Title.INPUT", a list of those, or {input: ..., kind: image|mask|video|audio|file}."""
    outputs: tuple[str, ...] = Field(default=(), max_length=100)
    """Ids of the nodes whose files are delivered; every output node when omitted."""
    pool: Name = "default"
    timeout_s: Seconds = 600.0
    """Execution budget of one run."""
    retries: Retries = 2
    """How many runs may be lost before a job fails."""
    priority: Priority = Priority.NORMAL
    quality: Quality | None = None
    """The gate; without one, what a run makes is delivered as it is."""


class Rejection(Request):
    """Why a person fails a job."""

    comment: str = Field(default="", max_length=2000)


class Decision(Rejection):
    """Which candidates of a job a person lets pass."""

    slots: tuple[Annotated[int, Field(strict=True)], ...] | None = Field(default=None, min_length=1, max_length=10_000)
    """Those that are delivered; what the gate had chosen when omitted."""


class Activation(Request):
    version: Version


M = TypeVar("M", bound=BaseModel)


def conform(model: type[M], value: Any, code: str = "invalid_request") -> M:
    """The value as the model. Raises InvalidRequest(code) with the pointer of the first wrong place."""
    if not isinstance(value, dict):
        raise InvalidRequest(code, f"an object is expected here, not {_kind(value)}", pointer="")
    for key in value:  # before the model sees them: it would report each of a million
        if key not in model.model_fields:
            raise InvalidRequest(
                code, f"unknown key {key[:80]!r}{suggest(key, model.model_fields)}", pointer=pointer(key)
            )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = pointer(*first["loc"])
        raise InvalidRequest(code, f"{place}: {_sentence(first)}", pointer=place) from None


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: what was probably meant, else what there is."""
    known = list(known)
    if like := nearest(name, known, 1):
        return f"; did you mean {like[0]!r}?"
    return f"; known are {', '.join(known[:20])}" if known else ""


def _sentence(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return f"{str(problem['input'])[:80]!r} must be lower-case letters, digits, '.', '_' or '-', at most 64"
    told = {
        "missing": "is required", "extra_forbidden": "is an unknown key", "too_short": "must not be empty",
        "dict_type": "must be an object", "model_type": "must be an object", "tuple_type": "must be an array",
    }  # fmt: skip
    text = str(problem["msg"])
    return told.get(problem["type"], text[0].lower() + text[1:])


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
