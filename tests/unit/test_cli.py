"""The command line keeps its promises: help with examples, plain errors, exit statuses, Tab."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from lab import errors, scenarios
from lab.cli import cli
from lab.engine.lab import Lab
from lab.errors import LabError, LabNotUp
from lab.topology.loader import topology_names
from lab.views import tables

ROOT = Path(__file__).parents[2]
VERBS = cli.list_commands(click.Context(cli))
PROBLEMS = "TopologyError([LabError('no title', where='a.yaml:1:1'), LabError('no nodes')])"
# The command line with a verb that does what it is told to.
PROGRAM = """
import sys, click
from lab.cli import main, status
from lab.errors import *
def act():
    {act}
status.command = click.Command("status", callback=act)
sys.argv = ["lab", "status"]
sys.exit(main())
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def commands(words: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
    """`command` and all below it, each with the words that lead there."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands([*words, name], below)


def options(words: list[str]) -> tuple[set[str], list[str]]:
    """The options that a command line may have, and those among `words` that it has."""
    known, found = {"--help"}, []
    command: click.Command = cli
    for word in words:
        known |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        if word == "--":
            break
        if word.startswith("-") and word != "-":
            found.append(word)
        elif isinstance(command, click.Group):
            command = command.get_command(click.Context(command), word) or command
    known |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return known, found


def examples() -> Iterator[str]:
    """Every line in a help text that shows what to type, without what is said beside it."""
    for _, command in commands([], cli):
        _, _, text = (command.help or "").partition("Example:\n")
        for line in text.splitlines():
            if line.strip().startswith("lab "):
                yield re.split(r" {3,}| [|>] ", line.strip())[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0
    _, _, example = result.output.partition("  Example:\n")
    assert re.search(rf"^ +.*\blab (--lab \S+ )?{verb}\b", example, re.MULTILINE), result.output


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_what_an_example_shows_can_be_typed(line: str) -> None:
    words = shlex.split(line)[1:]
    assert any(verb in words for verb in VERBS)
    known, found = options(words)
    assert set(found) <= known


def test_help_lists_every_verb_with_what_it_is_for() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\w", output, re.MULTILINE), verb


def test_help_answers_without_importing_what_is_slow() -> None:
    done = python(
        "import sys\nfrom lab.cli import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit as done:\n    assert not done.code\n"
        "slow = {'docker', 'paramiko', 'pydantic', 'rich', 'jinja2', 'yaml'} & set(sys.modules)\n"
        "print(sorted(slow), file=sys.stderr)"
    )
    assert "Usage:" in done.stdout
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("LabError('what')", 3, "lab: what\n"),
        ("UsageError('what', hint='type this')", 2, "lab: what\n  → type this\n"),
        (PROBLEMS, 2, "lab: a.yaml:1:1: no title\nno nodes\n"),
        (
            "EngineError('what', detail='its words\\n\\n', hint='type this')",
            3,
            "lab: what\n  | its words\n  → type this\n",
        ),
        ("NodeFailed('what', where='dns')", 3, "lab: dns: what\n"),
        ("LabBusy('what')", 3, "lab: what\n"),
        ("LabNotUp('what')", 3, "lab: what\n"),
    ],
)
def test_an_error_is_its_text_and_its_exit_status(error: str, status: int, said: str) -> None:
    done = python(PROGRAM.format(act=f"raise {error}"))
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_every_class_of_errors_has_an_exit_status_of_the_interface() -> None:
    classes = {
        name: found.exit_status
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, LabError)
    }
    usage = {name for name, status in classes.items() if status == 2}
    assert usage == {"UsageError", "TopologyError"}
    assert set(classes.values()) == {2, 3}


def test_an_interruption_is_told_and_has_its_exit_status() -> None:
    done = python(PROGRAM.format(act="raise KeyboardInterrupt"))
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "lab: interrupted"


def test_wrong_usage_says_what_and_how_to_get_help() -> None:
    for act in ("raise click.UsageError('what')", "raise click.BadParameter('what')"):
        done = python(PROGRAM.format(act=act))
        assert done.returncode == 2
        assert done.stdout == ""
        assert "what" in done.stderr


@pytest.mark.parametrize(
    ("typed", "hint"), [("quue", "did you mean 'lab queue'?"), ("zzz", "lab --help lists them")]
)
def test_an_unknown_verb_is_answered_with_the_nearest_one(typed: str, hint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", typed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"lab: there is no verb '{typed}'\n  → {hint}\n"


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"),
    [(True, None, True), (True, "", True), (True, "1", False), (False, None, False)],
)
def test_colours_are_for_terminals_whose_user_wants_them(
    terminal: bool, no_color: str | None, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    if no_color is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", no_color)
    text = tables.table(("machine", "state"), [("dns", tables.state("ready"))])
    assert ("\x1b[" in text) == coloured


def test_in_a_pipe_a_table_is_plain_columns_and_korean_as_wide_as_it_is_shown() -> None:
    assert tables.table(("name", "n"), [("김철수", 1), ("dns", None)]).splitlines() == [
        "name    n",
        "------  ---",
        "김철수  1",
        "dns",
    ]


def completions(words: str, incomplete: str = "") -> list[str]:
    """What the Tab key offers after `lab WORDS`."""
    found = ShellComplete(cli, {}, "lab", "_LAB_COMPLETE")
    return [item.value for item in found.get_completions(shlex.split(words), incomplete)]


def test_the_tab_key_knows_verbs_topologies_and_scenarios() -> None:
    assert completions("") == VERBS
    assert completions("", "val") == ["validate"]
    assert completions("up") == topology_names()
    assert completions("up", "text") == ["textbook"]
    assert completions("scenario run") == scenarios.names()
    assert completions("scenario show", "give") == ["give-up"]
    assert "--json" in completions("queue", "--")


def test_the_tab_key_is_silent_about_a_lab_that_is_not_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def attach(name: str) -> Lab:
        asked.append(name)
        raise LabNotUp(f"lab '{name}' is not up")

    monkeypatch.setattr(Lab, "attach", attach)
    assert completions("--lab second queue") == []
    assert completions("mailbox") == []
    assert asked == ["second", "lab"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_LAB_COMPLETE" in result.output


# Where output goes ------------------------------------------------------------------------------


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of `line`, in which $LAB is the command."""
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        env={**os.environ, "LAB": f"{sys.executable} -m lab", "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize("words", ["scenario list", "--help", "watch tests/records/delivery"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told_in_a_line(words: str, unbuffered: str) -> None:
    done = shell(f"cd {ROOT}; PYTHONUNBUFFERED={unbuffered} $LAB {words} > /dev/full")
    assert done.returncode == 3
    assert done.stderr == "lab: can't write the output: No space left on device\n"


def test_what_is_still_to_be_written_at_the_end_is_not_forgotten() -> None:
    act = "sys.stdout.buffer.write(b'a message')"
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" > /dev/full', sys.executable, PROGRAM.format(act=act)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == "lab: can't write the output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere(closed: str) -> None:
    done = shell(f"cd {ROOT}; $LAB scenario list {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_no_file_takes_the_place_of_closed_output(tmp_path: Path) -> None:
    act = f"import os; file = open('{tmp_path}/kept', 'w'); os.write(1, b'said')"
    shell(f"exec >&-; {sys.executable} -c {shlex.quote(PROGRAM.format(act=act))}")
    assert (tmp_path / "kept").read_text() == ""


@pytest.mark.parametrize(
    "act", ["click.echo('said')", "from rich.console import Console; Console().print('said')"]
)
def test_without_a_reader_it_ends_as_programs_do(act: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(act=act)],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_another_error_of_the_system_is_not_one_of_output() -> None:
    done = python(PROGRAM.format(act="open('/nowhere/at/all')"))
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
