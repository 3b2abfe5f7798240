"""Progress on stderr: bars and a moving line on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from lab.engine.images import BuildStep


@contextmanager
def image_progress() -> Iterator[Callable[[BuildStep], None]]:
    """Yields what `lab.engine.images.build` reports its steps to; from any thread."""
    console = _terminal()
    if console is None:
        yield _PlainSteps()
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=14),
        TextColumn("{task.completed:.0f}/{task.fields[of]}"),
        TimeElapsedColumn(),
        # What a program prints is not ours to interpret: no markup, one line.
        TextColumn(
            "{task.fields[line]}",
            style="dim",
            markup=False,
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, expand=True) as bars:

        def show(step: BuildStep) -> None:
            if step.image not in tasks:
                tasks[step.image] = bars.add_task(step.image, total=None, line="", of="?")
            bars.update(
                tasks[step.image],
                total=step.steps or None,
                completed=step.step,
                line=step.line,
                of=step.steps or "?",
            )
            if step.done:
                bars.stop_task(tasks[step.image])

        yield show


@contextmanager
def up_progress() -> Iterator[Callable[[str], None]]:
    """Yields what takes one line after the other; on a terminal only the latest is seen."""
    console = _terminal()
    if console is None:
        yield lambda line: click.echo(f"lab: {line}", err=True)
        return
    with console.status("") as status:
        yield lambda line: status.update(line)


def _terminal() -> Console | None:
    """Standard error, if it is a terminal (rich itself leaves out colours under NO_COLOR)."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    return Console(stderr=True)


class _PlainSteps:
    """A line for each step; what the steps print is left out."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[int, bool]] = {}

    def __call__(self, step: BuildStep) -> None:
        """Print `step` if it is one, and not more output of the last one."""
        now = (step.step, step.done)
        if self._said.get(step.image) == now:
            return
        self._said[step.image] = now
        where = f" {step.step}/{step.steps}" if step.steps else ""
        line = shorten(step.line, 100 - len(step.image), placeholder=" …")
        click.echo(f"images: {step.image}{where} {line}", err=True)
