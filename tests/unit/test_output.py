"""What the verbs print for programs."""

from __future__ import annotations

import pytest

from lab.cli._output import emit_json
from lab.errors import LabError


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_json_is_not_printed(capsys: pytest.CaptureFixture[str], number: float) -> None:
    with pytest.raises(LabError) as error:
        emit_json({"began": 1.5, "hops": [{"waited": number}]})
    assert str(error.value) == (
        "can't print this as JSON: a number in it is infinite, or none\n"
        "  → lab report shows what was recorded; without --json this is printed too"
    )
    assert capsys.readouterr().out == ""
