"""The published schema is the model's, and topologies fit it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from lab.cli import cli
from lab.topology.loader import FOLDER
from lab.topology.schema import schema

PUBLISHED = FOLDER / "topology.schema.json"
TOPOLOGIES = sorted(FOLDER.glob("*.yaml"))
# Words that say nothing about whether a value fits.
NOTES = {"$schema", "$defs", "title", "description", "default", "examples", "format"}
TYPES = {
    "object": dict, "array": list, "string": str, "number": (int, float), "null": type(None),
    "boolean": bool,
}  # fmt: skip


def misfits(value: Any, part: dict[str, Any], root: dict[str, Any]) -> list[str]:
    """Why `value` does not fit the schema `part`: all the words that our schema uses, no more."""
    found = []
    for word, rule in part.items():
        match word:
            case _ if word in NOTES:
                ok = True
            case "$ref":
                found += misfits(value, root["$defs"][rule.rsplit("/", 1)[1]], root)
                ok = True
            case "type":
                # To Python a bool is a number too.
                ok = isinstance(value, TYPES[rule]) and isinstance(value, bool) == (
                    rule == "boolean"
                )
            case "const":
                ok = value == rule
            case "anyOf":
                ok = any(not misfits(value, option, root) for option in rule)
            case "oneOf":
                ok = sum(not misfits(value, option, root) for option in rule) == 1
            case "pattern":
                ok = isinstance(value, str) and bool(re.search(rule, value))
            case "minLength" | "minProperties":
                ok = isinstance(value, str | dict) and len(value) >= rule
            case "exclusiveMinimum":
                ok = value > rule
            case "dependentRequired":
                ok = all(key in value for has, keys in rule.items() if has in value for key in keys)
            case "required":
                ok = isinstance(value, dict) and all(key in value for key in rule)
            case "items":
                found += [m for item in value for m in misfits(item, rule, root)]
                ok = True
            case "properties" | "patternProperties" | "additionalProperties":
                ok = True
            case _:
                raise AssertionError(f"this test does not know the word {word!r}")
        if not ok:
            found.append(f"{word}: {rule}")
    if isinstance(value, dict):
        for key, inner in value.items():
            rule = part.get("properties", {}).get(key)
            for pattern, of_pattern in part.get("patternProperties", {}).items():
                rule = of_pattern if rule is None and re.search(pattern, str(key)) else rule
            rule = part.get("additionalProperties") if rule is None else rule
            if rule is False:
                found.append(f"unknown key {key}")
            elif isinstance(rule, dict):
                found += misfits(inner, rule, root)
    return found


def test_published_schema_is_up_to_date() -> None:
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == schema(), (
        "the model has changed; type: lab schema > topologies/topology.schema.json"
    )


def test_lab_schema_prints_what_is_published() -> None:
    result = CliRunner().invoke(cli, ["schema"])
    assert (result.exit_code, result.output) == (0, PUBLISHED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)
def test_topologies_fit(path: Path) -> None:
    assert misfits(yaml.safe_load(path.read_text(encoding="utf-8")), schema(), schema()) == []


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)
def test_topologies_name_their_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=topology.schema.json"


@pytest.mark.parametrize(
    "name",
    ["unknown-key", "unknown-key-in-user", "bad-kind", "bad-node-name", "no-network",
     "time-scale-zero", "no-domain-no-users", "domain-without-users", "users-without-domain",
     "backup-for-as-text", "ram-queue-without-unit", "ram-queue-lower-case", "webmail-in-words",
     "domain-not-example", "duration-without-unit", "subnet-without-prefix", "users-empty",
     "number-as-password", "key-of-another-kind", "user-name-in-capitals", "line-break-in-name"],
)  # fmt: skip
def test_editors_can_underline(name: str) -> None:
    bad = Path(__file__).parent / "bad" / f"{name}.yaml"
    assert misfits(yaml.safe_load(bad.read_text(encoding="utf-8")), schema(), schema())


def test_an_independent_validator_agrees() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema())
    for path in TOPOLOGIES:
        jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(path.read_text("utf-8")))


def test_every_key_is_described() -> None:
    body = schema()
    assert body["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for owner, part in {"": body, **body["$defs"]}.items():
        assert part["description"], owner
        for key, rule in part["properties"].items():
            assert "description" in rule or key == "kind", f"{owner}.{key} has no docstring"


def test_defaults_are_written_as_in_a_file() -> None:
    body = schema()
    for part in (body, *body["$defs"].values()):
        for rule in part["properties"].values():
            if "default" in rule:
                assert not misfits(rule["default"], rule, body)
