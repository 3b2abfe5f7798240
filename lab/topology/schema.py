"""The topology file's JSON Schema, which lets editors complete keys and underline mistakes.

Made from the model, published as topologies/topology.schema.json; every topology names it in its
first line. What a schema cannot say (addresses inside their subnets, say) `lab validate` checks.
"""

from __future__ import annotations

import json
from typing import Any

from lab.topology.model import Topology


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a topology file."""
    body = _closed(Topology.model_json_schema(mode="validation"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **body,
        "title": "Mail lab topology",
    }


def schema_text() -> str:
    """The schema as it stands in topologies/topology.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _closed(part: Any) -> Any:
    """`part` without the names pydantic makes up, and with no keys beside the patterns allowed."""
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {}
    for key, value in part.items():
        # A title that repeats the key hides the description in an editor's tooltip; a
        # discriminator is OpenAPI's word and unknown here.
        if (key == "title" and isinstance(value, str)) or key == "discriminator":
            continue
        closed[key] = _closed(value)
    if "patternProperties" in closed:
        closed["additionalProperties"] = False
    return closed
