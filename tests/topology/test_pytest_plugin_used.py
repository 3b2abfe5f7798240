"""The `lab` fixture, used as docs/testing.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness import made

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs/testing.md"


def example() -> str:
    (found,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def names_in(output: str) -> set[str]:
    return set(re.findall(r"lab is (pytest-[\w-]+)", output))


ANOTHER = """
def test_which(lab, capsys):
    with capsys.disabled():
        print("lab is", lab.name)
"""


@pytest.mark.usefixtures("engine")
def test_the_example_of_the_docs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=example() + ANOTHER, test_two=example() + ANOTHER)
    done = pytester.runpytest_subprocess("--lab-required", "-q")
    done.assert_outcomes(passed=4)
    # Of one test the mark asks for a fast clock, of the other nothing does: two labs for all four.
    (used,) = names_in(done.stdout.str())
    assert not made(used), "it is gone"


@pytest.mark.usefixtures("engine")
def test_workers_have_labs_of_their_own(pytester: pytest.Pytester) -> None:
    which = ANOTHER + "    (pathlib.Path(__file__).parent / lab.name).touch()\n"
    pytester.makepyfile(test_one="import pathlib\n" + which, test_two="import pathlib\n" + which)
    done = pytester.runpytest_subprocess("--lab-required", "-q", "-n", "2", "--dist", "loadfile")
    done.assert_outcomes(passed=2)
    used = [path.name for path in pytester.path.glob("pytest-*")]
    assert len(used) == 2
    assert not any(made(name) for name in used)


@pytest.mark.usefixtures("engine")
def test_what_a_test_has_broken_the_next_does_not_see(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from lab.faults import journal
        from lab.faults.cable import cable_pulled
        from lab.faults.power import power_cut

        def test_break(lab):
            journal.apply(lab, power_cut("receiver-mail"))
            journal.apply(lab, cable_pulled("internet"))

        def test_next(lab):
            state = lab.state()
            assert {one["state"] for one in state["nodes"]} == {"ready"}
            assert {one["state"] for one in state["links"]} == {"up"} and not state["faults"]
        """
    )
    pytester.runpytest_subprocess("--lab-required").assert_outcomes(passed=2)


@pytest.mark.usefixtures("engine")
def test_a_lab_there_is_not_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.topology("textbok")
        def test_typo(lab): pass

        @pytest.mark.topology("textbook", speed=3)
        def test_wrong(lab): pass

        @pytest.mark.topology(7)
        def test_number(lab): pass

        @pytest.mark.topology("own.yaml")
        def test_file(lab): pass
        """
    )
    (pytester.path / "own.yaml").write_text("nodes:\n  one: {kind: toaster}\n")
    done = pytester.runpytest_subprocess("--lab-required", "-rN")
    done.assert_outcomes(errors=4)
    usage = 'it is @pytest.mark.topology("textbook", time_scale=600)'
    said = [line for line in done.outlines if line and line[0] not in "=_"]
    assert said.count(usage) == 2
    done.stdout.fnmatch_lines(["*textbok*", usage, usage, "own.yaml:2:*toaster*"])
    assert "pytest_plugin.py" not in done.stdout.str(), "no traceback of ours"
