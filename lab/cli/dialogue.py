"""`lab dialogue`: what client and server said to each other, from a capture or as they say it."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.shell_completion import CompletionItem

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lab.observe.dialogue import Dialogue
    from lab.observe.pcap import Frame


def _sources(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """A file, or with --follow a place in the lab."""
    if context.params.get("follow"):
        return _complete.places(context, parameter, incomplete)
    return [CompletionItem(incomplete, type="file")]


@click.command(short_help="What client and server say to each other, from packets")
@click.argument(
    "sources", nargs=-1, required=True, metavar="PCAP|PLACE...", shell_complete=_sources
)
@click.option("--follow", "-f", is_flag=True, help="Listen in the lab at these machines, networks.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME[=PORT]",
    help="Only this one: smtp, lmtp, pop3, imap, http, dns, tls; =PORT reads that port as it.",
)
@click.option(
    "--stream", metavar="N", help="Only connection N (tcp.stream in Wireshark), or udp:N."
)
@click.option("--raw", is_flag=True, help="Show messages in full instead of their first lines.")
@json_option
@click.pass_obj
def command(
    lab_name: str,
    sources: tuple[str, ...],
    follow: bool,
    protocols: tuple[str, ...],
    stream: str | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Show dialogues: who called whom, what was said, what TCP did, how it ended.

    Read are SMTP, LMTP, POP3, IMAP, HTTP and DNS; of TLS, that it is there. Each line has the
    seconds since the connection's first packet and the frame's number, as Wireshark shows it.
    PCAP is a pcap or pcapng file, or - for standard input.

    With --follow the arguments are machines and networks of the running lab, and each thing said
    is printed when it is complete, until Ctrl-C; --json then prints one object a line.

    \b
    Example:
      lab dialogue mail.pcap
      lab dialogue mail.pcap --stream 2 --raw
      lab dialogue mail.pcap --protocol imap=1143
      lab dialogue --follow receiver-mail --protocol smtp --protocol dns
      lab capture receiver-mail -w - | lab dialogue -
    """
    from lab.observe.dialogue import PORTS
    from lab.observe.protocols import chosen

    ports = chosen(protocols) if protocols else PORTS
    wanted = _numbered(stream)
    if follow:
        with ExitStack() as stack:
            _follow(_heard(lab_name, sources, stack), ports, wanted, raw=raw, as_json=as_json)
        return
    if len(sources) > 1:
        raise click.UsageError("one capture at a time (or did you mean --follow?)")
    _read(sources[0], ports, wanted, raw=raw, as_json=as_json)


def _numbered(stream: str | None) -> tuple[str, int] | None:
    """Transport and number in `7`, `tcp:7` or `udp:7`."""
    if stream is None:
        return None
    transport, _, number = stream.rpartition(":")
    if transport not in ("", "tcp", "udp") or not (number.isascii() and number.isdigit()):
        raise UsageError(f"'{stream}' is no stream", hint="write it like 7, or udp:7")
    return transport or "tcp", int(number)


def _known_as(dialogue: Dialogue) -> tuple[str, int]:
    return dialogue.stream.transport, dialogue.stream.number


def _read(
    source: str,
    ports: Mapping[int, str],
    wanted: tuple[str, int] | None,
    *,
    raw: bool,
    as_json: bool,
) -> None:
    """Everything in a capture, a dialogue after the other."""
    from lab.observe.dialogue import dialogues

    with ExitStack() as stack:
        found = dialogues(_opened(source, stack), ports, on_cut=lambda cut: note(f"lab: {cut}"))
    name = "<stdin>" if source == "-" else source
    if wanted is not None:
        known = [_known_as(dialogue) for dialogue in found]
        found = [dialogue for dialogue in found if _known_as(dialogue) == wanted]
        if not found:
            numbers = [str(n) if kind == "tcp" else f"{kind}:{n}" for kind, n in known]
            which = str(wanted[1]) if wanted[0] == "tcp" else f"{wanted[0]}:{wanted[1]}"
            raise UsageError(
                f"there is no connection {which} to be read in {name}",
                hint=f"it has: {', '.join(numbers)}" if numbers else "it has none at all",
            )
    if as_json:
        emit_json([dialogue.as_json() for dialogue in found])
        return
    if not found:
        listed = ", ".join(map(str, sorted(ports)))
        note(f"no connection was tried in {name} to any of the ports {listed}")
    from lab.views.dialogue import Printer

    printer = Printer(raw=raw)
    for dialogue in found:
        printer.whole(dialogue)


def _opened(source: str, stack: ExitStack) -> BinaryIO:
    if source == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(source, "rb"))  # noqa: PTH123
    except OSError as error:
        hint = "to listen in the lab: lab dialogue --follow " + source
        raise UsageError(f"can't read: {error.strerror}", where=source, hint=hint) from error


def _heard(lab_name: str, targets: tuple[str, ...], stack: ExitStack) -> Iterator[Frame]:
    """The frames that pass the places named, as they pass, until Ctrl-C."""
    import os
    import signal
    import threading

    from lab.engine.lab import Lab
    from lab.observe import capture
    from lab.observe.pcap import read_frames

    lab = Lab.attach(lab_name)
    listeners = []
    for port in capture.ports(lab, targets):
        listeners.append(capture.Listener(lab, port))
        stack.callback(listeners[-1].close)
    receiver, sender = os.pipe()
    source = stack.enter_context(os.fdopen(receiver, "rb"))

    def pump() -> None:
        with os.fdopen(sender, "wb") as sink:
            capture.merged(listeners, sink)

    def stop(*_: Any) -> None:
        for listener in listeners:
            listener.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=pump, daemon=True).start()
    note("listening at " + ", ".join(one.port.name for one in listeners) + " (Ctrl-C to stop)")
    return read_frames(source, on_cut=lambda cut: None)


def _follow(
    frames: Iterable[Frame],
    ports: Mapping[int, str],
    wanted: tuple[str, int] | None,
    *,
    raw: bool,
    as_json: bool,
) -> None:
    """Each turn when it is complete, and each thing that happens to a connection."""
    from lab.observe.dialogue import listen
    from lab.views.dialogue import Printer

    printer = Printer(raw=raw)
    try:
        for dialogue, turn in listen(frames, ports):
            if wanted not in (None, _known_as(dialogue)):
                continue
            if as_json:
                what = turn.as_json() if turn else {"state": dialogue.state}
                click.echo(json.dumps({**dialogue.address(), **what}, ensure_ascii=False))
                sys.stdout.flush()
            else:
                printer.live(dialogue, turn)
                if dialogue.over and turn is None:
                    printer.over(dialogue)
    except BrokenPipeError:
        return  # whoever read along has seen enough
