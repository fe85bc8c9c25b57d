from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.params import Schema

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "sdxl.params",
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "maxLength": 20},
        "negative": {"type": "string", "default": ""},
        "seed": {"type": "integer", "minimum": 0},
        "width": {"type": "integer", "enum": [512, 768], "default": 512},
        "cfg": {"type": "number", "exclusiveMinimum": 0, "maximum": 12, "default": 7.5},
        "hires": {
            "type": "object",
            "properties": {"scale": {"type": "number", "default": 2}, "steps": {"type": "integer", "default": 10}},
        },
    },
}
BIND = {name: Binding((("1", name),)) for name in SCHEMA["properties"]}


def test_defaults_are_applied_also_inside_of_objects_that_are_given():
    completed = Schema(SCHEMA).complete({"prompt": "x", "hires": {"steps": 3}})
    assert completed == {
        "prompt": "x",
        "negative": "",
        "width": 512,
        "cfg": 7.5,
        "hires": {"steps": 3, "scale": 2},
    }
    assert "hires" not in Schema(SCHEMA).complete({"prompt": "x"})


def test_what_was_given_is_not_changed_and_defaults_are_not_shared():
    schema = Schema(
        {"properties": {"tags": {"type": "array", "default": ["a"]}, "o": {"type": "object", "default": {}}}}
    )
    given_params: dict[str, Any] = {}
    schema.complete(given_params)["tags"].append("b")
    assert given_params == {}
    assert schema.complete({}) == {"tags": ["a"], "o": {}}


def test_a_seed_that_nobody_chose_is_drawn():
    schema = Schema(SCHEMA)
    assert schema.seeds(BIND) == {"seed": (0, 2**53 - 1)}
    assert schema.complete({"prompt": "x"}, {"seed": 77})["seed"] == 77
    assert schema.complete({"prompt": "x", "seed": 5}, {"seed": 77})["seed"] == 5


@pytest.mark.parametrize(
    ("said", "span"),
    [
        ({"type": "integer"}, (0, 2**53 - 1)),
        ({"type": "integer", "minimum": 10, "maximum": 20}, (10, 20)),
        ({"type": "integer", "minimum": -1, "maximum": 2**64 - 1}, (0, 2**53 - 1)),
        ({"type": "integer", "exclusiveMinimum": 10, "exclusiveMaximum": 20}, (11, 19)),
        ({"type": "integer", "minimum": 0.5, "maximum": 3.5}, (1, 3)),
        ({"type": "integer", "maximum": -1}, None),
        ({"type": "integer", "default": 1}, None),
        ({"type": "integer", "enum": [1, 2]}, None),
        ({"type": "string"}, None),
        (True, None),
    ],
)
def test_a_seed_is_drawn_from_what_its_schema_allows(said, span):
    schema = Schema({"properties": {"noise": said}})
    bind = {"noise": Binding((("9", "noise_seed"),))}
    assert schema.seeds(bind).get("noise") == span
    if span:
        assert schema.complete({}, {"noise": span[0]}) == {"noise": span[0]}
        assert schema.complete({}, {"noise": span[1]}) == {"noise": span[1]}


def test_only_what_is_bound_to_a_seed_and_may_be_left_out_is_drawn():
    assert Schema({"properties": {"seed": {"type": "integer"}}}).seeds({"seed": Binding((("1", "steps"),))}) == {}
    required = Schema({"required": ["seed"], "properties": {"seed": {"type": "integer"}}})
    assert required.seeds({"seed": Binding((("1", "seed"),))}) == {}


@pytest.mark.parametrize(
    ("params", "pointer", "said"),
    [
        ([], "", "must be an object, not a list"),
        (None, "", "must be an object, not null"),
        ({}, "/prompt", "prompt is required"),
        ({"prompt": 5}, "/prompt", "must be a string, not an integer"),
        ({"prompt": "x" * 21}, "/prompt", "at most 20 characters, not 21"),
        ({"prompt": "x", "width": 513}, "/width", "one of 512, 768, not 513"),
        ({"prompt": "x", "seed": -1}, "/seed", "at least 0, not -1"),
        ({"prompt": "x", "seed": True}, "/seed", "must be an integer, not a boolean"),
        ({"prompt": "x", "cfg": 0}, "/cfg", "greater than 0"),
        ({"prompt": "x", "cfg": 13}, "/cfg", "at most 12"),
        ({"prompt": "x", "sed": 1}, "/sed", "did you mean seed?"),
        ({"prompt": "x", "a/b": 1}, "/a~1b", "is not known"),
        ({"prompt": "x", "hires": {"steps": "3"}}, "/hires/steps", "hires.steps must be an integer"),
        ({"prompt": "\ud800"}, "/prompt", "Unicode"),
        ({"prompt": "x", "cfg": float("nan")}, "/cfg", "NaN"),
        ({"prompt": "x", "seed": 10**400}, "/seed", "64 bits"),
    ],
)
def test_a_wrong_param_is_refused_at_its_place_and_told_what_is_allowed(params, pointer, said, refused):
    refusal = refused(Schema(SCHEMA).complete, params)
    assert (refusal.code, refusal.details["pointer"]) == ("invalid_params", pointer)
    assert said in refusal.message


def test_all_wrong_params_are_told_with_what_is_allowed(refused):
    refusal = refused(Schema(SCHEMA).complete, {"prompt": 5, "seed": -1, "x": 1, "y": 2})
    told = {error["pointer"]: error.get("allowed") for error in refusal.details["errors"]}
    assert told == {"/prompt": "string", "/seed": 0, "/x": list(SCHEMA["properties"]), "/y": list(SCHEMA["properties"])}
    assert "3 more" in refusal.message


def test_a_refusal_does_not_repeat_a_prompt(refused):
    schema = Schema({"properties": {"p": {"type": "string", "pattern": "^a", "not": {"const": "secret"}}}})
    assert "secret" not in str(refused(schema.complete, {"p": "the secret prompt"}).details["errors"][0]["message"])


@pytest.mark.parametrize("extra", [{"additionalProperties": True}, {"unevaluatedProperties": True}])
def test_a_schema_that_says_so_takes_any_param(extra):
    assert Schema({"properties": {}, **extra}).complete({"x": 1}) == {"x": 1}


def test_properties_that_a_part_of_the_schema_names_are_known(refused):
    schema = Schema({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]})
    assert schema.complete({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    assert refused(schema.complete, {"c": 3}).details["pointer"] == "/c"


def test_properties_named_by_a_pattern_are_known(refused):
    schema = Schema({"patternProperties": {"^lora_": {"type": "string"}}})
    assert schema.complete({"lora_1": "x"}) == {"lora_1": "x"}
    told = refused(schema.complete, {"lora_1": "x", "lara_1": "x"}).details["errors"]
    assert [error["pointer"] for error in told] == ["/lara_1"]


def test_a_schema_may_refer_to_itself(refused):
    tree = {"$defs": {"tree": {"type": "object", "properties": {"of": {"$ref": "#/$defs/tree"}}}}}
    schema = Schema({**tree, "properties": {"tree": {"$ref": "#/$defs/tree"}}})
    assert schema.complete({"tree": {"of": {"of": {}}}}) == {"tree": {"of": {"of": {}}}}
    assert refused(schema.complete, {"tree": {"of": {"of": 3}}}).details["pointer"] == "/tree/of/of"


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        (None, ""),
        (True, ""),
        ([], ""),
        ({"type": "array"}, "/type"),
        ({"properties": []}, "/properties"),
        ({"properties": {"a": {"type": "int"}}}, "/properties/a/type"),
        ({"properties": {"a": {"minimum": "0"}}}, "/properties/a/minimum"),
        ({"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern"),
        ({"required": "a"}, "/required"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"$schema": 7}, "/$schema"),
        ({"properties": {"a": {"const": float("inf")}}}, "/properties/a/const"),
        ({"properties": {"a": {"$ref": "https://example.com/a.json"}}}, "/properties/a/$ref"),
        ({"properties": {"a": {"$ref": "#/$defs/nowhere"}}}, "/properties/a/$ref"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "/properties/a/$ref"),
        ({"allOf": [{"$ref": "#"}]}, "/allOf/0/$ref"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "/properties/a/default"),
        ({"properties": {"a": {"maximum": 3, "default": 4}}}, "/properties/a/default"),
        (
            {"properties": {"o": {"type": "object", "properties": {"a": {"enum": [1], "default": 2}}}}},
            "/properties/o/properties/a/default",
        ),
        (
            {"properties": {"o": {"type": "object", "default": {}, "required": ["a"], "properties": {"a": {}}}}},
            "/properties/o/default",
        ),
    ],
)
def test_a_bad_schema_is_refused_at_its_place(schema, pointer, refused):
    refusal = refused(Schema, schema)
    assert (refusal.code, refusal.details["pointer"]) == ("invalid_schema", pointer)


class TestAgainstBindings:
    def test_the_same_params_on_both_sides_are_fine(self):
        Schema(SCHEMA).check_bind(BIND)

    def test_a_param_that_the_schema_lacks_is_refused(self, refused):
        refusal = refused(Schema(SCHEMA).check_bind, {**BIND, "stepz": Binding((("1", "steps"),))})
        assert refusal.code == "invalid_binding"
        assert (refusal.details["document"], refusal.details["pointer"]) == ("bind", "/stepz")

    def test_a_property_that_is_bound_to_nothing_is_refused(self, refused):
        bind = {name: binding for name, binding in BIND.items() if name != "cfg"}
        refusal = refused(Schema(SCHEMA).check_bind, bind)
        assert (refusal.details["document"], refusal.details["pointer"]) == ("params", "/properties/cfg")

    @pytest.mark.parametrize(("said", "fits"), [({}, True), ({"type": "string"}, True), ({"type": "object"}, False)])
    def test_an_asset_is_an_id_and_so_a_string(self, said, fits, refused):
        schema, bind = Schema({"properties": {"image": said}}), {"image": Binding((("1", "image"),), ParamKind.IMAGE)}
        if fits:
            schema.check_bind(bind)
        else:
            assert refused(schema.check_bind, bind).details["pointer"] == "/properties/image/type"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*SCHEMA["properties"], "other"]), st.integers() | st.text() | st.none() | st.floats()
    )
)
def test_completing_what_is_complete_changes_nothing(params):
    schema = Schema(SCHEMA)
    try:
        completed = schema.complete(params, {"seed": 1})
    except InvalidRequest as refusal:
        assert refusal.code == "invalid_params"
    else:
        assert schema.complete(completed, {"seed": 2}) == completed
