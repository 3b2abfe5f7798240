"""docs/events.md tells people what lab/events.py tells programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from lab.kinds import DATA, Kind

DOC = (Path(__file__).parents[2] / "docs/events.md").read_text(encoding="utf-8")
CONNECTION = set(re.findall(r"`(\w+)`", DOC.partition("**The keys of a connection**")[2][:150]))


@pytest.mark.parametrize("kind", [kind for kind in DATA if kind != "outcome"])
def test_every_kind_and_key_is_documented(kind: Kind) -> None:
    (row,) = [line for line in DOC.splitlines() if re.match(rf"\|[^|]*`{kind}`", line)]
    told = set(re.findall(r"`(\w+)`", row)) | CONNECTION | {"line", "program"}
    assert set(get_type_hints(DATA[kind])) <= told
