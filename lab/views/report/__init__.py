"""The report: a run as one page that needs nothing but itself, for reading and for printing.

It is made from the run's folder alone: the story, the ladder and the verdicts from the events, the
bytes from the captures, the lines from the logs. Everything claimed in it leads to what it rests
on, in the same page.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from lab.errors import LabError
from lab.record import REPORT, Record
from lab.scenarios.evidence import Evidence
from lab.views.ladder import ladder_svg
from lab.views.report import (
    attempts,
    capturefiles,
    heading,
    logs,
    packets,
    plot,
    snapshots,
    story,
    streams,
    text,
)
from lab.views.report.exhibits import Exhibits

if TYPE_CHECKING:
    import jinja2

    from lab.views.ladder.model import Item


def write(record: Record) -> Path:
    """Write the report of `record` into its folder, and return where it is.

    Whoever reads the old one meanwhile goes on reading it whole. Raises LabError if it can't be
    written there.
    """
    target = record.folder / REPORT
    page = html(record)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{REPORT}.", dir=record.folder)
        try:
            os.close(handle)
            Path(name).write_text(page, encoding="utf-8")
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LabError(
            f"can't write the report: {error.strerror}",
            where=str(target),
            hint="copy the run's folder to where you can write, then: lab report FOLDER",
        ) from error
    return target


def html(record: Record) -> str:
    """The page."""
    exhibits = Exhibits(record)
    verdicts = story.verdicts(record, exhibits)
    judged = exhibits.of("packet")
    told = story.story(record, exhibits)
    messages = attempts.messages(record, exhibits)
    schedule = attempts.schedule(record)
    ladder = _ladder(record, exhibits, story.anchors(told))
    cited = exhibits.of("packet")
    captures = capturefiles.read(
        record, [(one.evidence.file or "", one.evidence.frame or 0) for one in cited]
    )
    connections = streams.streams(record, judged)
    script = _file("report.js")
    return _templates().get_template("report.html.j2").render(
        record=record,
        ending=heading.ending(record, verdicts),
        facts=heading.facts(record),
        versions=heading.versions(record),
        again=heading.again(record),
        summary=record.about["summary"],
        story=told,
        ladder=ladder,
        left_out=exhibits.left_out,
        messages=messages,
        plot=plot.plot(record, messages, schedule),
        verdicts=verdicts,
        packets=packets.shown(record, cited, captures),
        logs=logs.shown(record, exhibits.of("log")),
        snapshots=snapshots.shown(record, exhibits.of()),
        captures=captures.values(),
        streams=connections,
        style=Markup(_file("report.css")),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip


def _ladder(record: Record, exhibits: Exhibits, anchors: set[str]) -> Markup:
    """The ladder, its arrows leading to their packets."""

    def link(item: Item) -> str | None:
        if item.file is not None and item.frame is not None:
            place = Evidence("packet", file=item.file, frame=item.frame)
            return exhibits.cite_from_ladder(place)
        if item.log is not None:
            return exhibits.cite_from_ladder(Evidence("log", node=item.log[0], line=item.log[1]))
        return next((f"#story-{seq}" for seq in item.seqs if f"story-{seq}" in anchors), None)

    drawn = ladder_svg(record, link=link, level="commands")
    return Markup(drawn)  # noqa: S704  what it quotes, it has escaped


@cache
def _file(name: str) -> str:
    folder = resources.files("lab.views.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lab.views.report"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shell"] = shlex.quote
    return environment
