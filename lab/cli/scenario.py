"""`lab scenario`: stories that happen, and are judged by what was seen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli import _complete
from lab.cli._output import emit_json, fix_option, json_option, note

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.scenarios import Scenario

lang_option = click.option(
    "--lang",
    metavar="LANG",
    shell_complete=_complete.languages,
    help="The language to tell in: en, ko. Default: LAB_LANG, else the locale's.",
)


@click.group(short_help="Stories that happen, each with its evidence")
def command() -> None:
    """Stories that happen: outages, waiting, retries, bounces, each with its evidence.

    \b
    Example:
      lab scenario list
      lab scenario run receiver-down
    """


@command.command("list")
@lang_option
@json_option
def list_(lang: str | None, as_json: bool) -> None:
    """List the scenarios, which rows of the lecture each covers, and how long it takes.

    \b
    Example:
      lab scenario list
      lab scenario list --lang ko
      lab scenario list --json
    """
    from lab.scenarios import load, names
    from lab.scenarios.narration import Narration, language
    from lab.units import format_duration
    from lab.views.pages import as_lectured
    from lab.views.tables import table
    from lab.views.words import Words

    words = Words(language(lang))
    found = sorted(map(load, names()), key=as_lectured)
    titles = {one.name: Narration(one.narration, words.lang).title for one in found}
    if as_json:
        emit_json(
            [
                {
                    "name": one.name,
                    "title": titles[one.name],
                    "rows": list(one.rows),
                    "topology": one.topology,
                    "lab_seconds": one.lab_seconds,
                }
                for one in found
            ]
        )
        return
    rows = [
        (
            one.name,
            titles[one.name],
            " ".join(one.rows),
            one.topology,
            format_duration(one.lab_seconds),
            format_duration(round(one.lab_seconds / one.time_scale)) if one.time_scale else "",
        )
        for one in found
    ]
    keys = ("scenario", "story", "covers", "topology", "lab_time", "lasts")
    click.echo(table([*map(words, keys)], rows, {words("story"): 34, words("covers"): 12}))


@command.command()
@click.argument("name", required=False, shell_complete=_complete.scenarios)
@lang_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--source", is_flag=True, help="Print the scenario itself, in Python.")
@click.option("--all", "folder", type=click.Path(file_okay=False, path_type=Path), hidden=True)
def show(
    name: str | None, lang: str | None, as_markdown: bool, source: bool, folder: Path | None
) -> None:
    """Print the story of NAME as a handout, without running it: no lab is needed.

    The machines and what is on the wire, the story with its questions and what to look at, and at
    the end, under "Afterwards", why. What only a run can tell is left blank.

    \b
    Example:
      lab scenario show receiver-down
      lab scenario show receiver-down --lang ko > handout.txt
      lab scenario show receiver-down --source
    """
    from lab.scenarios import load
    from lab.scenarios.narration import language
    from lab.views import handout_text
    from lab.views.handout import handout

    if folder is not None:
        from lab.views import pages

        pages.write(folder)
        return
    if name is None:
        raise click.UsageError("which scenario? lab scenario list")
    found = load(name)
    if source:
        click.echo(found.source(), nl=False)
        return
    page = handout(found, language(lang))
    text = handout_text.markdown(page) if as_markdown else handout_text.plain(page)
    click.echo(text, nl=False)


@command.command()
@click.argument("name", shell_complete=_complete.scenarios)
@click.option("--here", is_flag=True, help="On the lab that is up, not on a fresh one of its own.")
@click.option(
    "--time-scale",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Lab seconds in one real second. Default: the scenario's own.",
)
@click.option("--step", is_flag=True, help="Wait for the class: predict, see, say why, hear why.")
@click.option("--evidence", is_flag=True, help="Say behind each line where it was seen.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a parameter of the scenario; may be repeated.",
)
@lang_option
@fix_option
@json_option
@click.pass_obj
def run(
    lab_name: str,
    name: str,
    here: bool,
    time_scale: float | None,
    step: bool,
    evidence: bool,
    settings: tuple[str, ...],
    lang: str | None,
    fix: bool,
    as_json: bool,
) -> None:
    """Let the scenario NAME happen, and judge what was seen.

    It runs on a lab of its own, which is gone afterwards; its record stays in runs/. Exit status
    1 if anything was not as expected.

    With --step it stops after each question, for a prediction that may be typed, before each
    explanation, and after it. q ends it there, and Ctrl-C anywhere; the lab is gone then, too.

    \b
    Example:
      lab scenario run receiver-down
      lab scenario run receiver-down --time-scale 600 --json
      lab scenario run give-up --here --step
      lab scenario run delivery --lang ko --step
    """
    if here and time_scale:
        raise click.UsageError("--here keeps the time scale of the lab that is up")
    from lab.prepare import engine_ready
    from lab.scenarios import load, runner
    from lab.scenarios.narration import Narration, language
    from lab.views.story import Story

    spoken = language(lang)
    scenario = load(name)
    parameters = _parameters(scenario, settings)
    Narration(scenario.narration, spoken).need(scenario.keys())
    if fix:
        engine_ready()
    file = sys.stderr if as_json else sys.stdout
    stage = _here(lab_name, scenario) if here else runner.own_lab(scenario, time_scale)
    with Story(file, evidence=evidence, step=step, lang=spoken) as story:
        with stage as lab:
            if here and scenario.time_scale not in (None, lab.clock.scale):
                note(
                    f"lab '{lab_name}' runs at time scale {lab.clock.scale:g}; "
                    f"a lab of the scenario's own would at {scenario.time_scale:g}"
                )
            outcome = runner.run(
                scenario,
                lab,
                parameters=parameters,
                audience=story,
                follow=story.follow,
                lang=spoken,
            )
        story.end(outcome)
    if as_json:
        emit_json(outcome.as_json())
    if not outcome.ok:
        sys.exit(1)


@contextmanager
def _here(lab_name: str, scenario: Scenario) -> Iterator[Lab]:
    """The lab that is up, which nobody else may change meanwhile."""
    from lab.engine import lock
    from lab.engine.lab import Lab

    with lock.changing(lab_name, f"scenario {scenario.name}"):
        lab = Lab.attach(lab_name)
        _check_topology(lab, scenario)
        yield lab


def _check_topology(lab: Lab, scenario: Scenario) -> None:
    """Raises UsageError if the lab lacks a machine, or web mail, of the scenario's topology."""
    from lab.errors import UsageError
    from lab.topology.loader import load

    there = lab.plan.topology.nodes
    needed = load(scenario.topology).nodes
    lacking = [
        name for name, node in needed.items() if name not in there or there[name].kind != node.kind
    ]
    lacking += [
        f"web mail on {name}"
        for name, node in needed.items()
        if getattr(node, "webmail", False) and not getattr(there.get(name), "webmail", False)
    ]
    if lacking:
        raise UsageError(
            f"scenario {scenario.name} needs topology {scenario.topology}, and lab '{lab.name}' "
            f"({lab.plan.topology.name}) has no {lacking[0]}",
            hint="leave out --here, or: lab --lab NAME up " + scenario.topology,
        )


def _parameters(scenario: Scenario, settings: tuple[str, ...]) -> dict[str, Any]:
    """The scenario's parameters as the user set them, each of the type of its default."""
    chosen = dict(scenario.parameters)
    for setting in settings:
        key, sign, value = setting.partition("=")
        if key not in chosen or not sign:
            known = ", ".join(f"{one}={default}" for one, default in chosen.items()) or "none"
            raise click.BadParameter(
                f"{setting!r}; the parameters of {scenario.name}, with their defaults: {known}",
                param_hint="--set",
            )
        try:
            chosen[key] = _like(chosen[key], value)
        except ValueError:
            raise click.BadParameter(
                f"{key} takes a value like {chosen[key]}, not {value!r}", param_hint="--set"
            ) from None
    return chosen


def _like(default: int | str, text: str) -> int | str:
    """`text` as what `default` is: a count (1 or more) or a duration. Raises ValueError."""
    if isinstance(default, int):
        if int(text) < 1:
            raise ValueError(text)
        return int(text)
    from lab.units import parse_duration

    parse_duration(text)
    return text
