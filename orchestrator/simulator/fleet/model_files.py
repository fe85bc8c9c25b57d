"""The model files of a simulated fleet: base models by popularity, LoRAs and ControlNets, with their bytes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.domain.needs import ModelRef, Needs

GB = 1_000_000_000

# Bytes of the base model on each rank of popularity, again and again: mostly SDXL, some Flux in fp8, some SD 1.5.
BASE_GB = (6.94, 17.2, 6.94, 4.27, 6.94, 6.94, 17.2, 6.94, 2.13, 6.94)

LORAS = 874
LORA_SKEW = 0.857  # exponent of their popularity: the ten most wanted have 28 % of all uses
LORA_GB = (0.04, 0.15, 0.23, 0.46)
CONTROLNETS = 12
CONTROLNET_GB = (1.45, 2.5, 0.72)


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """A file in truth. Compared by identity: there is one object a file."""

    ref: ModelRef
    bytes: int


class Library:
    """Makes the files as they are asked for. Which LoRA or ControlNet a tenant uses with a model never changes."""

    def __init__(self, uses: Mapping[str, int]) -> None:
        ranked = sorted(uses, key=lambda model: (-uses[model], model))
        self._rank = {model: rank for rank, model in enumerate(ranked)}
        self._files: dict[tuple[str, str], ModelFile] = {}
        self._needs: dict[frozenset[ModelRef], Needs] = {}
        self._lora_weights = list(accumulate((rank + 1) ** -LORA_SKEW for rank in range(LORAS)))

    def model(self, name: str) -> ModelFile:
        """Of the base model with this name, which `uses` had."""
        return self._file("checkpoints", f"{name}.safetensors", BASE_GB[self._rank[name] % len(BASE_GB)])

    def loras(self, tenant: str, model: str, count: int) -> list[ModelFile]:
        """So many different ones."""
        if not count:
            return []
        rng = random.Random(f"loras/{tenant}/{model}")
        chosen: dict[int, None] = {}
        while len(chosen) < min(count, LORAS):
            chosen[rng.choices(range(LORAS), cum_weights=self._lora_weights)[0]] = None
        return [self._file("loras", f"lora-{n:03}.safetensors", LORA_GB[n % len(LORA_GB)]) for n in chosen]

    def controlnet(self, tenant: str, kind: str) -> ModelFile:
        n = random.Random(f"controlnet/{tenant}/{kind}").randrange(CONTROLNETS)
        return self._file("controlnet", f"control-{n:02}.safetensors", CONTROLNET_GB[n % len(CONTROLNET_GB)])

    def needs(self, classes: Sequence[str], files: Iterable[ModelFile]) -> Needs:
        """Equal needs are one object."""
        models = frozenset(file.ref for file in files)
        found = self._needs.get(models)
        if found is None:
            found = self._needs[models] = Needs(tuple(sorted(classes)), tuple(sorted(models)))
        return found

    def _file(self, folder: str, name: str, size_gb: float) -> ModelFile:
        found = self._files.get((folder, name))
        if found is None:
            found = self._files[folder, name] = ModelFile(ModelRef(folder, name), round(size_gb * GB))
        return found
