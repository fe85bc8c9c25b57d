"""What is learned comes near the truth, is not thrown by one odd run, and survives a restart."""

from __future__ import annotations

import random

import pytest

from orchestrator.scheduling.learned import CLIP, KEPT, PRIOR_EXECUTE_S, Learned


def test_until_something_was_seen_priors_hold() -> None:
    assert Learned().execute_s("flow@1", "a100") == PRIOR_EXECUTE_S
    assert Learned().load_pace("w1") == 1.0


def test_the_first_run_is_believed_and_later_ones_are_averaged() -> None:
    learned = Learned()
    learned.ran("flow@1", "", "w1", 0.0, 0.0, 2.0)
    assert learned.execute_s("flow@1", "") == pytest.approx(2.0)
    noise = random.Random(1)
    for _ in range(200):
        learned.ran("flow@1", "", "w1", 0.0, 0.0, noise.lognormvariate(0, 0.3) * 8)
    assert learned.execute_s("flow@1", "") == pytest.approx(8.0, rel=0.25)


def test_one_run_that_took_a_hundred_times_as_long_moves_little() -> None:
    learned = Learned()
    for _ in range(20):
        learned.ran("flow@1", "", "w1", 0.0, 0.0, 2.0)
    learned.ran("flow@1", "", "w1", 0.0, 0.0, 200.0)
    assert learned.execute_s("flow@1", "") < 2.0 * CLIP**0.25


def test_loading_is_not_execution() -> None:
    learned = Learned()
    learned.ran("flow@1", "", "w1", expected_load_s=4.0, load_s=4.0, execute_s=10.0)
    assert learned.execute_s("flow@1", "") == pytest.approx(6.0)
    learned.ran("flow@1", "", "w1", expected_load_s=4.0, load_s=9.0, execute_s=10.0)
    assert learned.execute_s("flow@1", "") == pytest.approx(6.0)


def test_a_guess_at_loading_that_leaves_nothing_for_execution_is_not_believed() -> None:
    learned = Learned()
    learned.ran("flow@1", "", "w1", expected_load_s=4.0, load_s=2.0, execute_s=2.0)
    assert learned.execute_s("flow@1", "") == pytest.approx(1.0)
    learned.ran("flow@1", "", "w1", expected_load_s=0.0, load_s=0.0, execute_s=0.1)  # this one shows it
    assert learned.execute_s("flow@1", "") == pytest.approx(0.1)


def test_a_gpu_kind_has_a_pace_that_holds_for_profiles_not_seen_there() -> None:
    learned = Learned()
    for n in range(1000):
        for profile, seconds in (("one@1", 2.0), ("two@1", 10.0)):
            learned.ran(profile, "fast", "w1", 0.0, 0.0, seconds)
            if n % 4 == 0 and profile == "one@1":
                learned.ran(profile, "slow", "w2", 0.0, 0.0, seconds * 3)
    ratio = learned.execute_s("two@1", "slow") / learned.execute_s("two@1", "fast")
    assert ratio == pytest.approx(3.0, rel=0.25)


def test_a_worker_that_loads_slowly_is_expected_to() -> None:
    learned = Learned()
    for _ in range(100):
        learned.ran("flow@1", "", "slow", expected_load_s=4.0 * learned.load_pace("slow"), load_s=10.0, execute_s=12.0)
    assert learned.load_pace("slow") == pytest.approx(2.5, rel=0.05)
    assert learned.load_pace("other") == 1.0


def test_a_misjudged_residency_says_nothing_about_pace() -> None:
    learned = Learned()
    learned.ran("flow@1", "", "w1", expected_load_s=0.0, load_s=5.0, execute_s=7.0)
    learned.ran("flow@1", "", "w1", expected_load_s=5.0, load_s=0.0, execute_s=2.0)
    assert learned.load_pace("w1") == 1.0


def test_it_is_read_back_as_it_was_written() -> None:
    learned = Learned()
    learned.ran("flow@1", "a100", "w1", 4.0, 5.0, 9.0)
    assert learned.changed
    copy = Learned.load(learned.dump())
    assert not learned.changed
    assert copy.dump() == learned.dump()
    assert copy.execute_s("flow@1", "a100") == learned.execute_s("flow@1", "a100")
    assert copy.load_pace("w1") == learned.load_pace("w1")
    assert Learned.load(None).dump() == Learned().dump()


@pytest.mark.parametrize("blob", [b"", b"\x00", b"[]", b"7", b'{"format":9}', b'{"format":1,"execute":{"a":1}}'])
def test_what_was_not_written_by_it_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError):
        Learned.load(blob)


def test_only_so_many_profiles_are_kept_the_latest_seen() -> None:
    learned = Learned()
    for n in range(KEPT + 10):
        learned.ran("kept@1", "", "w1", 0.0, 0.0, 3.0)
        learned.ran(f"graph:{n}", "", "w1", 0.0, 0.0, 5.0)
    assert learned.execute_s("kept@1", "") == pytest.approx(3.0)
    assert learned.execute_s("graph:0", "") == PRIOR_EXECUTE_S
    assert learned.execute_s(f"graph:{KEPT + 9}", "") == pytest.approx(5.0)
