"""Observed: what a ComfyUI was seen to be made of, in the words of a lock. Pure.

What could not be seen is None, never left out: a check that cannot look must not say that all is well. `gaps` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("unet", "diffusion_models"),
    "controlnet": ("controlnet", "t2i_adapter"),
}
"""Folders of models that ComfyUI looks for in several places, first the one whose file it takes."""

SHIPPED_PACKS = frozenset({"websocket_image_save.py"})
"""What lies in custom_nodes of ComfyUI's own repository, and so is pinned with it."""

OWN_PACK = "comfyfleet-nodes"
"""The fleet's own node pack, by the name in its pyproject.toml: it comes with comfyfleet, not with a lock."""


@dataclass(frozen=True, slots=True)
class SeenCheckout:
    """A folder that may be a git checkout. `edited` names the files that differ from the commit, "" when none does."""

    commit: str | None
    repo: str | None = None
    edited: str | None = None


@dataclass(frozen=True, slots=True)
class SeenPack:
    """A node pack. `failure` is why ComfyUI did not import it, where it runs and did not."""

    checkout: SeenCheckout
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class SeenPackage:
    """An installed package. `origin` is where from, when it was not an index; `sha256` of that archive, if known."""

    version: str
    origin: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SeenModel:
    """A model file. `source` is an address that it can be had from."""

    sha256: str | None
    bytes: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """`gaps`: why something is not known, by "comfyui", "python", "packages", "models", or a "kind name" of these."""

    comfyui: SeenCheckout
    node_packs: Mapping[str, SeenPack] | None
    python: str | None
    packages: Mapping[str, SeenPackage] | None
    models: Mapping[str, SeenModel] | None
    gaps: Mapping[str, str] = field(default_factory=dict[str, str])

    def why(self, subject: str) -> str:
        """Why this, or the whole that it belongs to, is not known."""
        whole = f"{subject.split()[0]}s"
        return self.gaps.get(subject) or self.gaps.get(whole) or "nothing says what it is"
