"""Makes a graph ready for one run on one worker: assets become file names, and outputs get a place of their own.

ComfyUI names outputs by a counter in a folder that runs share, and skips a save that it has done before. A prefix that
holds the run's id keeps the files of runs apart, and makes every run save its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.graph.loaders import looks_like_model
from orchestrator.graph.shape import Graph, asset, asset_id, is_asset, is_link, is_list, is_object, pointer, sources

_PREFIX = "filename_prefix"
_DEFAULT_PREFIX = "ComfyUI"
_NONCE = "_fleet_nonce"


def asset_ids(graph: Graph) -> tuple[str, ...]:
    """The ids of all assets that the graph names, sorted and without repeats.

    Raises InvalidRequest("missing_asset") for an asset without an id.
    """
    found: set[str] = set()
    for node_id, node in graph.items():
        for name, value in node["inputs"].items():
            for said in _assets(value):
                found.add(_id(said, node_id, name))
    return tuple(sorted(found))


def asset_place(graph: Graph, named: str) -> str:
    """Where the graph names that asset, which it does."""
    inputs = ((node_id, name, value) for node_id, node in graph.items() for name, value in node["inputs"].items())
    return next(
        pointer(node_id, "inputs", name)
        for node_id, name, value in inputs
        if any(asset_id(said) == named for said in _assets(value))
    )


def stage(graph: Graph, run_id: str, files: Mapping[str, str]) -> Graph:
    """The graph as it is posted: each asset replaced by its file's name on the worker (`files`: asset id -> name), each
    filename_prefix put under "fleet/<run_id>/". Staging what is staged for the same run changes nothing.

    Raises InvalidRequest("missing_asset") for an asset that `files` does not have.
    """
    staged = dict(graph)
    for node_id, node in graph.items():
        inputs = {name: _staged(value, run_id, files, node_id, name) for name, value in node["inputs"].items()}
        if inputs != node["inputs"]:
            staged[node_id] = {**node, "inputs": inputs}
    return staged


def reassigned(graph: Graph, ids: Mapping[str, str]) -> Graph:
    """The graph with other assets in place of some: id -> id. Every asset in it has an id."""

    def swap(said: Mapping[str, Any]) -> Any:
        found = ids.get(asset_id(said) or "")
        return said if found is None else asset(found)

    return {
        node_id: {**node, "inputs": {name: _replaced(value, swap) for name, value in node["inputs"].items()}}
        for node_id, node in graph.items()
    }


def break_cache(graph: Graph, nonce: str) -> Graph:
    """A graph that does the same, and that ComfyUI has not executed before: it cannot be answered from its node cache.

    ComfyUI's cache goes by all inputs of a node, also those that the node does not know. Nodes that only load a model
    keep theirs: reading gigabytes again would prove nothing.
    """
    return {
        node_id: node if _only_loads(node) else {**node, "inputs": {**node["inputs"], _NONCE: nonce}}
        for node_id, node in graph.items()
    }


def _only_loads(node: Mapping[str, Any]) -> bool:
    return not any(sources(node)) and any(map(looks_like_model, node["inputs"].values()))


def _staged(value: Any, run_id: str, files: Mapping[str, str], node_id: str, name: str) -> Any:
    if name == _PREFIX and not (is_list(value) or is_object(value)):
        return _under(f"fleet/{run_id}/", str(value))
    if not any(_assets(value)):
        return value

    def file_of(said: Mapping[str, Any]) -> str:
        wanted = _id(said, node_id, name)
        if wanted not in files:
            where = pointer(node_id, "inputs", name)
            raise InvalidRequest(
                "missing_asset", f"{where}: there is no asset {wanted}; upload it again", pointer=where
            )
        return files[wanted]

    return _replaced(value, file_of)


def _under(folder: str, prefix: str) -> str:
    if prefix.startswith(folder):
        return prefix
    return folder + (prefix.replace("\\", "/").strip("/") or _DEFAULT_PREFIX)


def _replaced(value: Any, swap: Callable[[Mapping[str, Any]], Any]) -> Any:
    """With `swap` of it in place of each asset. Recursion is safe here: parsing bounded the depth."""
    if is_asset(value):
        return swap(value)
    if is_list(value):
        return [_replaced(each, swap) for each in value]
    if is_object(value):
        return {key: _replaced(each, swap) for key, each in value.items()}
    return value


def _assets(value: Any) -> Iterator[Mapping[str, Any]]:
    """What stands for an asset in a value, at any depth."""
    if is_asset(value):
        yield value
    elif is_object(value):
        for each in value.values():
            yield from _assets(each)
    elif is_list(value) and not is_link(value):
        for each in value:
            yield from _assets(each)


def _id(said: Mapping[str, Any], node_id: str, name: str) -> str:
    found = asset_id(said)
    if found is None:
        where = pointer(node_id, "inputs", name)
        message = f'{where}: an asset needs an id: write {{"__type": "core/ASSET", "info": {{"id": "ast_..."}}}}'
        raise InvalidRequest("missing_asset", message, pointer=where)
    return found
