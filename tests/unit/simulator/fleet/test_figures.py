"""What came of a simulation, in numbers and as a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.cli.simulate import simulate
from orchestrator.domain.needs import Needs
from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.figures import Result, document, jain, quantile, summarise
from orchestrator.simulator.fleet.plot import draw
from orchestrator.simulator.fleet.policies import chosen
from orchestrator.simulator.fleet.workload import Request
from orchestrator.simulator.fleet.world import Outcome

SETTING = {"trace": None, "workers": 2, "rho": 0.3, "hours": 1.0, "preset": "kind"}


def outcome(*latencies: float, tenants: str = "a") -> Outcome:
    """Jobs of a second each that arrive a minute apart and take so long."""
    ended = [
        (Request(n * 60.0, tenants[n % len(tenants)], "p", Needs(), (), 1.0), n * 60.0 + latency)
        for n, latency in enumerate(latencies)
    ]
    return Outcome(ended=ended, busy_s=float(len(latencies)), up_s=100.0, loads=3, loaded_bytes=2 * 10**12)


def result(policy: str, *latencies: float, reference: Result | None = None) -> Result:
    return summarise(policy, outcome(*latencies), 1.0, reference)


def test_latencies_and_their_ratio_to_the_reference() -> None:
    reference = result("reference", 1.0, 2.0, 3.0)
    ours = result("comfyfleet", 2.0, 4.0, 12.0, reference=reference)
    assert (ours.figures.mean_s, ours.figures.p50_s, ours.figures.max_s) == (6.0, 4.0, 12.0)
    assert (ours.figures.mean_ratio, ours.figures.p99_ratio) == (3.0, 4.0)
    assert (ours.figures.utilisation, ours.figures.vram_tb) == (0.03, 2.0)


def test_fairness_is_one_when_tenants_wait_alike_and_less_when_one_waits_more() -> None:
    assert jain([0.5, 0.5, 0.5]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    unfair = summarise("p", outcome(1.0, 10.0, tenants="ab"), 1.0, None)
    assert unfair.figures.fairness == pytest.approx(jain([1.0, 0.1]))


def test_jobs_in_the_fleet_are_counted_over_time() -> None:
    there = result("p", 90.0, 90.0, 90.0).in_system  # arrive at 0, 60 and 120 s; every 12.5 s a sample
    assert [there[n] for n in (0, 5, 8, 10, 13, 20)] == [1, 2, 1, 2, 1, 0]


def test_a_quantile_of_few_numbers_is_one_of_them() -> None:
    assert [quantile([1.0, 2.0, 3.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 2.0, 3.0, 3.0]


def test_several_seeds_are_averaged_and_kept() -> None:
    by_seed = {1: [result("reference", 2.0)], 2: [result("reference", 4.0)]}
    policy = document(SETTING, by_seed)["policies"]["reference"]
    assert policy["mean"]["mean_s"] == 3.0
    assert [policy["seeds"][seed]["figures"]["mean_s"] for seed in ("1", "2")] == [2.0, 4.0]


def test_the_picture_is_a_png_of_some_size(tmp_path: Path) -> None:
    reference = result("reference", 5.0, 10.0, 30.0)
    others = [result(name, 8.0, 20.0, 90.0, reference=reference) for name in ("round-robin", "comfyfleet")]
    draw({1: [reference, *others], 2: [reference, *others]}, SETTING, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width > 1500
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 50


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'comfyfleet\[plot\]'"):
        simulate(plot=tmp_path / "plot.png")


def test_a_result_that_could_not_be_kept_is_refused_before_the_simulation(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"there is no folder .*/missing"):
        simulate(json=tmp_path / "missing" / "out.json")


def test_seeds_and_presets_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="--seed takes whole numbers, as 1 or 1,2,3, and not 'x'"):
        simulate(seed="x")
    with pytest.raises(InvalidRequest, match="no preset 'cruel'; there are unkind, kind"):
        simulate(preset="cruel")


def test_policies_are_chosen_by_name_and_the_reference_is_always_there() -> None:
    assert chosen("swarmui, comfyfleet") == ("reference", "swarmui", "comfyfleet")
    assert "comfyfleet" in chosen("all")
    with pytest.raises(InvalidRequest, match="no policy 'roundrobin'; there are all, reference, round-robin"):
        chosen("roundrobin")
