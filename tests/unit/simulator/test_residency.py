from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulator.comfyui.config import SimConfig
from orchestrator.simulator.comfyui.residency import Reading, Residency
from orchestrator.simulator.comfyui.values import Weights

CONFIG = SimConfig(
    vram_bytes=100,
    ram_bytes=200,
    disk_speed=10,
    bus_speed=20,
    models={"vae": {"a": 40, "b": 60, "c": 80, "huge": 150}},
)


def whole(reading: Reading) -> Weights:
    return Weights(reading.load, reading.file, "vae", reading.size)


def test_reading_and_placing_take_time_by_size() -> None:
    residency = Residency(CONFIG)
    reading = residency.read("vae", "a")
    assert reading.seconds == 4
    assert residency.place([whole(reading)]) == 2
    assert residency.place([whole(reading)]) == 0
    assert residency.snapshot() == {"loads": {"vae/a": {"disk": 1, "vram": 1}}, "vram": ["vae/a"], "ram": ["vae/a"]}


def test_the_least_recently_used_leaves_vram() -> None:
    residency = Residency(CONFIG)
    a, b = whole(residency.read("vae", "a")), whole(residency.read("vae", "b"))
    residency.place([a, b])
    residency.place([a])
    residency.place([whole(residency.read("vae", "b"))])
    assert residency.snapshot()["vram"] == ["vae/a", "vae/b"]
    assert residency.vram_loads == {"vae/a": 1, "vae/b": 2}


def test_the_least_recently_used_leaves_ram_and_is_read_again_when_it_is_placed() -> None:
    residency = Residency(CONFIG)
    first = residency.read("vae", "c")
    residency.read("vae", "b")
    residency.read("vae", "c")
    assert not residency.alive([first.load])
    assert residency.place([whole(first)]) == 8 + 4
    assert residency.disk_loads["vae/c"] == 3


def test_patched_weights_are_moved_anew() -> None:
    residency = Residency(CONFIG)
    plain = whole(residency.read("vae", "a"))
    residency.place([plain])
    residency.place([Weights(plain.load, plain.file, plain.part, plain.size, ("lora:1.0",))])
    assert residency.vram_loads["vae/a"] == 2


def test_a_model_larger_than_the_vram_takes_all_of_it() -> None:
    residency = Residency(CONFIG)
    residency.place([whole(residency.read("vae", "a")), whole(residency.read("vae", "huge"))])
    assert residency.vram_used == CONFIG.vram_bytes
    assert residency.snapshot()["vram"] == ["vae/huge"]


def test_what_nothing_refers_to_is_let_go() -> None:
    residency = Residency(CONFIG)
    a, b = residency.read("vae", "a"), residency.read("vae", "b")
    residency.place([whole(a), whole(b)])
    residency.keep([b.load])
    assert residency.snapshot()["vram"] == residency.snapshot()["ram"] == ["vae/b"]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=30))
def test_budgets_hold(steps: list[tuple[str, bool]]) -> None:
    residency, reading = Residency(CONFIG), None
    for name, read in steps:
        if read or reading is None:
            reading = residency.read("vae", name)
        residency.place([whole(reading)])
        resident = residency.snapshot()
        sizes = CONFIG.models["vae"]
        assert sum(sizes[file.removeprefix("vae/")] for file in set(resident["vram"])) <= CONFIG.vram_bytes
        assert residency.ram_used <= CONFIG.ram_bytes
        assert reading.file in resident["vram"]
