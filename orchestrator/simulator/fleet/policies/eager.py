"""Baselines that give each run to a worker as it arrives, as load balancers and most ComfyUI front ends do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from blake3 import blake3

from orchestrator.domain.run import QueueEntry
from orchestrator.simulator.fleet.policies.book import Book, Desk


class Eager(Book):
    """Binds on arrival; runs wait in the queue only while no worker is up."""

    @abstractmethod
    def choose(self, entry: QueueEntry, able: list[Desk], now: float) -> Desk:
        """One of the workers that are able, of which there is at least one."""

    def place(self, now: float) -> Iterable[tuple[QueueEntry, Desk]]:
        while self.queue:
            able = self.able(self.queue[0])
            if not able:
                return
            entry = self.queue.popleft()
            yield entry, self.choose(entry, able, now)


class RoundRobin(Eager):
    """Each in turn."""

    name = "round-robin"
    _next = 0

    def choose(self, entry: QueueEntry, able: list[Desk], now: float) -> Desk:
        self._next += 1
        return able[self._next % len(able)]


class LeastQueue(Eager):
    """Whoever has the fewest runs."""

    name = "least-queue"

    def choose(self, entry: QueueEntry, able: list[Desk], now: float) -> Desk:
        return min(able, key=lambda desk: (len(desk.tasks), desk.freed))


class StickyHash(Eager):
    """A model's runs go to the same worker, by rendezvous hashing: a lost worker moves its own models alone."""

    name = "sticky-hash"

    def choose(self, entry: QueueEntry, able: list[Desk], now: float) -> Desk:
        name = self.main(entry).path
        return max(able, key=lambda desk: blake3(f"{name}@{desk.id}".encode()).digest(8))


class EarliestCompletion(Eager):
    """Whoever is expected to be done with it first: what it has to do, loading, execution."""

    name = "earliest-completion"

    def choose(self, entry: QueueEntry, able: list[Desk], now: float) -> Desk:
        files = self.files(entry)
        return min(able, key=lambda it: (it.wait_s(now) + self.load_s(files, it) + self.execute_s(entry, it), it.freed))
