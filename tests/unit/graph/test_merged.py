"""The /object_info of many workers as that of one."""

from __future__ import annotations

from typing import Any

from orchestrator.graph.catalog import Catalog
from orchestrator.graph.merged import merged


def loader(*names: str, new_style: bool = False) -> dict[str, Any]:
    entry = ["COMBO", {"options": list(names)}] if new_style else [list(names)]
    return {"input": {"required": {"ckpt_name": entry}}, "output": ["MODEL"], "output_node": False}


def test_a_class_is_there_if_one_worker_has_it() -> None:
    one = merged({"a": {"Both": loader(), "OnlyA": loader()}, "b": {"Both": loader()}})
    assert {name: said["comfyfleet"] for name, said in one.items()} == {
        "Both": {"workers": ["a", "b"]},
        "OnlyA": {"workers": ["a"]},
    }


def test_values_are_those_of_all_and_say_who_has_them() -> None:
    for new_style in (False, True):
        one = merged({"a": {"L": loader("x", "y", new_style=new_style)}, "b": {"L": loader("y", "z")}})["L"]
        assert one["comfyfleet"]["only_on"] == {"ckpt_name": {"x": ["a"], "z": ["b"]}}
        entry = one["input"]["required"]["ckpt_name"]
        assert (entry[1]["options"] if new_style else entry[0]) == ["x", "y", "z"]
        assert Catalog.parse({"L": one}).classes["L"].inputs.specs["ckpt_name"].options is not None


def test_inputs_that_take_files_offer_what_was_uploaded_and_not_what_was_staged() -> None:
    staged = "0123456789abcdef0123456789abcdef01234567.png"
    image = {"input": {"required": {"image": [["example.png", staged], {"image_upload": True}]}}, "output": ["IMAGE"]}
    one = merged({"a": {"LoadImage": image}}, ["mine.png"])["LoadImage"]
    assert one["input"]["required"]["image"][0] == ["example.png", "mine.png"]


def test_what_is_said_in_no_known_way_is_left_as_it_is() -> None:
    odd = {"input": {"required": None, "optional": {"a": "b", "c": []}}, "output": []}
    assert merged({"a": {"Odd": odd}})["Odd"]["input"] == odd["input"]
    assert merged({"a": {"Nothing": None}}) == {"Nothing": None}
