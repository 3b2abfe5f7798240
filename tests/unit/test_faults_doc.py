"""docs/faults.md lists the faults there are; run as a program, this file writes the list."""

from __future__ import annotations

import re
from pathlib import Path

from lab.faults.fault import Fault, catalogue
from lab.faults.parameters import kind_of

DOC = Path(__file__).parents[2] / "docs/faults.md"
_PLACE = re.compile(r"(<!-- catalogue[^>]*-->\n).*?(<!-- /catalogue -->)", re.DOTALL)


def table() -> str:
    rows = ["| fault | what it does | of | it can be told |", "|---|---|---|---|"]
    for name, fault in catalogue().items():
        told = ", ".join(
            f"`--{one.name.rstrip('_').replace('_', '-')} {kind_of(one).metavar}`".replace(
                "|", "\\|"
            )
            for one in fault.parameters()
        )
        of = "any machine" if fault.kinds == Fault.kinds else ", ".join(fault.kinds)
        needs = f" Needs {fault.needs}." if fault.needs else ""
        rows.append(f"| `{name}` | {fault.help}.{needs} | {of} | {told} |")
    return "\n".join(rows) + "\n"


def written(text: str) -> str:
    return _PLACE.sub(lambda found: found[1] + table() + found[2], text)


def test_every_fault_is_documented() -> None:
    text = DOC.read_text()
    assert _PLACE.search(text)
    assert text == written(text), f"run: python {Path(__file__).name}"


if __name__ == "__main__":
    DOC.write_text(written(DOC.read_text()))
