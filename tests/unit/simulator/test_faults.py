"""When a fault strikes."""

from __future__ import annotations

import pytest

from orchestrator.simulator.comfyui.faults import BadFault, Fault, Faults, Kind

GRAPH = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["2", 1]}}}


def strikes(faults: Faults, occasions: int, **at: object) -> list[bool]:
    return [faults.strike(Kind.HANG, **at) is not None for _ in range(occasions)]  # type: ignore[arg-type]


def test_a_fault_strikes_once_unless_more_is_asked_for() -> None:
    assert strikes(Faults([Fault(Kind.HANG)]), 3) == [True, False, False]
    assert strikes(Faults([Fault(Kind.HANG, times=2)]), 3) == [True, True, False]
    assert strikes(Faults([Fault(Kind.HANG, times=None)]), 3) == [True, True, True]


def test_a_fault_may_let_some_pass_first() -> None:
    assert strikes(Faults([Fault(Kind.HANG, skip=2)]), 4) == [False, False, True, False]


def test_a_fault_may_concern_one_class() -> None:
    faults = Faults([Fault(Kind.HANG, class_type="KSampler")])
    assert strikes(faults, 1, class_type="SaveImage") == [False]
    assert strikes(faults, 1, class_type="KSampler") == [True]


def test_a_fault_may_concern_one_prompt() -> None:
    assert strikes(Faults([Fault(Kind.HANG, text="p1")]), 1, prompt_id="p2", prompt=GRAPH) == [False]
    assert strikes(Faults([Fault(Kind.HANG, text="p1")]), 1, prompt_id="p1", prompt=GRAPH) == [True]
    assert strikes(Faults([Fault(Kind.HANG, text="a cat")]), 1, prompt_id="p2", prompt=GRAPH) == [True]


def test_faults_of_one_kind_strike_one_after_the_other() -> None:
    first, second = Fault(Kind.STALL, seconds=1), Fault(Kind.STALL, skip=1, seconds=2)
    faults = Faults([first, second])
    assert [faults.strike(Kind.STALL) for _ in range(3)] == [first, None, second]


def test_what_is_cleared_strikes_no_more() -> None:
    faults = Faults([Fault(Kind.HANG, times=None), Fault(Kind.MUTE)])
    assert faults.standing(Kind.MUTE)
    faults.clear()
    assert strikes(faults, 1) == [False]
    assert not faults.standing(Kind.MUTE)


def test_what_is_asked_for_again_strikes_again() -> None:
    faults = Faults([Fault(Kind.HANG)])
    assert strikes(faults, 2) == [True, False]
    faults.add([Fault(Kind.HANG)])
    assert strikes(faults, 2) == [True, False]
    assert faults.shown()[0]["occasions"] == 2


@pytest.mark.parametrize("document", [[], {}, {"kind": "explode"}, {"kind": "hang", "time": 3}])
def test_what_is_no_fault_is_refused(document: object) -> None:
    with pytest.raises(BadFault):
        Fault.parse(document)


def test_a_fault_is_read_from_json() -> None:
    assert Fault.parse({"kind": "leak", "bytes": 5, "times": None}) == Fault(Kind.LEAK, times=None, bytes=5)


def test_only_a_process_of_its_own_may_crash() -> None:
    with pytest.raises(BadFault, match="shares its process"):
        Faults([Fault(Kind.CRASH)])
    assert Faults([Fault(Kind.CRASH)], own_process=True).strike(Kind.CRASH)
