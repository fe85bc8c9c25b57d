"""The pack as a whole, where there is no ComfyUI."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import comfy_nodes
from comfy_nodes.hashing import Hasher
from comfy_nodes.inventory import Wanted, import_failures, packages, report
from comfy_nodes.routes import FleetRoutes

HERE = Path(comfy_nodes.__file__).parent


def test_it_imports_under_whatever_name_its_folder_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "fleet's eyes v1.0"
    link.symlink_to(HERE)
    name = str(link).replace(".", "_x_")  # as ComfyUI names the modules of custom nodes
    spec = importlib.util.spec_from_file_location(name, link / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys()
    assert "FleetReport" in module.NODE_CLASS_MAPPINGS
    for submodule in [loaded for loaded in sys.modules if loaded.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, submodule)


def test_residency_names_what_it_cannot_see() -> None:
    routes = FleetRoutes()
    routes.observe()
    answer = routes.residency()
    assert answer["schema"] == 1
    assert "models" not in answer
    assert "cache" not in answer
    reasons = answer["unavailable"]
    assert reasons["files"] == "the module folder_paths is not loaded"
    assert reasons["cache"] == "the module execution is not loaded"
    assert reasons["models"] == reasons["vram"] == "the module comfy.model_management is not loaded"


def test_inventory_names_what_it_cannot_see(tmp_path: Path) -> None:
    answer = report(Hasher(tmp_path / "sha256.json"), Wanted(all=True, named=frozenset({"vae/a"})), {})
    assert answer["packages"]["pytest"] == version("pytest")
    assert answer["hashing"] == {"done": 0, "total": 0}
    assert not {"models", "node_packs", "torch", "devices"} & answer.keys()
    assert answer["unavailable"].keys() == {
        *("models", "sha256.vae/a", "torch", "devices", "node_packs", "comfyui.version", "comfyui.commit")
    }


def test_packages_have_normalised_names() -> None:
    found = packages()
    assert found["pytest-asyncio"] == version("pytest_asyncio")
    assert list(found) == sorted(found)
    assert not any(set(name) & {"_", "."} or name != name.lower() for name in found)


def test_import_failures_are_read_from_the_log() -> None:
    log = [
        "got prompt\n",
        "\x1b[33m[WARNING]\x1b[0m Cannot import /c/custom_nodes/a pack module for custom nodes: No module named 'x'\n",
        "Cannot import /c/b module for custom nodes: two\nlines\n",
        "Error while calling comfy_entrypoint in /c/d: bad day\n",
        "Skip /c/e module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).\n",
    ]
    assert import_failures(log) == {
        "/c/custom_nodes/a pack": "No module named 'x'",
        "/c/b": "two\nlines",
        "/c/d": "bad day",
        "/c/e": "the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).",
    }
