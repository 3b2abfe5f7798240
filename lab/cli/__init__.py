"""The `lab` command. Each verb is one module of this package, found by its name.

A verb's module holds a click command called `command` and imports at its top only what is
cheap; whatever is slow to import (docker, paramiko, pydantic) is imported where it is used, so
that `lab --help` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click

from lab.engine import interrupt
from lab.errors import EngineError, LabError, TopologyError, UsageError
from lab.views.visible import in_line, visible

# What Docker takes in a container's name, and short enough for one beside a machine's name.
_LAB_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,39}")
# Why nothing more can be written: a full disk, one that fails, a terminal that is closed.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class NobodyReads(Exception):
    """Whoever read our output has gone (`lab logs | head`)."""


@contextlib.contextmanager
def _read_by_somebody() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise NobodyReads from error
    except SystemExit as exit_:  # so rich answers it
        if isinstance(exit_.__context__, BrokenPipeError):
            raise NobodyReads from exit_
        raise


class Verbs(click.Group):
    """A group whose commands are this package's modules: a new verb is a new file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, as typed: module ssh_config is `ssh-config`."""
        return sorted(
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(__path__)
            if not module.name.startswith("_")
        )

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb called `name`, or None."""
        if name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown verb is answered with the nearest one."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            from difflib import get_close_matches

            near = get_close_matches(args[0], known, 1)
            raise UsageError(
                f"there is no verb '{args[0]}'",
                hint=f"did you mean 'lab {near[0]}'?" if near else "lab --help lists them",
            )
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click does it, which may print help."""
        with _read_by_somebody():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does it. Raises NobodyReads where that would end us with a status of its own."""
        with _read_by_somebody():
            return super().invoke(ctx)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: lab up, then lab scenario run delivery",
)
@click.option(
    "--lab",
    "lab_name",
    envvar="LAB_NAME",
    default="lab",
    show_default=True,
    metavar="NAME",
    help="Which lab is meant, where several run side by side (or LAB_NAME).",
)
@click.version_option(package_name="maillab", message="%(package)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, lab_name: str) -> None:
    """The whole Internet mail system on a laptop: real servers, real wires, real outages."""
    if not _LAB_NAME.fullmatch(lab_name):
        raise UsageError(
            f"'{lab_name}' can't be the name of a lab",
            hint="a name is up to 40 letters (a-z), digits, '-', '_' or '.', the first no sign",
        )
    ctx.obj = lab_name


def main() -> Any:
    """Run the command line; every LabError becomes its text on stderr and its exit status."""
    _open_what_is_closed()
    interrupt.heed()
    try:
        done = cli.main(standalone_mode=False, prog_name="lab")
        sys.stdout.flush()
        return done
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except LabError as error:
        _say(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("lab: interrupted", err=True)
        sys.exit(130)
    except (NobodyReads, BrokenPipeError):
        # Nothing left to say, to no one.
        _forget_output()
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
            _forget_output()
            _say(LabError(f"can't write the output: {error.strerror}"))
        # Where the engine is asked its failures are named; here it fails between two questions.
        if type(error).__module__.partition(".")[0] not in ("docker", "requests", "urllib3"):
            raise
        _say(EngineError("the Docker engine fails", detail=str(error), hint="lab doctor"))
    finally:
        interrupt.ignore()


def _say(error: LabError) -> NoReturn:
    """End with the text of `error`, in which nothing acts on a terminal, and its exit status."""
    click.echo(f"lab: {_harmless(error)}", err=True)
    sys.exit(error.exit_status)


def _harmless(error: LabError) -> LabError:
    """`error`, which may quote mail, logs and what programs said; `detail` alone has lines."""
    if isinstance(error, TopologyError):
        return TopologyError([_harmless(problem) for problem in error.problems])
    return LabError(
        in_line(error.what),
        where=error.where and in_line(error.where),
        hint=error.hint and in_line(error.hint),
        detail=visible(error.detail.replace("\r\n", "\n")),
    )


def _open_what_is_closed() -> None:
    """A standard stream that is closed (`lab status >&-`) leads nowhere from here on.

    Else the next file that is opened would take its place, and what is printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  until the end


def _forget_output() -> None:
    """What could not be written is not tried once more as Python ends, which would be an error."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
