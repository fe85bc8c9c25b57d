"""Outputs that are seen before the end: indexes that stay, and nothing told twice."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.asset import MediaType, Output
from orchestrator.domain.showing import merged, news, settled


def output(node: str, name: str, content: str = "a", run: str = "r1") -> Output:
    return Output(node, name, MediaType.IMAGE, "image/png", 1, f"blake3:{content}", f"runs/j/{run}/{node}-{name}")


A, B, C = output("1", "a.png"), output("2", "b.png"), output("3", "c.png")
A2 = output("1", "a.png", run="r2")


def test_what_a_lost_run_made_is_seen_until_the_next_has_made_it() -> None:
    assert merged((A, B), (A2,)) == (A2, B)
    assert merged((A, B), (A2, C)) == (A2, B, C)


def test_a_result_keeps_the_order_in_which_it_was_seen() -> None:
    assert settled((B, A), (A2, C, B)) == (B, A2, C)


def test_what_the_result_lacks_is_withdrawn() -> None:
    assert settled((A, B), (B,)) == (B,)


def test_what_is_the_same_is_no_news() -> None:
    assert news((A,), (A2, B)) == [(1, B)]
    assert news((A, B), (A2, B)) == []


def test_other_content_is_news() -> None:
    other = output("1", "a.png", "b")
    assert news((A,), (other,)) == [(0, other)]


def test_two_of_one_name_are_two() -> None:
    first, second = output("1", "x.png", "a"), output("1", "x.png", "b")
    assert merged((first,), (first, second)) == (first, second)
    assert settled((), (first, second)) == (first, second)


OUTPUTS = st.lists(st.builds(output, st.sampled_from("123"), st.sampled_from(["x", "y"]), st.sampled_from("ab")))


@given(st.lists(OUTPUTS, max_size=4), OUTPUTS)
def test_whoever_listens_ends_with_the_result(steps: list[list[Output]], result: list[Output]) -> None:
    """`steps`: what was there whenever somebody looked, over any number of runs."""
    shown: Sequence[Output] = ()
    heard: dict[int, Output] = {}
    for made in steps:
        visible = merged(shown, made)
        assert len(visible) >= len(shown)
        heard.update(news(shown, visible))
        shown = visible
    final = settled(shown, result)
    heard.update(news(shown, final))
    assert sorted(map(repr, final)) == sorted(map(repr, result))
    assert [heard[n] for n in range(len(final))] == list(final)
