"""Programs run inside a node, with their standard streams, over Docker's exec call.

Without a terminal Docker frames stdout and stderr in 8-byte headers (stream, length); `Exec`
takes them apart again. Bytes pass through unchanged, so a pcap can travel this way.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from lab.engine.client import LABEL_NODE, client
from lab.errors import LabError, NodeFailed

if TYPE_CHECKING:
    from types import TracebackType

STDOUT, STDERR = 1, 2
_SILENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Result:
    """How a program ended: its exit status and all it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are shown as U+FFFD."""
        return self.stdout.decode(errors="replace")

    def check(self, what: str) -> Result:
        """Itself if the program succeeded; raises LabError naming `what` failed otherwise."""
        if self.status != 0:
            output = (self.stderr or self.stdout).decode(errors="replace")
            raise LabError(f"{what} failed (exit status {self.status})", detail=output)
        return self


class Stream:
    """The standard streams of a program in a container, over a socket to the engine."""

    def __init__(self, holder: Any, *, tty: bool = False) -> None:
        self.tty = tty
        self._holder = holder
        # The SDK hands out a file-like wrapper; the socket beneath it can be half-closed.
        self.socket: socket.socket = getattr(holder, "_sock", holder)
        self._buffer = bytearray(_read_ahead(holder, self.socket))
        self.socket.settimeout(None)

    def write(self, data: bytes) -> None:
        """Send `data` to the program's standard input."""
        self.socket.sendall(data)

    def close_stdin(self) -> None:
        """Tell the program that its input has ended."""
        self.socket.shutdown(socket.SHUT_WR)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(STDOUT or STDERR, bytes) as they arrive, until the program ends.

        With a socket timeout set, raises TimeoutError and can be called again: nothing is lost.
        """
        while True:
            if self.tty:
                data = bytes(self._buffer) or self.socket.recv(65536)
                self._buffer.clear()
                if not data:
                    return
                yield STDOUT, data
                continue
            while len(self._buffer) >= 8:
                stream, size = struct.unpack_from(">BxxxL", self._buffer)
                if len(self._buffer) < 8 + size:
                    break
                payload = bytes(self._buffer[8 : 8 + size])
                del self._buffer[: 8 + size]
                yield stream, payload
            data = self.socket.recv(65536)
            if not data:
                return
            self._buffer += data

    def close(self) -> None:
        """Hang up. A program that reads its stdin sees the end of it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._holder.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _read_ahead(holder: Any, socket: socket.socket) -> bytes:
    """What came with the engine's answer, in one piece, and was read with it.

    The SDK looks for the end of the answer's header through a buffer, and then hands out the
    socket beneath it. A busy machine reads late, and finds a program's first words there already.
    """
    try:
        buffer = holder._response.raw._fp.fp
    except AttributeError:  # no such buffer: Windows, or an engine reached by SSH
        return b""
    socket.setblocking(False)
    return bytes(buffer.read1() or b"")


class Exec(Stream):
    """A program running in a container: write to its stdin, read its output as it comes.

    Raises NodeFailed if the container does not run.
    """

    def __init__(
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        workdir: str | None = None,
        tty: bool = False,
    ) -> None:
        from docker.errors import APIError

        api = client().api
        self._api = api
        try:
            self.id: str = api.exec_create(
                container,
                list(argv),
                stdin=True,
                tty=tty,
                user=user,
                environment=dict(environment or {}),
                workdir=workdir,
            )["Id"]
            holder: Any = api.exec_start(self.id, socket=True, tty=tty)
        except APIError as error:
            # The last is said of one that ends between the two calls.
            if error.status_code in (404, 409) or "is not running" in str(error):
                raise _not_running(container) from error
            raise
        super().__init__(holder, tty=tty)

    def status(self) -> int:
        """The program's exit status, once its output has ended."""
        code = self._api.exec_inspect(self.id)["ExitCode"]
        return -1 if code is None else int(code)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program's terminal its size."""
        self._api.exec_resize(self.id, height=rows, width=columns)


def attach(container: str) -> Stream:
    """The streams of a container's main program, which was given an open stdin.

    For one that has just been started this saves the engine a second start of a program. It goes
    on when we hang up.
    """
    wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    return Stream(client().api.attach_socket(container, params=wanted))


def _not_running(container: str) -> NodeFailed:
    """What to tell of a container that is off, frozen or gone."""
    from docker.errors import NotFound

    try:
        labels = client().api.inspect_container(container)["Config"]["Labels"]
    except NotFound:
        return NodeFailed(f"container {container[:12]} is gone", hint="lab up")
    return NodeFailed(f"node '{labels.get(LABEL_NODE)}' is off or frozen", hint="lab up")


def run(
    container: str,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    user: str = "",
    environment: Mapping[str, str] | None = None,
    workdir: str | None = None,
    patience: Callable[[], None] = lambda: None,
) -> Result:
    """Run `argv` in `container` to its end, giving it `stdin`; its output and exit status.

    `patience` is called each time it has said nothing for a while, and may raise.
    """
    with Exec(container, argv, user=user, environment=environment, workdir=workdir) as program:
        if stdin:
            # A program may end without reading all of it; its exit status then tells why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                program.write(stdin)
        with contextlib.suppress(OSError):
            program.close_stdin()
        output = {STDOUT: bytearray(), STDERR: bytearray()}
        program.socket.settimeout(_SILENCE_SECONDS)
        while True:
            try:
                for stream, data in program.frames():
                    output[stream] += data
                break
            except TimeoutError:
                patience()
        return Result(program.status(), bytes(output[STDOUT]), bytes(output[STDERR]))
