import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.keys import asset_key, check_key, job_prefix, output_key, run_prefix
from orchestrator.errors import InvalidRequest

JOB, RUN = "0197a000-0000-7000-8000-000000000001", "0197a000-0000-7000-8000-000000000002"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".incoming/x",
        "a/.hidden",
        "a\\..\\b",
        "a\0b",
        "a\nb",
        "a\x85b",
        "a\ud800b",
        "a" * 256,
        "ü" * 128,
        "/".join(["abcdefghij"] * 100),
    ],
)
def test_a_key_that_could_leave_the_storage_or_not_be_a_file_is_refused(key: str):
    with pytest.raises(InvalidRequest) as refused:
        check_key(key)
    assert refused.value.code == "invalid_key"


@pytest.mark.parametrize("key", ["a", "runs/j/r/0-a b (1).png", "assets/ab/abcd", "ü/日本.png", "a/b..c"])
def test_other_keys_pass_unchanged(key: str):
    assert check_key(key) == key


@given(st.text(max_size=400), st.integers(0, 10_000))
def test_any_name_makes_a_good_key_below_its_run(name: str, number: int):
    key = output_key(JOB, RUN, number, name)
    assert check_key(key).startswith(f"{run_prefix(JOB, RUN)}/{number}-")
    assert key.count("/") == 3


@given(st.text("abc/..\\", max_size=40), st.text("abc/..\\", max_size=40))
def test_outputs_of_one_run_do_not_share_a_key(one: str, other: str):
    assert output_key(JOB, RUN, 0, one) != output_key(JOB, RUN, 1, other)


def test_a_long_name_keeps_its_suffix():
    assert output_key(JOB, RUN, 3, "x" * 500 + ".png").endswith("xx.png")


def test_an_ordinary_name_is_kept():
    assert output_key(JOB, RUN, 0, "fleet_00001_.png") == f"runs/{JOB}/{RUN}/0-fleet_00001_.png"


def test_runs_lie_below_their_job_and_assets_under_their_hash():
    assert run_prefix(JOB, RUN).startswith(job_prefix(JOB) + "/")
    assert asset_key("blake3:abcdef") == asset_key("abcdef") == "assets/ab/abcdef"
