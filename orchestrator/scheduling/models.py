"""Model files and what workers offer, interned: decisions compare them by the thousand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from orchestrator.domain.needs import Content, ModelRef

# Bytes of a file that no worker has told the size of, by folder: what is common there. A wrong guess costs seconds.
PRIOR_BYTES: Mapping[str, int] = {
    "checkpoints": 6_900_000_000,
    "diffusion_models": 12_000_000_000,
    "unet": 12_000_000_000,
    "text_encoders": 5_000_000_000,
    "clip": 5_000_000_000,
    "clip_vision": 1_700_000_000,
    "controlnet": 1_500_000_000,
    "vae": 330_000_000,
    "loras": 220_000_000,
    "upscale_models": 70_000_000,
    "embeddings": 100_000,
}
PRIOR_BYTES_ELSEWHERE = 500_000_000

# Priors of loading; each worker's pace corrects them as it shows itself (learned.py).
FIXED_S = 0.3  # per file, whatever its size
RAM_BYTES_S = 12e9  # RAM to VRAM: PCIe 4.0 x16 with pinned memory does about twice that, unpinned half
DISK_BYTES_S = 2e9  # disk to VRAM: an NVMe drive
NET_BYTES_S = 0.3e9  # from a remote source to disk


class ModelFile:
    """The name of a model, as runs ask for it. One object per name: compared by identity. What a worker has under the
    name is its own matter (Contents); `bytes` are those of a worker that does not tell."""

    __slots__ = ("bytes", "path", "ref")

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self.path = ref.path
        self.bytes = PRIOR_BYTES.get(ref.folder, PRIOR_BYTES_ELSEWHERE)

    def __repr__(self) -> str:
        return f"ModelFile({self.path})"


_BYTES = attrgetter("bytes")


def reload_s(file: ModelFile) -> float:
    """Seconds to bring a file from RAM into VRAM."""
    return FIXED_S + file.bytes / RAM_BYTES_S


class Contents:
    """What is under the names of models on the workers that have just this. One object for all of them: compared by
    identity, and asked by the thousand."""

    __slots__ = ("__weakref__", "_by_file", "_by_ref")

    def __init__(self, contents: Mapping[ModelRef, Content]) -> None:
        self._by_ref = contents
        self._by_file: dict[ModelFile, Content | None] = {}

    def of(self, file: ModelFile) -> Content | None:
        """None: these workers do not tell."""
        if not self._by_ref:
            return None
        if file not in self._by_file:
            self._by_file[file] = self._by_ref.get(file.ref)
        return self._by_file[file]

    def bytes(self, file: ModelFile) -> int:
        if not self._by_ref:
            return file.bytes
        content = self.of(file)
        return content.bytes if content and content.bytes else file.bytes

    def total(self, files: Iterable[ModelFile]) -> int:
        """Bytes of all of them."""
        if not self._by_ref:
            return sum(map(_BYTES, files))
        return sum(map(self.bytes, files))

    def sha256(self, file: ModelFile) -> str | None:
        content = self.of(file)
        return content.sha256 if content else None

    @property
    def sizes(self) -> dict[ModelRef, int]:
        return {ref: content.bytes for ref, content in self._by_ref.items()}

    @property
    def remote(self) -> dict[ModelRef, str]:
        """What is not on disk and may be fetched, with the fault of what could not be."""
        return {ref: content.fault for ref, content in self._by_ref.items() if content.remote}


UNTOLD = Contents({})
"""Of a worker that tells nothing: names alone decide."""


class ModelFiles:
    """Interns model files. As many are kept as were ever named: a fleet's models, not its runs."""

    def __init__(self) -> None:
        self._files: dict[ModelRef, ModelFile] = {}

    def file(self, ref: ModelRef) -> ModelFile:
        found = self._files.get(ref)
        if found is None:
            found = self._files[ref] = ModelFile(ref)
        return found

    def learn_sizes(self, sizes: Mapping[ModelRef, int]) -> None:
        """Bytes as told by who has the files. Of several files with one name on different workers, the last counts."""
        for ref, size in sizes.items():
            if size > 0:
                self.file(ref).bytes = size


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Offer:
    """What the workers with one catalog can do. Compared by identity: one object per catalog, and per set of models
    that are listed though they are not on disk yet. Those are no `models`."""

    classes: frozenset[str]
    models: frozenset[ModelRef]
    folders: frozenset[str]  # those whose files the catalog lists: a model of another folder may be there or not
    remote: frozenset[ModelRef] = frozenset()  # that an agent fetches once runs need them
    faults: Mapping[ModelRef, str] = field(default_factory=dict[ModelRef, str])  # why others could not be fetched

    def without(self, remote: Mapping[ModelRef, str]) -> Offer:
        """The same where these are not on disk; see Contents.remote."""
        return Offer(
            self.classes,
            self.models.difference(remote),
            self.folders.union(ref.folder for ref in remote),
            frozenset(ref for ref, fault in remote.items() if not fault),
            {ref: fault for ref, fault in remote.items() if fault},
        )
