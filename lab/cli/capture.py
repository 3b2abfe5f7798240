"""`lab capture`: tcpdump at the cable."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from lab.cli import _complete
from lab.cli._output import note

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.observe.capture import Listener, Port


@click.command(short_help="tcpdump at a machine's cable, or on a network")
@click.argument(
    "targets", nargs=-1, required=True, metavar="NODE|NETWORK...", shell_complete=_complete.places
)
@click.option("-w", "file", metavar="FILE", help="Write the packets to FILE; - is standard output.")
@click.option(
    "--filter", "expression", default="", metavar="BPF", help="Only these; pcap-filter(7)."
)
@click.option("--wireshark", is_flag=True, help="Watch in Wireshark, live.")
@click.option(
    "--past", is_flag=True, help="Not from now on: what has passed since the lab was ready."
)
@click.pass_obj
def command(
    lab_name: str,
    targets: tuple[str, ...],
    file: str | None,
    expression: str,
    wireshark: bool,
    past: bool,
) -> None:
    """Listen at the cable of a machine, or on a whole network, until Ctrl-C.

    Without -w or --wireshark each packet is printed on a line. Several targets go into one file
    (pcapng) in which each is an interface with its name; NODE:NETWORK is one cable of a router.

    \b
    Example:
      lab capture sender-mail --filter 'tcp port 25'
      lab capture sender-mail -w mail.pcap
      lab capture sender-lan receiver-lan -w - | tshark -r -
      lab capture internet --wireshark
      lab capture sender-lan --past -w sofar.pcap
    """
    if file and wireshark:
        raise click.UsageError("-w and --wireshark exclude each other")
    if file == "-" and sys.stdout.isatty():
        raise click.UsageError("packets are no text: redirect -w -, or name a file")
    from lab.engine.lab import Lab
    from lab.observe import capture

    lab = Lab.attach(lab_name)
    chosen = capture.ports(lab, targets)
    if past:
        _past(lab, chosen, file, expression, wireshark)
        return
    with ExitStack() as stack:
        viewer = _wireshark(stack) if wireshark else None
        binary = bool(file) or viewer is not None
        listeners = []
        for port in chosen:
            listeners.append(capture.Listener(lab, port, expression, text=not binary))
            stack.callback(listeners[-1].close)
        note("listening at " + ", ".join(port.name for port in chosen) + " (Ctrl-C to stop)")
        _stop_on_interrupt(listeners)
        sink = viewer or (_opened(file, stack) if file else sys.stdout.buffer)
        try:
            if not binary:
                _print_lines(listeners, max(len(port.name) for port in chosen))
            else:
                capture.write(listeners, sink)
        except BrokenPipeError:
            return  # whoever read the packets has seen enough
    counted = sum(listener.captured for listener in listeners)
    dropped = sum(listener.dropped for listener in listeners)
    note(f"{counted} packets" + (f", {dropped} dropped by the kernel" if dropped else ""))


def _past(lab: Lab, chosen: list[Port], file: str | None, expression: str, wireshark: bool) -> None:
    """Write out the record that the fabric keeps of networks."""
    if expression or not (file or wireshark):
        raise click.UsageError("--past takes -w FILE (or --wireshark), and no filter")
    from lab.errors import UsageError
    from lab.observe.capture import Replay, write

    for port in chosen:
        if port.name not in lab.plan.networks:
            raise UsageError(
                f"what passed at '{port.name}' alone is not on record, but its network is",
                hint="one of: " + ", ".join(lab.plan.networks),
            )
    with ExitStack() as stack:
        sink = _wireshark(stack) if wireshark else _opened(file or "-", stack)
        replays = []
        for port in chosen:
            replays.append(Replay(lab, port.name, follow=False))
            stack.callback(replays[-1].close)
        with suppress(BrokenPipeError):
            write(replays, sink)


def _opened(file: str, stack: ExitStack) -> BinaryIO:
    if file == "-":
        return sys.stdout.buffer
    from lab.errors import LabError

    try:
        return stack.enter_context(open(file, "wb"))  # noqa: PTH123
    except OSError as error:
        raise LabError(f"can't write the capture: {error.strerror}", where=file) from error


def _wireshark(stack: ExitStack) -> BinaryIO:
    """Wireshark, reading what is written to the result."""
    import shutil
    import subprocess

    from lab.errors import LabError

    program = shutil.which("wireshark")
    if program is None:
        raise LabError(
            "Wireshark is not installed",
            hint="apt-get install wireshark, or write a file with -w and open it elsewhere",
        )
    viewer = subprocess.Popen([program, "-k", "-i", "-"], stdin=subprocess.PIPE)
    assert viewer.stdin is not None
    stack.callback(viewer.wait)
    stack.callback(viewer.stdin.close)
    return viewer.stdin  # type: ignore[return-value]


def _stop_on_interrupt(listeners: list[Listener]) -> None:
    """Ctrl-C and a polite kill end the capture, not the file: what tcpdump holds still arrives."""
    import signal

    def stop(*_: Any) -> None:
        for listener in listeners:
            listener.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _print_lines(listeners: list[Listener], width: int) -> None:
    """tcpdump's own lines as they come, each with its place where there are several."""
    import threading

    from lab.views.visible import visible

    def show(listener: Listener) -> None:
        pending = b""
        label = f"{listener.port.name:<{width}} " if len(listeners) > 1 else ""
        for data in listener.chunks():
            *lines, pending = (pending + data).split(b"\n")
            for line in filter(None, lines):  # tcpdump, interrupted, ends with an empty one
                click.echo(label + visible(line.decode(errors="replace")))

    threads = [threading.Thread(target=show, args=(one,), daemon=True) for one in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
