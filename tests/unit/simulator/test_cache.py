from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulator.comfyui.cache import CachedResult, NodeCache, loads_of, signatures
from orchestrator.simulator.comfyui.values import Guider, Model, Weights

Prompt = dict[str, Any]


def unchanged(_: str) -> bool:
    return False


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    """Nodes 0..n, each linked to some of those before it."""
    prompt: Prompt = {}
    for index in range(draw(st.integers(1, 8))):
        sources = draw(st.lists(st.integers(0, index - 1), max_size=3)) if index else []
        links = {f"in{slot}": [str(source), 0] for slot, source in enumerate(sources)}
        prompt[str(index)] = {"class_type": "C", "inputs": {"widget": draw(st.integers(0, 3)), **links}}
    return prompt


def ancestors(prompt: Prompt, node_id: str) -> set[str]:
    sources = [value[0] for value in prompt[node_id]["inputs"].values() if isinstance(value, list)]
    return set(sources).union(*(ancestors(prompt, source) for source in sources))


@given(prompts())
def test_node_ids_do_not_matter(prompt: Prompt) -> None:
    renamed = {
        f"n{key}": {
            "class_type": node["class_type"],
            "inputs": {
                name: [f"n{value[0]}", value[1]] if isinstance(value, list) else value
                for name, value in node["inputs"].items()
            },
        }
        for key, node in prompt.items()
    }
    before, after = signatures(prompt, unchanged), signatures(renamed, unchanged)
    assert {f"n{key}": value for key, value in before.items()} == after


@given(prompts(), st.data())
def test_a_change_reaches_the_node_and_what_descends_from_it_and_nothing_else(
    prompt: Prompt, data: st.DataObject
) -> None:
    changed = data.draw(st.sampled_from(sorted(prompt)))
    edited = {
        key: {**node, "inputs": {**node["inputs"], "widget": 99}} if key == changed else node
        for key, node in prompt.items()
    }
    before, after = signatures(prompt, unchanged), signatures(edited, unchanged)
    differing = {key for key in prompt if before[key] != after[key]}
    assert differing == {key for key in prompt if key == changed or changed in ancestors(prompt, key)}


def test_a_fingerprint_changes_the_signature() -> None:
    prompt = {"1": {"class_type": "C", "inputs": {}}}
    assert signatures(prompt, lambda _: "old") != signatures(prompt, lambda _: "new")


def test_a_dangling_link_never_hits() -> None:
    prompt = {"1": {"class_type": "C", "inputs": {"image": ["absent", 0]}}}
    assert signatures(prompt, unchanged) != signatures(prompt, unchanged)


def test_the_older_cache_forgets_what_a_prompt_does_not_name() -> None:
    cache, result = NodeCache(alive=lambda _: True), CachedResult((), None, frozenset())
    cache.begin({"1": "a"}, keep_old=False)
    cache.set("1", result)
    cache.begin({"1": "b"}, keep_old=False)
    cache.begin({"1": "a"}, keep_old=False)
    assert cache.get("1") is None


def test_the_newer_cache_keeps_what_earlier_prompts_gave() -> None:
    cache, result = NodeCache(alive=lambda _: True), CachedResult((), None, frozenset())
    cache.begin({"1": "a"}, keep_old=True)
    cache.set("1", result)
    cache.begin({"1": "b"}, keep_old=True)
    assert cache.get("1") is None
    cache.begin({"1": "a"}, keep_old=True)
    assert cache.get("1") is result


def test_a_result_whose_model_has_left_memory_is_gone() -> None:
    cache = NodeCache(alive=lambda loads: 7 not in loads)
    cache.begin({"1": "a", "2": "b"}, keep_old=True)
    cache.set("1", CachedResult((), None, frozenset({7})))
    cache.set("2", CachedResult((), None, frozenset({8})))
    assert cache.get("1") is None
    assert cache.get("2") is not None


def test_outputs_refer_to_the_readings_of_their_models() -> None:
    def model(load: int) -> Model:
        return Model((Weights(load, "vae/x", "vae", 1),), b"")

    assert loads_of((model(1), "text", Guider(model(2), b""))) == {1, 2}
