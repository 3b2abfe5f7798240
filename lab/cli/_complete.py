"""What the Tab key offers where the lab knows the answer; nothing where it can't be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.faults.fault import Fault

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _from(find: Callable[[str], Iterable[str]]) -> Complete:
    """A completion out of what `find` gives for the lab that is meant."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        root = context.find_root()
        lab = root.obj or root.params.get("lab_name") or "lab"
        try:
            return [CompletionItem(name) for name in find(lab) if name.startswith(incomplete)]
        except LabError:
            return []

    return complete


def _nodes(lab: str) -> Iterable[str]:
    from lab.engine.lab import Lab

    return Lab.attach(lab).plan.nodes


def _places(lab: str) -> Iterable[str]:
    from lab.engine.lab import Lab

    plan = Lab.attach(lab).plan
    return [*plan.nodes, *plan.networks]


def _people(lab: str) -> Iterable[str]:
    from lab.engine.lab import Lab
    from lab.topology.check_mail import mailboxes_of

    return mailboxes_of(Lab.attach(lab).plan.topology)


def _seats(lab: str) -> Iterable[str]:
    from lab.engine.lab import Lab
    from lab.seats.seat import seats

    return map(str, seats(Lab.attach(lab).plan.topology))


def _topologies(lab: str) -> Iterable[str]:
    from lab.topology.loader import topology_names

    return topology_names()


def _scenarios(lab: str) -> Iterable[str]:
    from lab.scenarios import names

    return names()


def _exercises(lab: str) -> Iterable[str]:
    from lab.exercises import catalogue

    return catalogue()


def _languages(lab: str) -> Iterable[str]:
    from lab.scenarios.narration import LANGUAGES

    return LANGUAGES


def _runs(lab: str) -> Iterable[str]:
    from lab.record import names

    return reversed(names())


def _faults(lab: str) -> Iterable[str]:
    from lab.faults.fault import catalogue

    return catalogue()


def _cases(lab: str) -> Iterable[str]:
    from lab.engine.lab import Lab
    from lab.faults import journal

    found = journal.cases(Lab.attach(lab))
    return sorted({word for case in found for word in (case.id, case.fault.name, case.fault.node)})


def targets(fault: type[Fault]) -> Complete:
    """What `fault` can strike."""

    def find(lab: str) -> Iterable[str]:
        from lab.engine.lab import Lab

        return fault.targets(Lab.attach(lab).plan)

    return _from(find)


cases = _from(_cases)
exercises = _from(_exercises)
faults = _from(_faults)
languages = _from(_languages)
nodes = _from(_nodes)
places = _from(_places)
people = _from(_people)
seats = _from(_seats)
topologies = _from(_topologies)
scenarios = _from(_scenarios)
runs = _from(_runs)
