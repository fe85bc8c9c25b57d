"""Sample: what one run of a workflow's version took. The last few hundred of each version are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds. `load_s` is the part of `execute_s` that loading is thought to have been; `nodes`: by node id, of those
    that were not cached, where the websocket told of them."""

    execute_s: float
    load_s: float
    gpu: str
    nodes: Mapping[str, float]
