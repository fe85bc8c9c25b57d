"""SupervisedHost: keeps one ComfyUI process running for one worker, and replaces it when it fails or wears out.

What is to be done is what lifecycle.py says; this carries it out. A process that survived its agent is taken over with
the runs that it executes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL, SIGTERM
from time import monotonic

from orchestrator.comfy.client import ComfyClient
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerEvent, WorkerInfo
from orchestrator.errors import WorkerFault
from orchestrator.graph.catalog import Catalog
from orchestrator.pins.lock import Lock
from orchestrator.pins.pinned import Pinned
from orchestrator.pins.supply import Supply
from orchestrator.worker import metrics
from orchestrator.worker.context import End
from orchestrator.worker.drift import KEPT_FROM_TELLING, conforming, lock_of_installed
from orchestrator.worker.host import Tenant
from orchestrator.worker.supervisor.demands import Demands
from orchestrator.worker.supervisor.home import Home
from orchestrator.worker.supervisor.installation import Installation
from orchestrator.worker.supervisor.lifecycle import TRANSITIONS, Happening, Life, Phase, Tolerance, advance
from orchestrator.worker.supervisor.logbook import Logbook
from orchestrator.worker.supervisor.process import Process, free_port
from orchestrator.worker.supervisor.wear import GB, Usage, worn
from orchestrator.worker.warmup import warm_up
from orchestrator.worker_settings import SupervisionSettings

log = logging.getLogger(__name__)

POLL_S = 2.0
BOOT_POLL_S = 0.25
ADOPT_S = 15.0  # for one that was found to answer: it may be loading a model
ANSWER_S = 5.0
WORTHWHILE_BYTES = 100_000_000  # of inputs above all, which are kept for as long as it lives
UNKILLABLE_S = 5.0
HALTED_POLLS = 2  # in a row, after which a process that a signal stopped is not waited for


@dataclass(frozen=True, slots=True)
class _Sight:
    """How things stood at one look."""

    usage: Usage
    halted: bool
    crowded: str


class SupervisedHost:
    """`home` is claimed by whoever makes this, and released by `close`."""

    def __init__(
        self, info: WorkerInfo, installation: Installation, home: Home, demands: Demands, settings: SupervisionSettings
    ) -> None:
        metrics.expect_restarts(info.id)
        self.info = info
        self.locked: Mapping[str, str] = {}
        self.supply: Supply | None = None
        self._locked_packs = frozenset[str]()
        self._installation = installation
        self._home = home
        self._demands = demands
        self._settings = settings
        self._tolerance = Tolerance(settings.quarantine_failures, settings.quarantine_window_s)
        self._logbook = Logbook(home.log)
        self._life = Life()
        self._process: Process | None = None
        self._searched = False
        self._resumed = asyncio.Event()
        self._complaint = ""
        self._runs = 0  # executed by the process
        self._unswept: set[str] = set()
        self._crowded = False  # its disk was too full for more runs

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def model_file(self, model: ModelRef) -> Path | None:
        return self._installation.model_file(model)

    async def start(self, tenant: Tenant) -> str:
        if not self._searched:
            await self._search()
            await self._check_found(tenant)
        if self._life.phase not in (Phase.SERVING, Phase.WORN):
            await tenant.abandon(self._life.note or "its ComfyUI was not running any more")
        while True:
            match self._life.phase:
                case Phase.ABSENT:
                    await self._spawn(tenant)
                case Phase.BOOTING:
                    await self._boot(self._known)
                case Phase.SERVING | Phase.WORN:
                    return self._known.url
                case Phase.RETIRED:
                    await self._end(self._known, self._settings.stop_s, tenant)
                case Phase.CONDEMNED:
                    await self._end(self._known, 0.0, tenant)
                case Phase.QUARANTINED:
                    await self._wait_for_operator(tenant)

    async def accept(self, client: ComfyClient, catalog: Catalog) -> None:
        missing = [name for name in self._demands.required_classes if name not in catalog.classes]
        if missing:
            failed = await asyncio.to_thread(self._logbook.import_failures)
            told = f"; IMPORT FAILED: {', '.join(failed)}" if failed else ""
            raise WorkerFault("comfyui_unfit", f"it lacks the required node classes {', '.join(missing)}{told}")
        if self._locked_packs:
            await self._check_imports()
        process = self._known
        if self._demands.warmup is not None and not process.record.warm:
            try:
                self._unswept.add(await warm_up(client, self._demands.warmup, self._settings.boot_s))
            except WorkerFault as fault:
                raise WorkerFault("comfyui_unfit", f"its warm-up graph failed: {fault.message}") from fault
            process.mark_warm()

    async def watch(self, tenant: Tenant) -> None:
        process = self._known
        self._crowded = False
        async with asyncio.TaskGroup() as group:
            group.create_task(self._await_end(process, tenant))
            halted = 0
            while True:
                await asyncio.sleep(POLL_S)
                sight = await asyncio.to_thread(self._look, process, tenant.busy_since)
                halted = halted + 1 if sight.halted else 0
                if halted == HALTED_POLLS:
                    tenant.end(End.SICK, f"process {process.pid} was stopped by a signal (SIGSTOP?) and does nothing")
                if tenant.ready:
                    await self._judge(sight, tenant)

    def over(self, run_id: str) -> None:
        self._runs += 1
        self._unswept.add(run_id)

    def complain(self, note: str) -> None:
        if self._complaint:
            return
        self._complaint = note
        if self._process is not None and self._process.alive:
            try:
                self._process.mark_worn(note)
            except OSError as error:
                log.warning("%s: the next agent will not know that %s: %s", self.info.id, note, error)

    def resume(self) -> None:
        self._resumed.set()

    def release(self, why: End, note: str) -> None:
        process = self._process
        if process is None or not process.alive:
            return
        if why in (End.GONE, End.SICK) and (self._life.phase, Happening.FAULT) in TRANSITIONS:
            self._happen(Happening.FAULT, note)
            process.send(SIGKILL)  # at once: whoever waits for its answers waits in vain
        elif why is End.WORN:
            self._happen(Happening.RETIRE, note)

    async def recover(self, why: End) -> None:
        if self._process is not None and not self._process.alive:
            self._bury(self._process)

    async def close(self) -> None:
        process = self._process
        if process is not None:
            if (self._life.phase, Happening.RETIRE) in TRANSITIONS:
                self._happen(Happening.RETIRE, "its agent was stopped")
            await self._end(process, 0.0 if self._life.phase is Phase.CONDEMNED else self._settings.stop_s, None)
        self._home.release()

    # --- what each phase asks for ---

    @property
    def _known(self) -> Process:
        assert self._process is not None, f"a life in phase {self._life.phase} has a process"
        return self._process

    async def _search(self) -> None:
        """Takes over the process of an earlier agent, which may be executing runs."""
        self._searched = True
        found = await asyncio.to_thread(Process.find, self._home.record)
        if found is None:
            return
        self._process = found
        self._complaint = found.record.worn
        if list(found.record.command) != self._installation.command(self._home, found.record.port):
            self.complain("fleet.yaml has another command line for it by now")
        if not found.record.answered and not found.halted:
            self._happen(Happening.SPAWN, f"process {found.pid} of an earlier agent is still starting")
            return
        self._happen(Happening.ADOPT, f"process {found.pid} of an earlier agent was taken over")
        until = monotonic() + ADOPT_S
        while found.halted or not await self._answers(found):
            if found.halted or monotonic() > until:
                self._happen(Happening.FAULT, f"process {found.pid} of an earlier agent does not answer")
                return
            await asyncio.sleep(BOOT_POLL_S)

    async def _check_found(self, tenant: Tenant) -> None:
        """One that was not started from what the lock says now may have code in memory that nobody can look at."""
        pinned, found = self._demands.pinned, self._process
        if pinned is None or found is None or self._life.phase not in (Phase.BOOTING, Phase.SERVING):
            return
        await tenant.tell(None, f"{self._life.note}: comparing it with {pinned.file.name}")
        try:
            lock = await self._lock(pinned)
        except KEPT_FROM_TELLING as why:
            self._happen(Happening.RETIRE, why.message)
            return
        if found.record.lock == lock.digest:
            self._conform(pinned, lock)
        else:
            self._happen(Happening.RETIRE, f"process {found.pid} was started when {pinned.file.name} was another")

    async def _check(self, pinned: Pinned, tenant: Tenant) -> None:
        """Returns when what would be started is what its lock says."""
        await tenant.tell(None, f"comparing {self._installation.directory} with {pinned.file.name}")
        self._resumed.clear()
        self._conform(pinned, await conforming(lambda: self._lock(pinned), tenant.tell, self._resumed))

    async def _lock(self, pinned: Pinned) -> Lock:
        return await lock_of_installed(pinned, self._installation.directory, self._installation.python)

    def _conform(self, pinned: Pinned, lock: Lock) -> None:
        floor_bytes = round(self._settings.min_free_gb * GB)
        self.supply = pinned.supply(lock, self._installation.directory, floor_bytes)
        self.info = replace(self.info, lock=lock.digest)
        self.locked, self._locked_packs = lock.sha256_of_models, frozenset(lock.node_packs)

    async def _check_imports(self) -> None:
        """The files of a node pack may be what the lock says, and ComfyUI go on without it."""
        failed = await asyncio.to_thread(self._logbook.import_failures)
        if broken := [pack for pack in failed if pack.split(" (")[0] in self._locked_packs]:
            raise WorkerFault("comfyui_unfit", f"node packs of its lock were not imported: {', '.join(broken)}")

    async def _spawn(self, tenant: Tenant) -> None:
        wait_s = self._life.due - monotonic()
        if wait_s > 0:
            await tenant.tell(None, f"{self._life.note}; starting again in {wait_s:.0f} s")
            await asyncio.sleep(self._life.due - monotonic())
        if self._demands.pinned is not None:
            await self._check(self._demands.pinned, tenant)
        port = free_port()
        command = self._installation.command(self._home, port)
        try:
            await asyncio.to_thread(self._furnish)
            self._process = self._start_process(command, port)  # nothing may come between: it would be lost
        except OSError as error:
            self._happen(Happening.FAULT, f"{command[0]} cannot be started: {error}")
            return
        self._complaint, self._runs = "", 0
        self._unswept.clear()
        self._happen(Happening.SPAWN, f"process {self._process.pid} was started, on port {port}")
        await tenant.tell(None, f"{self._life.note}: waiting for it to answer")

    def _furnish(self) -> None:
        self._home.furnish()
        self._installation.furnish(self._home)

    def _start_process(self, command: list[str], port: int) -> Process:
        where, environment = self._installation.directory, self._installation.environment(os.environ)
        environment["COMFYFLEET_HASHES"] = str(self._home.hashes)
        with self._logbook.begin(f"{self.info.id}: {' '.join(command)}") as said:
            return Process.spawn(command, port, where, environment, said, self._home.record, self.info.lock or "")

    async def _boot(self, process: Process) -> None:
        while process.alive:
            if await self._answers(process):
                self._happen(Happening.ANSWER, f"process {process.pid} answers after {process.age_s:.1f} s")
                process.mark_answered()
                return
            if process.age_s > self._settings.boot_s:
                told = f"it did not answer within supervision.boot_s of {self._settings.boot_s:g} s"
                self._happen(Happening.FAULT, f"{told}{self._last_words(process)}")
                return
            await asyncio.sleep(BOOT_POLL_S)
        self._bury(process)

    async def _end(self, process: Process, grace_s: float, tenant: Tenant | None) -> None:
        """Ends the process, by force if it does not heed after `grace_s`."""
        if tenant is not None:
            await tenant.tell(None, f"{self._life.note}: ending process {process.pid}")
        if grace_s:
            process.send(SIGTERM)
            await process.ended_within(grace_s)
        while process.alive:
            process.send(SIGKILL)
            await process.ended_within(UNKILLABLE_S)
            if process.alive and tenant is not None:
                told = f"process {process.pid} does not die, even by SIGKILL: its driver hangs; reboot this machine"
                await tenant.tell(None, f"{self._life.note}; {told}")
        self._bury(process)

    def _bury(self, process: Process) -> None:
        unasked = self._life.phase not in (Phase.RETIRED, Phase.CONDEMNED)
        self._happen(Happening.DIE, self._obituary(process) if unasked else "")
        process.bury()
        self._process = None

    async def _wait_for_operator(self, tenant: Tenant) -> None:
        self._resumed.clear()
        failures, window_s = len(self._life.failures), self._tolerance.window_s
        await tenant.tell(WorkerEvent.QUARANTINE, f"{failures} failures within {window_s:g} s: {self._life.note}")
        await self._resumed.wait()
        self._happen(Happening.RESUME, "an operator has it tried again")

    # --- while it is used ---

    async def _await_end(self, process: Process, tenant: Tenant) -> None:
        await process.ended()
        tenant.end(End.GONE, self._obituary(process))

    def _look(self, process: Process, busy_since: float | None) -> _Sight:
        """Looks after its files, and how it does; in a thread."""
        crowded = ""
        try:
            crowded = self._tidy(0.0 if busy_since is None else monotonic() - busy_since)
        except OSError as error:
            self.complain(f"its files cannot be looked after: {error}")
        return _Sight(Usage(process.rss_bytes(), self._runs, process.age_s), process.halted, crowded)

    def _tidy(self, busy_s: float) -> str:
        """Deletes what nobody needs. Answers why its disk is too full for more runs all the same, in words."""
        self._logbook.rotate()
        swept = frozenset(self._unswept)
        self._home.sweep(swept, busy_s)
        self._unswept -= swept
        crowded = self._crowding()
        if crowded and (own_bytes := self._home.own_bytes()) >= WORTHWHILE_BYTES:
            self.complain(f"{crowded}; {own_bytes / GB:.2f} GB are its own, which a fresh start deletes")
        return crowded

    def _crowding(self) -> str:
        """Why its disk is too full for more runs, in words."""
        free, floor = self._home.free_bytes() / GB, self._settings.min_free_gb
        if free >= floor:
            return ""
        return f"{free:.2f} GB are free for {self._home.folder}, less than supervision.min_free_gb of {floor:g}"

    async def _judge(self, sight: _Sight, tenant: Tenant) -> None:
        why = self._complaint or worn(sight.usage, self._demands.limits)
        if why is not None:
            self._happen(Happening.WEAR, why)
            tenant.retire(why)
        elif sight.crowded and not self._crowded:
            await tenant.tell(WorkerEvent.DRAIN, sight.crowded)
        elif self._crowded and not sight.crowded:
            await tenant.tell(WorkerEvent.RESUME, "")
        self._crowded = bool(sight.crowded)

    # --- how ---

    def _happen(self, happening: Happening, note: str) -> None:
        before = self._life.phase
        self._life = advance(self._life, happening, monotonic(), self._tolerance, note)
        if happening is Happening.DIE:
            cause = {Phase.RETIRED: "retired", Phase.CONDEMNED: "fault"}.get(before, "crash")
            metrics.RESTARTS.labels(self.info.id, cause).inc()
        if self._life.phase is not before:
            log.info("%s: %s -> %s: %s", self.info.id, before, self._life.phase, self._life.note)

    async def _answers(self, process: Process) -> bool:
        """Whether that process answers, and no other that took its port."""
        async with ComfyClient(process.url) as client:
            try:
                async with asyncio.timeout(ANSWER_S):
                    return str(self._home.output) in (await client.system_stats()).argv
            except (WorkerFault, TimeoutError):
                return False

    def _obituary(self, process: Process) -> str:
        return f"process {process.pid}: {process.how_it_ended()}{self._last_words(process)}"

    def _last_words(self, process: Process) -> str:
        """Those of one that executed may quote prompts, and this is told to logs and to whoever has a run there."""
        if process.record.answered:
            return f"; what it said is in {self._home.log}"
        said = self._logbook.last_lines()
        return f"; its last lines in {self._home.log}: {said}" if said else ""
