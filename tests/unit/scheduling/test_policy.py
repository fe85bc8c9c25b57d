"""What decide() chooses, case by case, and how it says why. What must always hold is in test_machine.py."""

from __future__ import annotations

import pytest

from orchestrator.domain.worker import WorkerState
from orchestrator.scheduling.fleet import COVER_S, MAX_HELD, SHORT_S
from orchestrator.scheduling.index import DOUBT_S, Index
from orchestrator.scheduling.policy import AT_ONCE, Rules, decide
from tests.unit.scheduling.builders import GB, contents, entry, learn, offer, one, placed, run_id, worker

ALL = offer("a", "b", "c")
SHORT = Rules(overtake_s=30.0)


def fleet(*workers: str, **residents: str) -> Index:
    """Idle workers; `w1="a"` says that w1 holds a."""
    index = Index()
    for name in (*workers, *residents):
        index.worker(worker(name, vram=(residents[name],) if name in residents else ()), ALL, 0.0)
    return index


def test_nothing_to_do_and_nothing_to_wait_for() -> None:
    plan = decide(fleet("w1"), 0.0)
    assert (plan.placements, plan.refusals) == ((), ())


def test_the_worker_that_holds_the_model_gets_the_run() -> None:
    index = fleet("w1", "w2", w3="a", w4="b")
    index.queued(entry(1, "a"), 0.0)
    assert one(index).worker == "w3"


def test_ram_is_better_than_disk() -> None:
    index = fleet("w1")
    index.worker(worker("w2", ram=("a",)), ALL, 0.0)
    index.queued(entry(1, "a"), 0.0)
    assert one(index).worker == "w2"


def test_an_empty_worker_is_loaded_before_one_that_would_lose_something() -> None:
    index = fleet("w2", w1="b")
    index.queued(entry(1, "a"), 0.0)
    assert one(index).worker == "w2"


def test_oldest_runs_choose_first_when_workers_are_plenty() -> None:
    index = fleet("w1", "w2", "w3")
    index.queued(entry(2, "b", at=2.0), 0.0)
    index.queued(entry(1, "a", at=1.0), 0.0)
    assert [placement.run_id for placement in decide(index, 0.0).placements] == [run_id(1), run_id(2)]


def test_workers_choose_what_they_hold_when_runs_are_plenty() -> None:
    index = fleet(w1="a", w2="b")
    for number, model in enumerate(("b", "a", "c"), 1):
        index.queued(entry(number, model, at=float(number)), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "w2", run_id(2): "w1"}


def test_a_run_is_overtaken_only_by_runs_that_came_within_the_horizon() -> None:
    for later_s, first in ((29.0, 2), (31.0, 1)):
        index = fleet(w1="a")
        index.queued(entry(1, "b", at=100.0), 0.0)
        index.queued(entry(2, "a", at=100.0 + later_s), 0.0)
        assert one(index, rules=SHORT).run_id == run_id(first)


def test_the_horizon_and_the_width_of_the_look_are_the_operators() -> None:
    index = fleet(w1="a")
    index.queued(entry(1, "b", at=100.0), 0.0)
    index.queued(entry(2, "a", at=105.0), 0.0)
    assert placed(decide(index, 0.0, Rules(overtake_s=1.0, heads=1))) == {run_id(1): "w1"}


def test_high_goes_before_normal_and_normal_before_low() -> None:
    index = fleet("w1")
    for number, priority in enumerate(("low", "normal", "high"), 1):
        index.queued(entry(number, at=float(number), priority=priority), 0.0)
    order: list[str] = []
    for now in range(3):
        order.append(one(index, float(now)).run_id)
        index.ended(order[-1], None, float(now))
    assert order == [run_id(3), run_id(2), run_id(1)]


def test_behind_a_long_run_nothing_is_bound_to_its_worker() -> None:
    index = fleet("w1")
    learn(index, "flow@1", 10.0)
    for number in (1, 2):
        index.queued(entry(number, at=float(number)), 0.0)
    assert one(index).run_id == run_id(1)
    index.started(run_id(1), "w1", 1.0)
    assert not decide(index, 30.0).placements
    index.ended(run_id(1), None, 30.0)
    assert one(index, 30.0).run_id == run_id(2)


def test_a_worker_that_only_delivers_what_it_made_is_free() -> None:
    index = fleet("w1")
    learn(index, "flow@1", 10.0)
    for number in (1, 2):
        index.queued(entry(number, at=float(number)), 0.0)
    assert one(index).run_id == run_id(1)
    index.started(run_id(1), "w1", 1.0)
    index.executed(run_id(1), "w1", 12.0)
    assert one(index, 12.0).run_id == run_id(2)
    held = index.ended(run_id(1), None, 15.0)
    assert held is not None
    assert held.took_s(15.0) == 11.0
    assert not decide(index, 15.0).placements


def test_a_worker_whose_storage_is_away_takes_no_more_than_it_may_hold() -> None:
    index = fleet("w1")
    learn(index, "flow@1", 10.0)
    for number in range(MAX_HELD + 1):
        index.queued(entry(number, at=float(number)), 0.0)
    for number in range(MAX_HELD):
        assert one(index).run_id == run_id(number)
        index.executed(run_id(number), "w1", 0.0)
    assert not decide(index, 0.0).placements
    index.ended(run_id(0), None, 1.0)
    assert one(index, 1.0).run_id == run_id(MAX_HELD)


def test_behind_a_short_run_one_more_waits_there() -> None:
    index = fleet("w1")
    learn(index, "flow@1", 1.0)
    for number in (1, 2, 3):
        index.queued(entry(number, at=float(number)), 0.0)
    assert len(decide(index, 0.0).placements) == 2
    assert not decide(index, 1.0).placements
    index.started(run_id(1), "w1", 1.0)
    index.started(run_id(2), "w1", 2.0)  # the first one has executed, its outputs are under way
    assert one(index, 2.0).run_id == run_id(3)
    index.ended(run_id(1), None, 3.0)
    index.ended(run_id(2), None, 3.0)
    assert index.pools["default"].fleet.workers["w1"].work_s == pytest.approx(1.0)


def test_a_run_that_turns_out_to_be_long_has_nothing_bound_behind_it_any_more() -> None:
    index = fleet("w1")
    learn(index, "flow@1", 1.0)
    index.queued(entry(1), 0.0)
    one(index)
    index.started(run_id(1), "w1", 0.0)
    index.queued(entry(2), SHORT_S)
    assert not decide(index, SHORT_S).placements


def test_short_runs_come_in_such_number_that_they_cover_the_reaction_time() -> None:
    for seconds, expected in ((COVER_S / 10, 12), (1e-4, MAX_HELD)):
        index = fleet("w1")
        learn(index, "flow@1", seconds)
        for number in range(1, 200):
            index.queued(entry(number, at=float(number)), 0.0)
        assert len(decide(index, 0.0).placements) == pytest.approx(expected, abs=1)


def test_a_run_waits_for_the_warm_worker_that_is_done_sooner_than_a_cold_one_has_loaded() -> None:
    index = fleet("cold", warm="a")
    learn(index, "flow@1", 3.0)  # loading takes 3.3 s
    index.queued(entry(1, "a", at=1.0), 0.0)
    assert one(index).worker == "warm"
    index.queued(entry(2, "a", at=2.0), 0.0)
    plan = decide(index, 0.5)
    assert not plan.placements
    index.ended(run_id(1), None, 3.0)
    assert one(index, 3.0).worker == "warm"


def test_it_does_not_wait_for_one_that_is_busy_for_longer() -> None:
    index = fleet("cold", warm="a")
    learn(index, "flow@1", 30.0)
    index.queued(entry(1, "a", at=1.0), 0.0)
    index.queued(entry(2, "a", at=2.0), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "warm", run_id(2): "cold"}


def test_runs_that_nobody_has_seen_wait_together_for_the_first_one_as_long_as_a_load_takes() -> None:
    """While it is tried the backlog may be gone in a moment; then whoever is idle takes what waits, all at once."""
    index = fleet(*(f"idle-{n}" for n in range(8)), **{f"warm-{n}": "a" for n in range(3)})
    for number in range(1, 4):
        index.queued(entry(number, "a", at=float(number)), 0.0)
    assert set(placed(decide(index, 0.0)).values()) == {"warm-0", "warm-1", "warm-2"}
    for number in range(1, 4):
        index.started(run_id(number), f"warm-{number - 1}", float(number - 1))  # one after the other
    for number in range(4, 10):
        index.queued(entry(number, "a", at=float(number)), 3.0)
    assert not decide(index, 3.0).placements
    at = index.timers.next_at
    assert at is not None
    assert at <= 3.4  # loading takes 3.3 s
    assert sorted(placed(decide(index, 3.4)).values()) == [f"idle-{n}" for n in range(6)]


def test_nothing_is_put_behind_a_run_that_nobody_has_seen_while_another_worker_is_idle() -> None:
    index = fleet(*(f"idle-{n}" for n in range(3)), **{f"warm-{n}": "a" for n in range(2)})
    for number in (1, 2):
        index.queued(entry(number, "a", at=float(number)), 0.0)
    for run, name in placed(decide(index, 0.0)).items():
        index.started(run, name, 0.0)
    index.queued(entry(3, "a", at=3.0), 9.0)  # by the prior both are done in a second: loading takes longer
    assert one(index, 9.0).worker.startswith("idle")


def test_it_does_not_wait_for_longer_than_loading_would_have_taken() -> None:
    index = fleet("cold", warm="a")
    learn(index, "flow@1", 1.0)
    for number in (1, 2, 3):
        index.queued(entry(number, "a", at=float(number)), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "warm", run_id(2): "warm"}
    assert not decide(index, 3.2).placements  # the first one takes longer than expected, it might end any moment
    assert one(index, 3.3).worker == "cold"


def test_it_stops_waiting_when_the_warm_worker_takes_something_else() -> None:
    index = fleet("cold", warm="a")
    learn(index, "flow@1", 3.0)
    learn(index, "long@1", 100.0)
    index.queued(entry(1, "a", at=1000.0), 0.0)
    assert one(index).worker == "warm"
    index.queued(entry(2, "a", at=1001.0), 0.0)
    assert not decide(index, 0.0).placements
    index.queued(entry(3, at=1002.0, priority="high", profile="long@1", avoid=("cold",)), 0.1)
    assert not decide(index, 0.1).placements
    index.ended(run_id(1), None, 3.0)
    assert placed(decide(index, 3.0)) == {run_id(3): "warm", run_id(2): "cold"}


def test_when_many_would_wait_for_others_a_worker_that_opens_takes_the_oldest() -> None:
    for heads, expected in ((2, {run_id(2): "cold"}), (16, {})):
        index = Index()
        both, small = offer("a", "b"), contents(4 * GB, "a", "b")
        index.worker(worker("warm", vram=("a", "b")), both, 0.0, small)
        learn(index, "flow@1", 2.2)
        index.queued(entry(1, "a", at=1.0), 0.0)
        assert one(index).worker == "warm"
        index.queued(entry(2, "a", at=2.0), 0.0)
        index.queued(entry(3, "b", at=3.0), 0.0)
        learn(index, "flow@1", 0.5)
        index.worker(worker("cold"), both, 0.1, small)
        assert placed(decide(index, 0.1, Rules(heads=heads))) == expected


def test_a_worker_that_opens_looks_at_all_that_waits_before_a_newcomer_may_have_it() -> None:
    index = Index()
    for name in ("w1", "w2", "w3"):
        index.worker(worker(name), offer("a"), 0.0)
    learn(index, "flow@1", 50.0)
    index.worker(worker("only", vram=("a",)), offer("a", "c"), 0.0)
    index.queued(entry(1, "a", at=0.0), 0.0)
    assert one(index).worker == "only"
    index.queued(entry(2, "c", at=1.0), 0.0)
    assert not decide(index, 0.0).placements
    index.ended(run_id(1), None, 40.0)
    index.queued(entry(3, "a", at=40.0), 40.0)
    assert placed(decide(index, 40.0, SHORT))[run_id(2)] == "only"


def test_it_stops_waiting_when_the_warm_worker_goes_away() -> None:
    index = fleet("cold", warm="a")
    learn(index, "flow@1", 3.0)
    index.queued(entry(1, "a", at=1.0), 0.0)
    index.queued(entry(2, "a", at=2.0), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "warm"}
    index.worker(worker("warm", state=WorkerState.DRAINING), ALL, 0.1)
    assert placed(decide(index, 0.1)) == {run_id(2): "cold"}


def test_a_backlog_that_the_holders_will_not_drain_soon_is_worth_a_load() -> None:
    index = fleet("cold", warm="a")
    learn(index, "flow@1", 1.0)
    for number in range(1, 10):
        index.queued(entry(number, "a", at=float(number)), 0.0)
    assert set(placed(decide(index, 0.0)).values()) == {"warm", "cold"}


def test_a_retry_goes_elsewhere_and_does_not_block_those_behind_it() -> None:
    index = fleet(w1="a", w2="a")
    learn(index, "flow@1", 100.0)
    index.queued(entry(1, at=0.0), 0.0)
    assert one(index).worker == "w1"
    index.queued(entry(2, "a", at=1.0, avoid=("w2",)), 0.0)
    index.queued(entry(3, "a", at=2.0), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(3): "w2"}


def test_what_the_store_did_not_assign_is_left_alone_until_the_feed_tells_which_of_the_two_had_changed() -> None:
    index = fleet("w1")
    index.queued(entry(1, at=1.0), 0.0)
    index.queued(entry(2, at=2.0), 0.0)
    assert one(index).run_id == run_id(1)
    index.not_assigned(run_id(1), 0.0)
    plan = decide(index, 0.0)
    assert (plan.placements, plan.wake_at) == ((), DOUBT_S)
    index.gone(run_id(1), 0.1)  # it was the run, so the worker is as good as before
    assert one(index, 0.1).run_id == run_id(2)


def test_without_an_answer_both_are_tried_again() -> None:
    index = fleet("w1")
    index.queued(entry(1), 0.0)
    one(index)
    index.not_assigned(run_id(1), 0.0)
    assert not decide(index, DOUBT_S / 2).placements
    assert one(index, DOUBT_S).run_id == run_id(1)


def test_a_plan_is_bounded_and_the_rest_follows_at_once() -> None:
    index = fleet(*(f"w{n:03}" for n in range(AT_ONCE + 10)))
    for number in range(1, AT_ONCE + 20):
        index.queued(entry(number, at=float(number)), 0.0)
    plan = decide(index, 5.0)
    assert (len(plan.placements), plan.wake_at) == (AT_ONCE, 5.0)
    assert len(decide(index, 5.0).placements) == 10


def test_reasons_tell_the_seconds_the_runners_up_and_who_was_refused() -> None:
    index = fleet("cold", warm="a")
    index.worker(worker("drained", state=WorkerState.DRAINING), ALL, 0.0)
    learn(index, "flow@1", 4.0)
    index.queued(entry(1, "a"), 0.0)
    assert one(index).reasons == {
        "why": "is free and has nothing to load: done soonest of the workers looked at",
        "wait_s": 0.0, "load_s": 0.0, "execute_s": 4.0, "finish_s": 4.0,
        "resident": ["checkpoints/a"], "loads": [],
        "considered": [{"worker": "cold", "wait_s": 0.0, "load_s": 3.3, "execute_s": 4.0, "finish_s": 7.3}],
        "refused": {"drained": "is draining"},
        "share": {"tenant": "default", "ahead_s": 0.0, "allowed_s": 180.0, "within": True},
    }  # fmt: skip


def test_reasons_say_what_has_to_be_loaded() -> None:
    index = fleet("w1")
    learn(index, "flow@1", 4.0)
    index.queued(entry(1, "a"), 0.0)
    reasons = one(index).reasons
    assert reasons["why"] == "is free and loads 1 file in 3.3 s; no other worker that was looked at can take it"
    assert reasons["loads"] == ["checkpoints/a"]


def test_reasons_stay_small_in_a_large_fleet() -> None:
    index = fleet(*(f"w{n}" for n in range(300)))
    models = tuple(f"m{n}" for n in range(40))
    index.worker(worker("large"), offer(*models), 0.0)
    index.queued(entry(1, *models), 0.0)
    assert len(str(one(index).reasons)) < 2000


def test_a_gpu_kind_that_is_faster_is_preferred_once_that_is_known() -> None:
    index = Index()
    for name, gpu in (("slow", "t4"), ("fast", "h100")):
        index.worker(worker(name, gpu=gpu), ALL, 0.0)
    for _ in range(300):
        index.learned.ran("flow@1", "t4", "slow", 0.0, 0.0, 12.0)
        index.learned.ran("flow@1", "h100", "fast", 0.0, 0.0, 4.0)
    index.queued(entry(1), 0.0)
    assert one(index).worker == "fast"


def test_pools_are_apart() -> None:
    index = Index()
    index.worker(worker("w1", pool="one"), ALL, 0.0)
    index.worker(worker("w2", pool="two"), ALL, 0.0)
    index.queued(entry(1, pool="two"), 0.0)
    index.queued(entry(2, pool="three"), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "w2"}


def test_a_pool_without_runs_and_workers_is_forgotten() -> None:
    index = fleet("w1")
    for number in range(1, 50):
        index.queued(entry(number, pool=f"pool-{number}"), 0.0)
    for number in range(1, 50):
        index.gone(run_id(number), 0.0)
    assert index.pools.keys() == {"default"}
    index.forgotten("w1", 0.0)
    assert not index.pools
    assert decide(index, 100.0).placements == ()


def test_a_worker_that_moves_to_another_pool_serves_that_one() -> None:
    index = fleet("w1")
    index.queued(entry(1, pool="two"), 0.0)
    assert not decide(index, 0.0).placements
    index.worker(worker("w1", pool="two"), ALL, 1.0)
    assert placed(decide(index, 1.0)) == {run_id(1): "w1"}
