"""The `lab` command. Each verb is one module of this package, found by its name.

A verb's module holds a click command called `command` and imports at its top only what is
cheap; whatever is slow to import (docker, paramiko, pydantic) is imported where it is used, so
that `lab --help` answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from typing import Any

import click

from lab.engine import interrupt
from lab.errors import EngineError, LabError, UsageError

# What Docker takes in a container's name, and short enough for one beside a machine's name.
_LAB_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,39}")


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
    interrupt.heed()
    try:
        return cli.main(standalone_mode=False, prog_name="lab")
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except LabError as error:
        click.echo(f"lab: {error}", err=True)
        sys.exit(error.exit_status)
    except (click.Abort, KeyboardInterrupt):
        click.echo("lab: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone (`lab logs | head`): nothing left to say, to no one.
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        # Where the engine is asked its failures are named; here it fails between two questions.
        if type(error).__module__.partition(".")[0] not in ("docker", "requests", "urllib3"):
            raise
        failed = EngineError("the Docker engine fails", detail=str(error), hint="lab doctor")
        click.echo(f"lab: {failed}", err=True)
        sys.exit(failed.exit_status)
    finally:
        interrupt.ignore()
