"""What a report says at its top and at its foot: what ran, how it went, how to make it again."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lab import events
from lab.record import LOGS, Record
from lab.units import counted, format_duration, wall_clock
from lab.views.report.story import Judged
from lab.views.report.text import moment

# How the servers name themselves in their logs when they start
_SERVERS = (
    ("Postfix", re.compile(r"daemon started -- version ([\w.+-]+)")),
    ("Dovecot", re.compile(r"\bDovecot v([\w.+-]+)")),
    ("dnsmasq", re.compile(r"\bdnsmasq\[\d+\]: started, version ([\w.+-]+)")),
)
_HEAD = 1 << 16  # octets of a log in which they do


@dataclass(frozen=True)
class Ending:
    """How it went, in a word and a sentence; `tone` is good, bad or plain."""

    tone: str
    sign: str
    word: str
    more: str


def ending(record: Record, verdicts: Sequence[Judged]) -> Ending:
    """How the run went."""
    if record.about["scenario"] is None:  # a lab that is up: it goes on
        return Ending("plain", "·", "recorded", "nothing was to be judged")
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    judged = counted(len(verdicts), "expectation")
    so_far = f"{judged} judged so far" if verdicts else "nothing was judged so far"
    outcome = record.outcome
    if outcome is None:
        if _being_written(record):
            return Ending("plain", "…", "still going on", so_far)
        return Ending("bad", "✗", "has no end on record", f"it was interrupted or killed; {so_far}")
    if error := outcome.get("error"):
        return Ending("bad", "✗", "could not go on", f"{' '.join(error.split())}; {so_far}")
    if not verdicts:
        return Ending("bad", "✗", "NOT as expected", "nothing was judged")
    if outcome["ok"]:
        return Ending("good", "✓", "as expected", f"{judged}, all met")
    if not wrong:
        return Ending("bad", "✗", "NOT as expected", f"{judged} met, and yet it failed")
    return Ending("bad", "✗", "NOT as expected", f"{len(wrong)} of {judged} not met")


def _being_written(record: Record) -> bool:
    try:
        return events.being_written(record.folder / events.FILE)
    except OSError:
        return False


def facts(record: Record) -> list[tuple[str, str]]:
    """What, where, when, and with which clock."""
    about, clock = record.about, record.clock
    start = record.run
    real = record.events[-1].time - start.time
    if record.outcome is not None:
        real = record.outcome["real_seconds"]
    topology = about["topology"]
    schedule = topology.get("schedule") or {}
    began = moment(clock, start.time)
    found = [
        ("scenario", str(about["scenario"]))
        if about["scenario"]
        else ("record of", f"lab '{about['lab']}', as it was used"),
        ("topology", f"{topology.get('name', '?')}: {topology.get('title', '')}".strip(": ")),
        (
            "clock",
            f"1 real second is {format_duration(clock.scale)} of lab time"
            if clock.scale != 1
            else "lab time passes as real time does",
        ),
        ("began", f"{began.lab} lab time, {wall_clock(start.time, '%Y-%m-%d %H:%M:%S UTC%z')}"),
        ("lasted", f"{format_duration(real * clock.scale)} of lab time, {format_duration(real)}"),
    ]
    if schedule:
        said = [("retry", "try again {} after an attempt"), ("give_up", "give up after {}")]
        words = [text.format(schedule[key]) for key, text in said if schedule.get(key)]
        found.append(("schedule", ", ".join(words) + " (lab time)"))
    if about["parameters"]:
        settings = ", ".join(f"{key}={value}" for key, value in about["parameters"].items())
        found.append(("parameters", settings))
    return found


def versions(record: Record) -> str:
    """What made the report, and what the servers say of themselves in their logs."""
    try:
        maillab = version("maillab")
    except PackageNotFoundError:
        maillab = "(not installed)"
    found = [f"maillab {maillab}", f"Python {platform.python_version()}"]
    heads = []
    for path in sorted(filter(Path.is_file, (record.folder / LOGS).glob("*.log"))):
        with suppress(OSError), path.open("rb") as file:
            heads.append(file.read(_HEAD).decode("utf-8", "replace"))
    for name, pattern in _SERVERS:
        stated = {one[1] for head in heads for one in pattern.finditer(head)}
        found += [f"{name} {one}" for one in sorted(stated)]
    return ", ".join(found)


def again(record: Record) -> list[tuple[str, str]]:
    """What to type to make the report, and the run, once more."""
    found = [("this report", f"lab report {shlex.quote(record.folder.name)}")]
    about = record.about
    if about["scenario"]:
        words = ["lab", "scenario", "run", about["scenario"], "--time-scale"]
        words.append(f"{about['time_scale']:g}")
        for key, value in about["parameters"].items():
            words += ["--set", f"{key}={value}"]
        found.append(("the run", shlex.join(words)))
    return found
