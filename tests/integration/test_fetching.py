"""Models that a lock names and no disk has: fetched from a real web site once a run needs them, checked, and used."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.controller import dispatcher
from orchestrator.errors import Busy
from orchestrator.pins import document
from orchestrator.pins.exclusive import held
from orchestrator.pins.lock import Checkout, Lock, Model
from orchestrator.pins.pinned import Pinned, read_lock
from orchestrator.pins.state import PRIVATE
from orchestrator.scheduling import index as scheduling
from orchestrator.scheduling import infeasible
from orchestrator.simulator.comfyui.installed import InstalledSim
from orchestrator.worker import drift, fetching
from tests.fixtures.driving import Graph, eventually, picture, sampled
from tests.fixtures.pinned import git
from tests.fixtures.site import CONTENT, Site
from tests.fixtures.supervising import hurry
from tests.fixtures.up import Node, has, until
from tests.fixtures.whole import StartWhole, Whole

MODEL = "checkpoints/wanted.safetensors"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(drift, "RECHECK_S", 0.2)
    monkeypatch.setattr(dispatcher, "FETCH_S", 0.05)
    monkeypatch.setattr(fetching, "LOOK_S", 0.05)
    for module in (scheduling, infeasible):
        monkeypatch.setattr(module, "GRACE_S", 0.2)


def wants(name: str = MODEL, **given: Any) -> Graph:
    """A graph that needs the model."""
    graph = sampled(**{"steps": 1, **given})
    return {**graph, "4": {**graph["4"], "inputs": {"ckpt_name": name.removeprefix("checkpoints/")}}}


@dataclass
class Machine:
    """A ComfyUI that was provisioned from a lock without its models, which are on a web site."""

    root: Path
    site: Site

    @property
    def folder(self) -> Path:
        return self.root / "comfyui"

    @property
    def file(self) -> Path:
        return self.folder / "models" / MODEL

    @property
    def part(self) -> Path:
        return self.root / "data" / "models" / "incoming" / f"{sha256()}.part"

    async def has_begun(self) -> None:
        await eventually(lambda: self.part.exists() and self.part.stat().st_size, "the first part of the model")

    def lock(self, way: str, **models: Model) -> Path:
        """The model can be had from that path of the site."""
        source = self.root / "source"
        if not source.exists():
            InstalledSim(source).behave(config={"models": {}})
            (source / ".gitignore").write_text("models\n.venv\n.comfyfleet\n__pycache__\n")
            git(source, "init", "--quiet")
            git(source, "add", "--all")
            git(source, "commit", "--quiet", "--message", "ComfyUI")
        wanted = Model(sha256(), len(CONTENT), (f"{self.site.url}/{way}",))
        python = ".".join(map(str, sys.version_info[:3]))
        lock = Lock(Checkout(str(source), git(source, "rev-parse", "HEAD")), python, models={MODEL: wanted, **models})
        file = self.root / "prod.lock.yaml"
        file.write_text(document.dump(lock))
        return file

    def provision(self, file: Path) -> None:
        config = self.root / "fleet.yaml"
        config.write_text(json.dumps({"data_dir": str(self.root / "data")}))
        command = ("provision", "--lock", file, "--to", self.folder, "--without-models", "--config", config)
        done = CliRunner().invoke(app, [str(part) for part in command])
        assert done.exit_code == 0, done.output
        assert not self.file.exists()

    def workers(self, file: Path) -> list[dict[str, Any]]:
        return [{"id": "w", "comfyui": str(self.folder), "devices": ["cpu"], "lock": str(file)}]


def sha256() -> str:
    return hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def machine(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Machine:
    # Its environment has nothing in it: what the simulator needs comes from ours.
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in (str(Path.cwd()), *sys.path) if path))
    return Machine(tmp_path, site)


async def start(whole: StartWhole, machine: Machine, way: str, **settings: Any) -> Whole:
    file = machine.lock(way)
    machine.provision(file)
    return await whole(machine.workers(file), **settings)


async def test_a_run_that_needs_what_is_on_no_disk_has_it_fetched_and_is_executed(
    whole: StartWhole, machine: Machine
) -> None:
    fleet = await start(whole, machine, "ok")
    assert machine.site.asked == [], "nobody needs it yet"
    (named,) = (await fleet.client.get("/v1/residency"))["models"]
    assert (named["name"], named["disk"], named["remote"]) == ("wanted.safetensors", [], ["w-cpu0"])
    job = await fleet.ended(await fleet.submit(wants()))
    assert job["status"] == "succeeded", job
    assert machine.file.read_bytes() == CONTENT
    assert machine.file.resolve().name == sha256()
    notes = [change["note"] for change in (await fleet.worker("w-cpu0"))["changes"]]
    assert {f"fetching {MODEL}, which a queued run needs", f"has {MODEL} now"} <= set(notes)
    assert machine.site.asked == [("ok", 0)]


async def test_while_it_is_fetched_the_worker_does_other_work_and_explains_what_waits(
    whole: StartWhole, machine: Machine
) -> None:
    fleet = await start(whole, machine, "slow")
    waiting = await fleet.submit(wants())
    await machine.has_begun()
    assert (await fleet.ended(await fleet.submit(picture())))["status"] == "succeeded"
    explained = await fleet.client.get(f"/v1/jobs/{waiting}/explain")
    assert f"w-cpu0 has no model {MODEL} on its disk: its agent fetches that" in explained["summary"]
    machine.site.go_on.set()
    assert (await fleet.ended(waiting))["status"] == "succeeded"


async def test_what_its_source_gives_is_not_believed_and_the_run_says_what_is_missing_and_where(
    whole: StartWhole, machine: Machine
) -> None:
    fleet = await start(whole, machine, "wrong")
    job = await fleet.ended(await fleet.submit(wants()))
    assert (job["status"], job["error"]["code"]) == ("failed", "no_capable_worker")
    fault = f"model {MODEL} cannot be fetched: {machine.site.url}/wrong: it has sha256 "
    assert f"w-cpu0 comes closest: {fault}" in job["error"]["message"]
    assert not machine.file.exists()
    worker = await fleet.worker("w-cpu0")
    assert worker["state"] == "ready"
    assert any((change["note"] or "").startswith(fault) for change in worker["changes"])
    assert (await fleet.ended(await fleet.submit(picture())))["status"] == "succeeded"


async def test_what_nobody_needs_any_more_is_given_up_and_gone_on_from_later(
    whole: StartWhole, machine: Machine
) -> None:
    fleet = await start(whole, machine, "slow")
    job_id = await fleet.submit(wants())
    await machine.has_begun()
    await fleet.client.post(f"/v1/jobs/{job_id}/cancel")
    await fleet.ended(job_id)
    await fleet.worker_told("w-cpu0", f"no queued run needs {MODEL} any more")
    machine.site.go_on.set()
    assert (await fleet.ended(await fleet.submit(wants())))["status"] == "succeeded"
    (first, rest) = machine.site.asked
    assert first == ("slow", 0)
    assert 0 < rest[1] < len(CONTENT), "it goes on from what came before"


async def test_what_an_agent_that_was_killed_had_fetched_is_not_fetched_again(node: Node, machine: Machine) -> None:
    file = machine.lock("slow")
    machine.provision(file)
    node.configure(data_dir=str(machine.root / "data"), workers=machine.workers(file))
    first = await node.up()
    job = await first.fleet.post("/v1/jobs", {"workflow": wants()})
    await machine.has_begun()
    await first.kill()
    begun = machine.part.stat().st_size
    machine.site.go_on.set()
    second = await node.up()
    await until(lambda: has(second.fleet, "succeeded", 1), f"{job['id']} to succeed")
    assert machine.site.asked == [("slow", 0), ("slow", begun)]
    assert machine.file.read_bytes() == CONTENT


async def test_what_came_to_the_folder_in_another_way_is_checked_and_offered_as_well(
    whole: StartWhole, machine: Machine
) -> None:
    file = machine.lock("ok")
    machine.provision(file)
    (entry,) = machine.workers(file)
    fleet = await whole([{**entry, "devices": ["cpu", "cpu"]}])
    assert (await fleet.ended(await fleet.submit(wants())))["status"] == "succeeded"
    for worker in ("w-cpu0", "w-cpu1"):
        await fleet.worker_told(worker, f"has {MODEL} now")
    assert machine.site.asked == [("ok", 0)], "they share the folder"


async def test_while_somebody_provisions_the_folder_nothing_is_put_there(whole: StartWhole, machine: Machine) -> None:
    fleet = await start(whole, machine, "ok")
    with held(machine.folder / PRIVATE / "lock"):
        job_id = await fleet.submit(wants())
        whole_file = machine.root / "data" / "models" / "sha256" / sha256()[:2] / sha256()
        await eventually(whole_file.exists, "the model to be there")
        assert not machine.file.exists()
    assert (await fleet.ended(job_id))["status"] == "succeeded"


async def test_an_agent_that_stops_waits_for_no_source(node: Node, machine: Machine) -> None:
    file = machine.lock("slow")
    machine.provision(file)
    node.configure(data_dir=str(machine.root / "data"), workers=machine.workers(file))
    up = await node.up()
    await up.fleet.post("/v1/jobs", {"workflow": wants()})
    await machine.has_begun()
    assert await up.stop() == 0


async def test_what_has_no_room_is_not_begun_and_the_run_says_so(whole: StartWhole, machine: Machine) -> None:
    huge = Model("0" * 64, 10**17, (f"{machine.site.url}/ok",))
    file = machine.lock("ok", **{"checkpoints/huge.safetensors": huge})
    machine.provision(file)
    fleet = await whole(machine.workers(file))
    job = await fleet.ended(await fleet.submit(wants("checkpoints/huge.safetensors")))
    assert (job["status"], job["error"]["code"]) == ("failed", "no_capable_worker")
    assert "the models that are missing have 100000000.0 GB, and " in job["error"]["message"]
    assert machine.site.asked == []
    assert (await fleet.ended(await fleet.submit(wants())))["status"] == "succeeded", "what has room is fetched"


def test_so_much_of_the_disk_stays_free_as_is_to(machine: Machine) -> None:
    file = machine.lock("ok")
    machine.provision(file)
    pinned = Pinned(file, machine.root / "data" / "models" / "hashes.json")
    free = shutil.disk_usage(machine.root).free
    supply = pinned.supply(read_lock(file), machine.folder, floor_bytes=2 * free)
    assert supply is not None
    with pytest.raises(Busy, match=r"have 0\.0 GB, and .* has room for 0\.0 GB"):
        supply.fetch(MODEL, lambda: None)
    assert machine.site.asked == []
