from __future__ import annotations

import threading

import pytest

from orchestrator.simulator.comfyui import queue as module
from orchestrator.simulator.comfyui.queue import Item, PromptQueue

OUTCOME = {"outputs": {}, "meta": {}, "status": {"messages": [("execution_start", {"timestamp": 0})]}}


def item(number: float, prompt_id: str = "") -> Item:
    return Item(number, prompt_id or f"p{number}", {}, {}, [], {"auth_token_comfy_org": "secret"})


@pytest.fixture
def queue() -> PromptQueue:
    return PromptQueue(updated=lambda: None)


def finish(queue: PromptQueue, *prompt_ids: str) -> None:
    for prompt_id in prompt_ids:
        queue.put(item(0, prompt_id))
        taken = queue.take()
        assert taken is not None
        queue.done(taken, OUTCOME)


def test_the_smallest_number_goes_first(queue: PromptQueue) -> None:
    for number in (2, 0.5, -7, 1):
        queue.put(item(number))
    taken = [queue.take() for _ in range(4)]
    assert [each and each.number for each in taken] == [-7, 0.5, 1, 2]


def test_deleting_hits_what_waits_only(queue: PromptQueue) -> None:
    for number in range(3):
        queue.put(item(number))
    running = queue.take()
    assert running is not None
    assert not queue.delete(running.prompt_id)
    assert queue.delete("p2")
    assert not queue.delete("p2")
    assert [each.prompt_id for each in queue.snapshot()[1]] == ["p1"]
    assert queue.remaining() == 2


def test_acting_on_the_running_one_only(queue: PromptQueue) -> None:
    acted: list[int] = []
    queue.put(item(0))
    assert not queue.if_running("p0", lambda: acted.append(1))
    queue.take()
    assert queue.if_running("p0", lambda: acted.append(2))
    assert acted == [2]


def test_what_waits_goes_before_a_flag_as_in_comfyui(queue: PromptQueue) -> None:
    queue.put(item(0))
    queue.set_flag("free_memory", True)
    assert queue.take() == item(0)
    assert queue.take(timeout=0.01) is None
    assert queue.take_flags() == {"free_memory": True}


def test_a_flag_wakes_whoever_waits(queue: PromptQueue) -> None:
    timer = threading.Timer(0.05, queue.set_flag, ("free_memory", True))
    timer.start()
    assert queue.take(timeout=10.0) is None
    assert queue.take_flags() == {"free_memory": True}
    timer.join()


def test_clients_do_not_see_credentials(queue: PromptQueue) -> None:
    finish(queue, "a")
    assert "secret" not in str(queue.history())
    assert "secret" not in str(item(0).shown())


def test_history_forgets_the_oldest(queue: PromptQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HISTORY", 3)
    finish(queue, *"abcdef")
    assert list(queue.history()) == ["c", "d", "e", "f"]


def test_a_closed_queue_gives_nothing(queue: PromptQueue) -> None:
    queue.put(item(0))
    queue.close()
    assert queue.take() is None
