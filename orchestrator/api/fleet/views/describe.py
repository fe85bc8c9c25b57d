"""Has the text below a field of a TypedDict become its description in the OpenAPI document."""

from __future__ import annotations

from pydantic import ConfigDict, with_config

described = with_config(ConfigDict(use_attribute_docstrings=True))
