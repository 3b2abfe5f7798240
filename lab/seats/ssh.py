"""SSH to a seat, over a pipe: nothing listens, no port is published, no network is needed.

The engine starts an sshd in the machine whose standard input and output are the connection
(sshd(8), -i), and carries these two. Whatever reaches the engine reaches every seat, and the
traffic of a seat starts in the seat's machine, and crosses the lab's wires.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import logging
import queue
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from lab.engine.exec import STDERR, STDOUT, Exec, Result
from lab.errors import EngineError, LabError, NodeFailed
from lab.seats.keys import Keys, keys
from lab.seats.seat import Seat, seats

if TYPE_CHECKING:
    import paramiko

    from lab.engine.lab import Lab

SSHD = ("/usr/sbin/sshd", "-i", "-e", "-f", "/lab/seat.conf")
_HELLO_SECONDS = 15.0
_OPEN_SECONDS = 30.0
_DIAL_SECONDS = 130.0  # as long as Linux tries to connect (tcp(7): tcp_syn_retries)
_ALIVE_SECONDS = 15.0
_CHUNK = 65536
_WORDS = 2000  # octets of what sshd has to complain of
# What paramiko has to say is for nobody's screen; what failed is an error of ours.
_LOG = "paramiko.seat"
_number = itertools.count(1)  # each connection logs by a name of its own
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class NotReached(LabError):
    """A seat's machine could not connect to where it was to (RFC 4254 §5.1)."""


@contextmanager
def pipe(lab: Lab, seat: Seat, found: Keys) -> Iterator[Exec]:
    """An SSH server in the machine of `seat`, to be spoken to.

    Raises NodeFailed if the machine is off, or frozen.
    """
    process = lab.process(seat.node)
    people = [one.login for one in seats(lab.plan.topology) if one.node == seat.node]
    with lab.fabric() as fabric:
        try:
            fabric.furnish(found.files(people), process)
        except EngineError as error:
            raise LabError(
                f"the keys of {seat.node} can't be put in place: its root has changed /lab/seat",
                detail=error.what,
                hint=_mended(seat),
            ) from error
        if fabric.frozen(process):
            raise NodeFailed(f"node '{seat.node}' is frozen", hint="lab fault status")
    with Exec(lab.container(seat.node), SSHD) as program:
        yield program


def _mended(seat: Seat) -> str:
    return f"lab exec {seat.node} -- rm -r /lab/seat"


@contextmanager
def connect(lab: Lab, seat: Seat) -> Iterator[Connection]:
    """A connection to a seat.

    Raises NodeFailed if its machine is off or frozen, LabError if it does not open, or is lost.
    """
    import paramiko

    found = keys(lab)
    with pipe(lab, seat, found) as program:
        wire = _Wire(program)
        transport = paramiko.Transport(cast(Any, wire))
        transport.banner_timeout = transport.auth_timeout = _HELLO_SECONDS
        transport.set_keepalive(int(_ALIVE_SECONDS))
        reasons = _Reasons()
        transport.set_log_channel(f"{_LOG}.{next(_number)}")
        logging.getLogger(transport.get_log_channel()).addHandler(reasons)
        # Root there may have put anything in sshd's place, which talks and talks.
        despair = threading.Timer(_OPEN_SECONDS, wire.close)
        despair.start()
        try:
            transport.connect(
                hostkey=_public(found.host_public),
                username=seat.login,
                pkey=_private(found.user),
            )
            despair.cancel()
            yield Connection(seat, transport, reasons)
        except (paramiko.SSHException, EOFError) as error:
            raise LabError(
                f"seat {seat} does not open" if not transport.authenticated else f"{seat} is gone",
                detail=wire.said.decode(errors="replace").strip() or str(error),
                hint=f"lab status; if root there has changed its keys: {_mended(seat)}",
            ) from error
        finally:
            despair.cancel()
            transport.close()
            logging.getLogger(transport.get_log_channel()).removeHandler(reasons)


class _Reasons(logging.Handler):
    """Why the machine could not connect, in its own words, which paramiko only logs."""

    _WORDS = re.compile(r"open FAILED: (?P<words>.+): Connect failed")

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of the words, if there are any."""
        if found := self._WORDS.search(record.getMessage()):
            self.last = found["words"]


class Connection:
    """An open seat: programs run there, and connections start from there, side by side."""

    def __init__(self, seat: Seat, transport: paramiko.Transport, reasons: _Reasons) -> None:
        self.seat = seat
        self._transport = transport
        self._dialling = 0
        self._reasons = reasons

    @property
    def alive(self) -> bool:
        """Whether it is still open."""
        return self._transport.is_active()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Result:
        """Run a program in the seat to its end, giving it `stdin`."""
        with self.program(argv) as program:
            feeding = threading.Thread(target=program.feed, args=(stdin,), daemon=True)
            feeding.start()
            output = {STDOUT: bytearray(), STDERR: bytearray()}
            for stream, data in program.frames():
                output[stream] += data
            return Result(program.status(), bytes(output[STDOUT]), bytes(output[STDERR]))

    @contextmanager
    def program(
        self, argv: Sequence[str] = (), *, terminal: tuple[str, int, int] | None = None
    ) -> Iterator[Program]:
        """A program in the seat, or (without one) a login shell, to be spoken to.

        `terminal` is what it is given as one: its type, rows and columns.
        """
        with contextlib.closing(self._transport.open_session()) as channel:
            if terminal:
                kind, rows, columns = terminal
                channel.get_pty(kind, columns, rows)
            if argv:
                channel.exec_command(shlex.join(argv))
            else:
                channel.invoke_shell()
            program = Program(channel)
            try:
                yield program
            finally:
                program.hang_up()

    def dial(self, host: str, port: int) -> paramiko.Channel:
        """Connect from the seat's machine to host:port; the name is looked up there.

        Raises NotReached with the reason the machine gives.
        """
        import paramiko

        self._dialling += 1
        self._reasons.last = ""
        try:
            return self._transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=_DIAL_SECONDS
            )
        except paramiko.SSHException as error:
            # Of several at a time it is not known whose reason that was.
            reason = self._reasons.last if self._dialling == 1 else ""
            words = f": {reason}" if reason else ""
            raise NotReached(f"{host}:{port} can't be reached{words}") from error
        finally:
            self._dialling -= 1


class Program:
    """A program running in a seat: write to its stdin, read its output as it comes."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._arrived: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._ended: set[int] = set()
        # One listener a stream, however often frames() is begun: a second would take half of it.
        self._streams = {STDOUT: channel.recv, STDERR: channel.recv_stderr}
        for stream, read in self._streams.items():
            threading.Thread(target=self._listen, args=(stream, read), daemon=True).start()

    def write(self, data: bytes) -> None:
        """Send `data` to the program's standard input."""
        self._channel.sendall(data)

    def close_stdin(self) -> None:
        """Tell the program that its input has ended."""
        self._channel.shutdown_write()

    def feed(self, stdin: bytes) -> None:
        """Give it all of its input; one that ends before it has read that is not waited for."""
        with contextlib.suppress(OSError, EOFError):
            if stdin:
                self.write(stdin)
            self.close_stdin()

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(STDOUT or STDERR, bytes) as they arrive, until the program ends.

        Who leaves off and asks again later misses nothing.
        """
        while len(self._ended) < len(self._streams):
            stream, data = self._arrived.get()
            if data:
                yield stream, data
            else:
                self._ended.add(stream)

    def _listen(self, stream: int, read: Callable[[int], bytes]) -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := read(_CHUNK):
                self._arrived.put((stream, data))
        self._arrived.put((stream, b""))

    def status(self) -> int:
        """Its exit status once its output has ended; -1 if a signal ended it (or its machine)."""
        return self._channel.recv_exit_status()

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal its size."""
        self._channel.resize_pty(columns, rows)

    def hang_up(self) -> None:
        """End it, should it still run (RFC 4254 §6.9): without a terminal sshd would let it go on.

        paramiko has no call for that.
        """
        import paramiko

        if self._channel.exit_status_ready() or self._channel.closed:
            return
        request = paramiko.Message()
        request.add_byte(bytes([paramiko.common.MSG_CHANNEL_REQUEST]))
        request.add_int(self._channel.remote_chanid)
        request.add_string("signal")
        request.add_boolean(False)
        request.add_string("HUP")
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            cast(Any, self._channel.get_transport())._send_user_message(request)


class _Wire:
    """The standard streams of an sshd as paramiko wants its socket."""

    def __init__(self, program: Exec) -> None:
        self._program = program
        self._pending = b""
        self.said = bytearray()
        self.closed = self._closed = False

    def settimeout(self, seconds: float | None) -> None:
        self._program.socket.settimeout(seconds)

    def gettimeout(self) -> float | None:
        return self._program.socket.gettimeout()

    def send(self, data: bytes) -> int:
        return self._program.socket.send(data)

    def sendall(self, data: bytes) -> None:
        self._program.write(data)

    def recv(self, size: int) -> bytes:
        while not self._pending:
            stream, data = next(self._program.frames(), (STDOUT, b""))
            if stream == STDERR:
                self.said = bytearray((self.said + data)[-_WORDS:])
                continue
            if not data:
                return b""
            self._pending = data
        data, self._pending = self._pending[:size], self._pending[size:]
        return data

    def close(self) -> None:
        self.closed = self._closed = True
        self._program.close()


def _private(text: str) -> paramiko.PKey:
    import io

    import paramiko

    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))


def _public(line: str) -> paramiko.PKey:
    import paramiko

    kind, data = line.split()
    return paramiko.PKey.from_type_string(kind, base64.b64decode(data))
