"""A scenario on paper, before it has happened: what is on the wire, the story with its questions,
what to look at, and, at the end, why. Values that only a run can give are left blank.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click

from lab.scenarios import Scenario
from lab.scenarios.blank import SHOWN
from lab.scenarios.narration import Narration, filled
from lab.scenarios.rehearsal import Rehearsed, Step, rehearse
from lab.units import format_duration
from lab.views.picture import picture
from lab.views.words import Words, sentence

_SIGNS = {"act": "→", "fault": "✗", "healed": "✓", "look": "☐"}
_ALIKE = 3  # as many steps that differ in a number only are told as one


@dataclass(frozen=True)
class Line:
    """Something that is done (→, ✗, ✓) or to be looked at (☐); `where` says where it is seen."""

    sign: str
    text: str
    where: str = ""


@dataclass(frozen=True)
class Piece:
    """A piece of the story: `kind` is `tell`, `predict`, `happens`, `observe`, `explain`."""

    kind: str
    text: str = ""
    lines: tuple[Line, ...] = ()
    number: int = 0
    """Of an explanation: it stands at the end, under this number."""


@dataclass(frozen=True)
class Handout:
    """All that a page says, in the language of `words`."""

    scenario: Scenario
    narration: Narration
    words: Words
    picture: str
    wire: tuple[tuple[str, str, str, str], ...]
    """For each cable: machine, address, network, the machine's name in the DNS."""
    pieces: tuple[Piece, ...]
    time_scale: float

    @property
    def facts(self) -> str:
        """What it shows, and how long it takes."""
        rows, seconds = ", ".join(self.scenario.rows), self.scenario.lab_seconds
        return " ".join(
            (
                self.words("shows", rows=rows) if rows else self.words("shows_none"),
                self.words(
                    "duration",
                    topology=self.scenario.topology,
                    lab=format_duration(seconds),
                    real=format_duration(round(seconds / self.time_scale)),
                ),
            )
        )

    @property
    def settings(self) -> str:
        """Its parameters, as they are typed; empty if it has none."""
        return " ".join(f"--set {key}={value}" for key, value in self.scenario.parameters.items())


def handout(scenario: Scenario, lang: str) -> Handout:
    """The page about `scenario` in `lang`. Nothing is run, and no lab is needed."""
    narration = Narration(scenario.narration, lang)
    rehearsed = rehearse(scenario, narration)
    words = Words(lang)
    drawn = click.unstyle(picture(rehearsed.plan, lang)).partition("\n\n")[2].rstrip()
    return Handout(
        scenario,
        narration,
        words,
        drawn,
        tuple(_wire(rehearsed)),
        tuple(_pieces(rehearsed.steps, words)),
        rehearsed.time_scale,
    )


def _wire(rehearsed: Rehearsed) -> Iterator[tuple[str, str, str, str]]:
    site = rehearsed.plan.site
    for name in rehearsed.plan.topology.nodes:
        for interface in site.addressing.interfaces[name]:
            yield name, str(interface.address.ip), interface.network, site.hostname(name)


def _pieces(steps: Iterable[Step], words: Words) -> Iterator[Piece]:
    seen: list[Step] = []
    reasons = 0
    for step in steps:
        if step.kind not in ("tell", "predict", "explain"):
            seen.append(step)
            continue
        yield from _observed(seen, words)
        seen = []
        reasons += step.kind == "explain"
        yield Piece(step.kind, _flowing(step.text), number=reasons if step.kind == "explain" else 0)
    yield from _observed(seen, words)


def _observed(steps: Sequence[Step], words: Words) -> Iterator[Piece]:
    lines: list[Line] = []
    for alike in _grouped(steps):
        step = alike[0]
        lines.append(Line(_SIGNS[step.kind], _said(step, words), _where(step, words)))
        if len(alike) > 1:
            lines.append(Line("…", words("more_like_this", more=len(alike) - 1)))
    if lines:
        looks = any(line.sign == _SIGNS["look"] for line in lines)
        yield Piece("observe" if looks else "happens", lines=tuple(lines))


def _grouped(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps one by one, but many alike (`Note 1`, `Note 2` …) together."""
    group: list[Step] = []
    for step in [*steps, None]:
        if group and (step is None or _alike(step) != _alike(group[0])):
            yield from [group] if len(group) >= _ALIKE else [[one] for one in group]
            group = []
        if step is not None:
            group.append(step)


def _alike(step: Step) -> tuple[str, str, str]:
    written = f"{step.of} {step.text} {step.values.get('subject', '')}"
    return step.kind, step.key, re.sub(r"\d+", "#", written)


def _said(step: Step, words: Words) -> str:
    """A step in the language's own words, or else as its function says it."""
    template = sentence(words.lang, step.key)
    try:
        said = filled(template, words.lang, step.values) if template else step.text
    except KeyError:  # the function's arguments have changed since
        template, said = None, step.text
    named = not step.of or (template is not None and re.search(r"\{self\b", template))
    return said if named else f"{step.of}: {said}"


def _where(step: Step, words: Words) -> str:
    if step.kind != "look":
        return ""
    seen_at = words("seen_at", blank=SHOWN * 3)
    places = ", ".join(map(words, step.places))
    return f"{words('look_in', places=places)}; {seen_at}" if places else seen_at


def _flowing(text: str) -> str:
    """Paragraphs without the line breaks within them."""
    return "\n\n".join(" ".join(one.split()) for one in re.split(r"\n\s*\n", text.strip()))
