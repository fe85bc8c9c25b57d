"""Installation: a ComfyUI on this machine, and how it is started as one worker's."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml

from orchestrator.domain.needs import ModelRef
from orchestrator.errors import InvalidRequest
from orchestrator.pins.observed import FOLDERS
from orchestrator.worker.supervisor.home import Home

_FLAG = re.compile(r"""add_argument\(\s*["'](--[a-z0-9-]+)["']""")
_PYTHONS = (".venv/bin/python", "venv/bin/python")
PACK = "comfyfleet"

Device = int | Literal["cpu"]


@dataclass(frozen=True)
class Installation:
    """`pack`: our node pack, which every ComfyUI is shown; None where it is not at hand."""

    directory: Path
    python: Path
    device: Device
    args: tuple[str, ...] = ()
    keep_metadata: bool = False
    pack: Path | None = None

    @classmethod
    def find(
        cls,
        directory: Path,
        python: Path | None,
        device: Device,
        *,
        args: tuple[str, ...] = (),
        keep_metadata: bool = False,
        pack: Path | None = None,
    ) -> Installation:
        """Raises InvalidRequest("config_invalid") where there is no ComfyUI, or no such Python."""
        if not (directory / "main.py").is_file():
            raise InvalidRequest(
                "config_invalid", f"there is no ComfyUI in {directory}: set `comfyui:` to the folder with its main.py"
            )
        beside = (directory / path for path in _PYTHONS)
        found = python or next((path for path in beside if path.is_file()), Path(sys.executable))
        if not (found.is_file() and os.access(found, os.X_OK)):
            raise InvalidRequest(
                "config_invalid", f"{found} cannot be executed: set `python:` to the Python that has ComfyUI's packages"
            )
        return cls(directory, found, device, args, keep_metadata, pack)

    def command(self, home: Home, port: int) -> list[str]:
        """What starts it for a worker. Flags that this version does not have are left out, if it can do without."""
        flags = ["--listen", "127.0.0.1", "--port", str(port)]
        flags += ["--input-directory", str(home.input), "--output-directory", str(home.output)]
        flags += ["--temp-directory", str(home.folder)]  # in which it makes its temp
        flags += self._if_known("--user-directory", str(home.user))
        flags += self._if_known("--database-url", f"sqlite:///{home.user / 'comfyui.db'}")
        flags += [] if self.keep_metadata else self._if_known("--disable-metadata")
        flags += ["--cpu"] if self.device == "cpu" else []
        flags += ["--extra-model-paths-config", str(self._paths_file(home))] if self._shows_pack else []
        return [str(self.python), str(self.directory / "main.py"), *flags, *self.args]

    def environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Ours, but for what is comfyfleet's own, which may hold passwords. GPUs are numbered as nvidia-smi does."""
        passed_on = {name: value for name, value in ours.items() if not name.upper().startswith("COMFYFLEET_")}
        if self.device == "cpu":
            return passed_on
        seen = dict.fromkeys(("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"), str(self.device))
        return {**passed_on, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **seen}

    def model_file(self, model: ModelRef) -> Path | None:
        """Where it has the file of a model, in its own folder of models."""
        places = FOLDERS.get(model.folder, (model.folder,))
        paths = (self.directory / "models" / place / model.name for place in places)
        return next((path for path in paths if path.is_file()), None)

    def furnish(self, home: Home) -> None:
        """Puts our node pack where this worker's ComfyUI looks for custom nodes, and nobody else's.

        A file of extra model paths may name folders of custom nodes: so the checkout stays as it is.
        """
        if self.pack is None or not self._shows_pack:
            return
        nodes = home.folder / "custom_nodes"
        nodes.mkdir(parents=True, exist_ok=True)
        link = nodes / PACK
        link.unlink(missing_ok=True)
        link.symlink_to(self.pack)
        self._paths_file(home).write_text(yaml.safe_dump({PACK: {"custom_nodes": str(nodes)}}))

    @cached_property
    def _shows_pack(self) -> bool:
        """Unless it has it already: twice is once too often."""
        return self.pack is not None and not any(
            entry.name == PACK or entry.resolve() == self.pack.resolve()
            for entry in (self.directory / "custom_nodes").glob("*")
        )

    @cached_property
    def _known(self) -> frozenset[str] | None:
        """The flags of this version; None if it does not tell."""
        source = self.directory / "comfy" / "cli_args.py"
        return frozenset(_FLAG.findall(source.read_text(errors="replace"))) if source.is_file() else None

    def _if_known(self, flag: str, *values: str) -> list[str]:
        return [flag, *values] if self._known is None or flag in self._known else []

    def _paths_file(self, home: Home) -> Path:
        return home.folder / "extra_model_paths.yaml"
