"""Holds what events say against what their types promise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, with_config

from lab.kinds import DATA, Kind


@cache
def _validator(kind: Kind) -> TypeAdapter[Any]:
    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(DATA[kind]))


def check(kind: Kind, data: Mapping[str, Any]) -> None:
    """Raises ValidationError unless `data` has the keys of its kind, no others, and their types.

    It is looked at as it will stand in the record, so it must be JSON as well.
    """
    _validator(kind).validate_json(json.dumps(data, allow_nan=False), strict=True)
