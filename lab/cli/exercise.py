"""`lab exercise`: tasks to do by hand, judged by what the lab has on record."""

from __future__ import annotations

import sys

import click

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note

lang_option = click.option(
    "--lang",
    metavar="LANG",
    shell_complete=_complete.languages,
    help="en or ko. Default: LAB_LANG, or the locale's.",
)


@click.group(short_help="Tasks to do by hand, judged by the lab's record")
def command() -> None:
    """Tasks for students, done by hand in the lab that is up.

    The lab judges them by what passed on its wires and what its servers logged since the start,
    never by what was typed in a shell.

    \b
    Example:
      lab exercise list
      lab exercise start by-hand
      lab exercise check by-hand
    """


@command.command("list")
@lang_option
@json_option
@click.pass_obj
def list_(lab_name: str, lang: str | None, as_json: bool) -> None:
    """List the exercises, and how far each is done in the lab that is up.

    \b
    Example:
      lab exercise list
      lab exercise list --lang ko
    """
    from lab.engine.lab import Lab
    from lab.errors import EngineError, LabNotUp
    from lab.exercises import catalogue
    from lab.exercises.grade import courses
    from lab.scenarios.narration import language
    from lab.views import exercise as view
    from lab.views.visible import in_line

    spoken, known, found, clock = language(lang), catalogue().values(), {}, None
    try:
        lab = Lab.attach(lab_name)
        clock = lab.clock
        found = {one.name: course for one, course in courses(lab, known) if course}
    except (EngineError, LabNotUp) as error:
        note(view.words(spoken).text("no-lab", what=in_line(error.what)))
    if not as_json:
        click.echo(view.catalogue(known, found, clock, spoken))
        return
    last = {name: course.last for name, course in found.items()}
    emit_json(
        [
            {
                "exercise": one.name,
                "title": one.texts(spoken).title,
                "rows": list(one.rows),
                "answer": one.answer,
                "begun": one.name in found,
                "done": bool((check := last.get(one.name)) and check.done is not None),
                "met": len(check.met) if check else 0,
                "total": len(one.items),
            }
            for one in known
        ]
    )


@command.command()
@click.argument("name", shell_complete=_complete.exercises)
@lang_option
@json_option
@click.pass_obj
def start(lab_name: str, name: str, lang: str | None, as_json: bool) -> None:
    """Begin exercise NAME: print the task, and note the moment in the lab.

    Begun once more, it begins anew.

    \b
    Example:
      lab exercise start by-hand
      lab --lab anna exercise start came-back --lang ko
    """
    from lab.engine.lab import Lab
    from lab.exercises import named
    from lab.exercises.grade import begin
    from lab.scenarios.narration import language
    from lab.views import exercise as view

    spoken, wanted = language(lang), named(name)
    begun = begin(Lab.attach(lab_name), wanted)
    if as_json:
        emit_json(begun.as_json(spoken))
    else:
        click.echo(view.task(begun, spoken))


@command.command()
@click.argument("name", required=False, shell_complete=_complete.exercises)
@click.option("--answer", metavar="ANSWER", help="Where the task asks for one; it is remembered.")
@click.option("--all", "everything", is_flag=True, help="All exercises; nothing is noted.")
@click.option("--csv", "as_csv", is_flag=True, help="With --all: print CSV.")
@click.option(
    "--lab",
    "labs",
    multiple=True,
    metavar="NAME",
    help="With --all: in which lab; may be repeated. Default: the one that is meant.",
)
@lang_option
@json_option
@click.pass_obj
def check(
    lab_name: str,
    name: str | None,
    answer: str | None,
    everything: bool,
    as_csv: bool,
    labs: tuple[str, ...],
    lang: str | None,
    as_json: bool,
) -> None:
    """Judge exercise NAME by what the lab has on record since it was begun.

    What is done and what is missing, item by item, and the frame or log line where that was seen.
    Who asks a second time without having got further is given a hint, once. Exit status 0 if all
    is done, 1 if not, 3 if one of several labs can't be asked: the others are told all the same.

    \b
    Example:
      lab exercise check by-hand
      lab exercise check responsibility --answer receiver-lan#12
      lab exercise check --all --csv
      lab exercise check --all --csv --lab anna --lab ben
    """
    from lab.engine.lab import Lab
    from lab.errors import LabError
    from lab.exercises import catalogue, named
    from lab.exercises import grade as grading
    from lab.scenarios.narration import language
    from lab.views import exercise as view
    from lab.views.visible import visible

    _one_or_all(name, answer, everything, as_csv, labs, as_json)
    spoken, failed = language(lang), False
    if name is not None:
        wanted = named(name)
        grades = [grading.check(Lab.attach(lab_name), wanted, answer)]
    else:
        grades = []
        for one in labs or (lab_name,):
            try:
                grades += grading.sheet(Lab.attach(one), catalogue().values())
            except LabError as error:  # the others' sheet is theirs all the same
                if len(labs) < 2:
                    raise
                failed = True
                note(f"lab: {visible(str(error))}")
    published = [one.as_json(spoken) for one in grades] if as_json else []
    if as_json:
        emit_json(published[0] if name is not None else published)
    elif as_csv:
        view.write(view.as_csv(grades, spoken))
    elif everything:
        click.echo(view.sheet(grades, spoken))
    else:
        click.echo(view.grade(grades[0], spoken))
    if failed:
        sys.exit(LabError.exit_status)
    if not all(one.done for one in grades):
        sys.exit(1)


def _one_or_all(
    name: str | None,
    answer: str | None,
    everything: bool,
    as_csv: bool,
    labs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Raises UsageError if what is asked for does not fit together."""
    from lab.errors import UsageError

    if name is None and not everything:
        raise UsageError("which exercise?", hint="lab exercise list, or: check --all")
    if name is not None and everything:
        raise UsageError(
            "one exercise is named, and all are asked for",
            hint=f"lab exercise check {name}, or: lab exercise check --all",
        )
    if answer is not None and everything:
        raise UsageError(
            "an answer is to one exercise", hint="lab exercise check NAME --answer ANSWER"
        )
    if as_csv and as_json:
        raise UsageError("--csv and --json are two ways to print the same", hint="leave out one")
    if as_csv and not everything:
        raise UsageError("CSV is for a class", hint="lab exercise check --all --csv")
    if labs and not everything:
        raise UsageError(
            "several labs are for --all", hint=f"lab --lab {labs[0]} exercise check {name}"
        )
