"""`lab fault`: pull a cable, cut the power, spoil a line, and make it good again."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note
from lab.engine.interrupt import put_off

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.faults.fault import Fault
    from lab.faults.journal import Case
    from lab.faults.parameters import Kind


@click.group(short_help="Pull cables, cut power, spoil lines; and heal them")
def command() -> None:
    """Do bad things to a lab, one at a time or several at once, and undo them.

    A fault stays on until it is healed, whoever is restarted or killed meanwhile. It strikes from
    outside the machines, at the cable, the router or the power switch, wherever that can be.

    \b
    Example:
      lab fault apply cable-pulled receiver-mail
      lab queue
      lab fault heal
    """


@command.command("list")
@json_option
@click.pass_obj
def list_(lab_name: str, as_json: bool) -> None:
    """List the faults there are, what each can strike, and what it can be told.

    \b
    Example:
      lab fault list
      lab fault list --json | jq -r '.[] | select(.available) | .name'
    """
    from lab.engine.lab import Lab
    from lab.errors import LabNotUp
    from lab.faults.fault import catalogue

    try:
        lab = Lab.attach(lab_name)
    except LabNotUp:
        lab = None
    found = [_described(lab, fault) for fault in catalogue().values()]
    if as_json:
        emit_json(found)
        return
    from lab.views.tables import table

    rows = [
        (
            one["name"],
            one["title"] + (f"\nnot here: {one['why_not']}" if one["why_not"] else ""),
            "\n".join(f"--{key} {told['metavar']}" for key, told in one["parameters"].items()),
        )
        for one in found
    ]
    click.echo(table(("fault", "what it does", "it can be told"), rows, {"what it does": 60}))
    note("lab fault apply FAULT --help tells what it strikes and what it can be told")


def _described(lab: Lab | None, fault: type[Fault]) -> dict[str, Any]:
    targets = fault.targets(lab.plan) if lab else []
    why_not = next(iter(_reasons(lab, fault, targets)), None) if lab else None
    return {
        "name": fault.name,
        "title": fault.help,
        "kinds": list(fault.kinds),
        "targets": targets,
        "parameters": {
            _option(one.name): {
                "metavar": _kind(one).metavar,
                "help": one.metadata["help"],
                "default": _default(one),
            }
            for one in fault.parameters()
        },
        "needs": fault.needs,
        "available": None if lab is None else why_not is None,
        "why_not": why_not,
    }


def _reasons(lab: Lab, fault: type[Fault], targets: list[str]) -> list[str]:
    """Why it can strike none of its targets in this lab; empty if it can."""
    if not targets:
        return ["nothing in this lab that it could strike"]
    reasons = [_reason(lab, fault, target) for target in targets]
    return [] if None in reasons else [reason for reason in reasons if reason]


def _reason(lab: Lab, fault: type[Fault], target: str) -> str | None:
    from lab.errors import LabError

    try:
        return fault.probe(lab, target)
    except LabError as error:  # the lab is not whole
        return error.what


class _Apply(click.Group):
    """A command for each fault of the catalogue: a new one needs nothing here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from lab.faults.fault import catalogue

        return list(catalogue())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from lab.faults.fault import named

        return _command(named(name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-"):
            return args[0], self.get_command(ctx, args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from lab.faults.fault import catalogue

        return [
            CompletionItem(name, help=fault.help)
            for name, fault in catalogue().items()
            if name.startswith(incomplete)
        ]


@command.group("apply", cls=_Apply)
def apply_() -> None:
    """Put a fault on; it is in effect when this returns, and stays until it is healed.

    \b
    Example:
      lab fault apply power-cut receiver-mail --for 2h
      lab fault apply delay receiver-mail --by 200ms --jitter 50ms
    """


def _command(fault: type[Fault]) -> click.Command:
    targets = click.Argument(["target"], shell_complete=_complete.targets(fault))
    what = [
        click.Option(
            [f"--{_option(one.name)}", one.name],
            type=_Parsed(_kind(one)),
            metavar=_kind(one).metavar,
            required=one.default is dataclasses.MISSING,
            help=one.metadata["help"] + (f" [default: {_default(one)}]" if _default(one) else ""),
        )
        for one in fault.parameters()
    ]
    when = [
        click.Option(
            ["--for", "for_"],
            type=_Parsed(_lab_time()),
            metavar="LABTIME",
            help="Heal it after so much lab time (2h); until then this command waits.",
        ),
        click.Option(
            ["--at"],
            metavar="LABTIME",
            help="Put it on at this lab time (2h), or so much later (+30m); until then it waits.",
        ),
        click.Option(["--now"], is_flag=True, help="Put it on at once, which is the usual."),
    ]

    @click.pass_obj
    def run(
        lab_name: str, /, target: str, for_: int | None, at: str | None, now: bool, **values: Any
    ) -> None:
        if at and now:
            raise click.UsageError("--at and --now exclude each other")
        _apply(lab_name, fault, target, values, for_, at)

    return click.Command(
        fault.name,
        params=[targets, *what, *when],
        callback=run,
        short_help=fault.help,
        help=f"{fault.help[0].upper()}{fault.help[1:]}.\n\nTARGET is {fault.strikes}.",
    )


def _apply(
    lab_name: str,
    fault: type[Fault],
    target: str,
    values: dict[str, Any],
    for_: int | None,
    at: str | None,
) -> None:
    from lab.engine.lab import Lab
    from lab.faults import journal

    lab = Lab.attach(lab_name)
    wanted = fault(target, **{key: value for key, value in values.items() if value is not None})
    journal.check(lab, wanted)
    if at:
        _wait_until(lab, _moment(lab, at), f"{wanted.title}: at")
    case = journal.apply(lab, wanted, lasts=None if for_ is None else lab.clock.real(for_))
    if case.until is None:
        click.echo(f"{case.id}: {wanted.title}")
        note(f"lab fault heal {case.id} undoes it")
        return
    try:
        click.echo(f"{case.id}: {wanted.title}")
        _wait_until(lab, case.until, "healed at")
    finally:
        with put_off():
            if journal.heal(lab, case):
                note(f"{case.id}: {wanted.healed}")
            else:
                note(f"{case.id} has been healed by somebody else")


def _moment(lab: Lab, at: str) -> float:
    """The real moment (epoch seconds) that `--at` means."""
    from lab.units import parse_duration

    try:
        seconds = parse_duration(at.removeprefix("+"))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--at'") from None
    real = lab.clock.real(seconds)
    moment = time.time() + real if at.startswith("+") else lab.clock.started + real
    if moment < time.time():
        raise click.BadParameter(
            f"in this lab {at} is over; from now on would be +{at}", param_hint="'--at'"
        )
    return moment


def _wait_until(lab: Lab, moment: float, what: str) -> None:
    from lab.units import format_clock, format_duration

    left = moment - time.time()
    clock = format_clock(lab.clock.lab_time(moment))
    note(f"{what} {clock} of lab time, in {format_duration(left)} of real time")
    while (left := moment - time.time()) > 0:
        time.sleep(min(left, 3600))


@command.command("heal")
@click.argument("which", nargs=-1, shell_complete=_complete.cases)
@click.pass_obj
def heal_(lab_name: str, which: tuple[str, ...]) -> None:
    """Undo faults: those given by number, by name or by what they strike; without any, all.

    \b
    Example:
      lab fault heal
      lab fault heal f3
      lab fault heal receiver-pc      whatever strikes it
    """
    from lab.engine.lab import Lab
    from lab.errors import LabError, UsageError
    from lab.faults import journal

    lab = Lab.attach(lab_name)
    found = journal.cases(lab)
    for word in which:
        if all(word not in _words(case) for case in found):
            raise UsageError(
                f"no fault that is on is called, or strikes, '{word}'", hint="lab fault status"
            )
    chosen = [case for case in found if not which or set(which) & _words(case)]
    if not chosen:
        note("nothing is wrong with this lab")
    failed: LabError | None = None
    for case in reversed(chosen):  # what came last goes first
        try:
            ours = journal.heal(lab, case)
        except LabError as error:  # the others can be healed all the same
            failed = failed or error
            continue
        if ours:
            click.echo(f"{case.id}: {case.fault.healed}")
        else:
            note(f"{case.id} has been healed by somebody else")
    if failed:
        raise failed


def _words(case: Case) -> set[str]:
    return {case.id, case.fault.as_json()["fault"], case.fault.target, case.fault.node}


@command.command("status")
@json_option
@click.pass_obj
def status_(lab_name: str, as_json: bool) -> None:
    """Show the faults that are on, since when, until when, and whether they are in effect.

    \b
    Example:
      lab fault status
      lab fault status --json
    """
    from lab.engine.lab import Lab
    from lab.faults import journal

    lab = Lab.attach(lab_name)
    found = [_standing(lab, case) for case in journal.cases(lab)]
    if as_json:
        emit_json(found)
        return
    if not found:
        click.echo("nothing is wrong with this lab")
        return
    from lab.units import format_clock
    from lab.views.tables import table

    def clock(moment: float | None) -> str:
        return "" if moment is None else format_clock(lab.clock.lab_time(moment))

    rows = [
        (
            one["id"],
            one["title"],
            clock(one["applied"]),
            (clock(one["until"]) or "healed") + (", overdue" if one["overdue"] else ""),
            "yes" if one["in_effect"] else f"no: {one['why_not']}",
        )
        for one in found
    ]
    click.echo(table(("", "fault", "since", "until", "in effect"), rows))


def _standing(lab: Lab, case: Case) -> dict[str, Any]:
    from lab.errors import LabError

    why_not = None
    try:
        if case.state != "on":
            why_not = f"whoever was {case.state} it was killed, or is still at it"
        elif not case.fault.verify(lab, case.id):
            why_not = "it was undone by other means"
    except LabError as error:
        why_not = error.what
    return {
        **case.as_json(),
        "title": case.fault.title,
        "node": case.fault.node,
        "overdue": case.until is not None and time.time() > case.until,
        "in_effect": why_not is None,
        "why_not": why_not,
    }


# --- What a fault can be told -------------------------------------------------------------------


class _Parsed(click.ParamType[Any]):
    """A value as the faults understand it."""

    def __init__(self, kind: Kind[Any]) -> None:
        self._kind = kind
        self.name = kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._kind.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(one) for one in self._kind.choices if one.startswith(incomplete)]


def _option(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _kind(field: Any) -> Kind[Any]:
    from lab.faults.parameters import kind_of

    return kind_of(field)


def _default(field: Any) -> str | None:
    if field.default is dataclasses.MISSING or field.default is None or field.default == 0:
        return None
    return _kind(field).write(field.default)


def _lab_time() -> Kind[int]:
    from lab.faults.parameters import LAB_TIME

    return LAB_TIME
