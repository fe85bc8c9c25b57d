"""Snapshots, running ComfyUIs and folders, held against locks and made into some."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Checkout
from orchestrator.pins.observe import observe
from tests.fixtures.pinned import BIG, Run, World, load, make_repo


def test_a_snapshot_is_completed_from_the_folder(world: World, run: Run, lock_file: Path, tmp_path: Path) -> None:
    snapshot = {
        "comfyui": world.commits["ComfyUI"][0],
        "git_custom_nodes": {f"file://{world.git}/PackA": {"hash": world.commits["PackA"][0], "disabled": False}},
        "cnr_custom_nodes": {},
        "file_custom_nodes": [{"filename": "websocket_image_save.py", "disabled": False}],
        "pips": {"alpha==2.0": ""},
    }
    (tmp_path / "s.json").write_text(json.dumps(snapshot))
    run("lock", "--snapshot", tmp_path / "s.json", "--from", world.comfyui, "-o", tmp_path / "x.yaml")
    lock = load(tmp_path / "x.yaml")
    assert lock.comfyui.commit == world.commits["ComfyUI"][0]
    assert lock.node_packs["PackA"] == Checkout(f"file://{world.git}/PackA", world.commits["PackA"][0])
    assert {name: package.version for name, package in lock.packages.items()} == {"alpha": "2.0"}
    assert lock.models == load(lock_file).models

    said = run("lock", "--snapshot", tmp_path / "s.json", "--python", sys.executable, "-o", tmp_path / "y.yaml")
    assert "no models are locked, as they are unknown: a snapshot does not know it" in said
    assert load(tmp_path / "y.yaml").comfyui.repo == "https://github.com/Comfy-Org/ComfyUI"


@pytest.fixture
def running(world: World, lock_file: Path) -> Iterator[tuple[str, dict]]:
    """A server that answers as the node pack does, with one digest late; and its document, to be changed."""
    lock = load(lock_file)
    report = {
        "schema": 1,
        "comfyui": {"commit": lock.comfyui.commit, "remote": lock.comfyui.repo, "dirty": False},
        "node_packs": [
            {"name": name, "imported": True, "commit": pack.commit, "remote": pack.repo, "dirty": False}
            for name, pack in lock.node_packs.items()
        ],
        "python": lock.python,
        "packages": {name: package.version for name, package in lock.packages.items()},
        "models": [
            {"folder": "checkpoints", "name": BIG.partition("/")[2], "bytes": 3_000_000, "sha256": None},
            {
                "folder": "text_encoders",
                "name": "te.safetensors",
                "bytes": 1000,
                "sha256": lock.models["text_encoders/te.safetensors"].sha256,
            },
        ],
        "unavailable": {},
    }
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(report).encode()
            self.send_response(200 if self.path.startswith("/fleet/inventory?") else 404)
            self.end_headers()
            self.wfile.write(body)
            report["models"][0]["sha256"] = lock.models[BIG].sha256

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", report
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_running_comfyui_is_held_against_its_lock(
    running: tuple[str, dict], world: World, run: Run, lock_file: Path, tmp_path: Path
) -> None:
    url, report = running
    said = run("verify", "--lock", lock_file, "--url", url)
    assert "1 models are still being read" in said
    assert "is what" in said

    python = world.comfyui / ".venv/bin/python"
    said = run("lock", "--from", url, "--python", python, "-o", tmp_path / "url.yaml")
    assert "write where they can be fetched from into `sources`" in said
    assert load(tmp_path / "url.yaml").digest == load(lock_file).digest

    report["packages"]["alpha"] = "1.1"
    report["node_packs"][0] |= {"imported": False, "error": "boom"}
    assert run("verify", "--lock", lock_file, "--url", url, code=1).splitlines() == [
        "node pack PackA was not imported by ComfyUI: boom",
        "package alpha is 1.1, the lock says 1.0",
    ]
    assert "put comfyfleet's node pack" in run("verify", "--lock", lock_file, "--url", f"{url}/x", code=2)


@pytest.mark.parametrize(
    ("damaged", "why"),
    [("HEAD", "its HEAD is no commit"), ("index", "git cannot read it: fatal: .git/index: ")],
)
def test_a_damaged_repository_is_a_gap_and_not_the_one_around_it(tmp_path: Path, damaged: str, why: str) -> None:
    comfyui = tmp_path / "ComfyUI"
    pack = comfyui / "custom_nodes" / "Pack"
    (commit,) = make_repo(comfyui, {"main.py": "", ".gitignore": "custom_nodes\n"})
    make_repo(pack, {"__init__.py": "", "pyproject.toml": "project = 5"})
    (pack / ".git" / damaged).write_text("garbage")
    seen = observe(comfyui, Path(sys.executable), Hashes(tmp_path / "hashes.json"))
    assert seen.node_packs is not None
    assert (seen.comfyui.commit, seen.node_packs["Pack"].checkout.commit) == (commit, None)
    assert seen.gaps["node_pack Pack"].startswith(why)
    (comfyui / ".git" / damaged).write_text("garbage")
    assert observe(comfyui, Path(sys.executable), Hashes(tmp_path / "hashes.json")).gaps["comfyui"].startswith(why)


def test_names_are_those_that_comfyui_finds_first(world: World, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("unet/x.gguf", "diffusion_models/x.gguf", "clip/y.gguf", "text_encoders/y.gguf", "vae/.z", ".c/x"):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_text(name)
    seen = observe(tmp_path, None, Hashes(tmp_path / "hashes.json"))
    assert seen.models is not None
    found = {name: model.source for name, model in seen.models.items()}
    assert found == {
        "diffusion_models/x.gguf": (models / "unet/x.gguf").as_uri(),
        "text_encoders/y.gguf": (models / "text_encoders/y.gguf").as_uri(),
    }
    some = observe(tmp_path, None, Hashes(tmp_path / "hashes.json"), wanted=[*found, "vae/none.gguf"])
    assert some.models == seen.models
