"""The part of the port that ComfyUI's own API needs: whose jobs are whose, and what a client has heard of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.domain.job import Origin

EVERYONE = "everyone"
"""Owner of all jobs that have an origin."""


def owners(origin: Origin) -> tuple[str, ...]:
    """Under which names such jobs are listed."""
    client = () if origin.client_id is None else (client_topic(origin.client_id),)
    return (EVERYONE, peer_owner(origin.peer), *client)


def peer_owner(peer: str) -> str:
    return f"peer:{peer}"


def client_topic(client_id: str) -> str:
    """The topic of events that says when a client has posted a job; also the owner of those jobs."""
    return f"client:{client_id}"


def comfy_topic(job_id: str) -> str:
    """The topic with what ComfyUI itself says of a job, and the job's statuses in between."""
    return f"{job_id}:comfy"


@dataclass(frozen=True, slots=True)
class Posted:
    """What only ComfyUI's own API tells of a job. `history` is the entry that the ComfyUI had which executed it."""

    prompt: Mapping[str, Any]  # as its sender knows it
    outputs: tuple[str, ...]  # the nodes that it executes for
    extra_data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    history: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of ComfyUI's websocket, as it came. What is `kept` is told to those who come later, too."""

    content: str | bytes
    kept: bool


class ClientStore(Protocol):
    """What is known of those who post to ComfyUI's own API."""

    async def posted(self, job_ids: Sequence[str]) -> Sequence[Posted | None]:
        """In the same order; None for a job that is not there, or has no origin."""
        ...

    async def active(self, owner: str) -> int:
        """How many jobs of that owner have not ended."""
        ...

    async def owns(self, owner: str, job_id: str) -> bool: ...
    async def disown(self, job_id: str, origin: Origin) -> None:
        """Lists it no more among those of its owners."""
        ...

    async def undelivered(self, client_id: str) -> Mapping[str, str]:
        """The client's jobs whose ComfyUI it has not heard out -> the last event of `comfy_topic` that it was sent."""
        ...

    async def delivered(self, client_id: str, job_id: str, event_id: str | None) -> None:
        """It was sent that event; None: the last one, so that nobody needs what the job's ComfyUI said any more."""
        ...

    async def name_input(self, path: str, asset_id: str, *, replace: bool) -> str:
        """Calls an asset by this path in ComfyUI's folders, unless (not `replace`) another one has it. Answers who has
        it now."""
        ...

    async def inputs_named(self, paths: Sequence[str]) -> Sequence[str | None]:
        """The assets that are called so, in the same order."""
        ...

    async def input_names(self) -> Sequence[str]: ...
