"""Those who write: each at their own PC, by submission, as a mail program does.

Who is told that a letter is refused, or can't reach the server, tries again, with the same
Message-ID, for it is certain that the server has not taken it. Who does not hear the answer to the
content can't know, and does not: nothing that comes twice is of their making.
"""

from __future__ import annotations

import smtplib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from lab.errors import LabError
from lab.seats.call import SMTP
from lab.services.pc import seat_of, server_of
from lab.soak.checker import Submission
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.soak.letters import Letter

PATIENCE_SECONDS = 10.0  # without a word from the server
AGAIN_SECONDS = 0.5  # until one tries again
_LETTERS = 10  # on one connection


class Sender:
    """`address` sends `letters` in order, each when its time has come, in a thread of its own."""

    def __init__(
        self,
        lab: Lab,
        address: str,
        letters: Sequence[Letter],
        tell: Callable[[Submission], None],
    ) -> None:
        self._lab = lab
        self._letters = letters
        self._tell = tell
        self._login = address
        server = server_of(lab.plan.site, address)
        self._host = lab.plan.site.hostname(server)
        machine = cast(MailServer, lab.plan.topology.nodes[server])
        self._password = machine.users[address.partition("@")[0]].password
        self._seat = seat_of(lab.plan.site, address) or server
        self._connection: SMTP | None = None
        self._used = 0

    def send(self, began: float, until: float) -> None:
        """Send all, the beginning being at `began`; after `until` nothing is tried again.

        Both are of time.monotonic().
        """
        try:
            for letter in self._letters:
                time.sleep(max(0.0, began + letter.at - time.monotonic()))
                self._tell(self._handed_in(letter, until))
        finally:
            self._hang_up()

    def _handed_in(self, letter: Letter, until: float) -> Submission:
        content = letter.written()
        tries = 0
        while True:
            tries += 1
            try:
                return Submission(letter, "acknowledged", self._submit(letter, content), tries)
            except _Unknown as error:
                self._hang_up()
                return Submission(letter, "unknown", str(error), tries)
            except (smtplib.SMTPException, OSError, LabError) as error:
                self._hang_up()
                if time.monotonic() > until:
                    return Submission(letter, "refused", str(error), tries)
            time.sleep(AGAIN_SECONDS)

    def _submit(self, letter: Letter, content: bytes) -> str:
        """The server's last words, which are that it has taken the letter."""
        connection = self._connected()
        code, said = connection.mail(letter.sender)
        _expect(code, said, 250)
        for recipient in letter.recipients:
            code, said = connection.rcpt(recipient)
            _expect(code, said, 250)
        code, said = connection.docmd("DATA")
        _expect(code, said, 354)
        # From here on the end of the connection leaves it open who has the letter.
        try:
            connection.send(smtplib._quote_periods(content) + b".\r\n")  # type: ignore[attr-defined]
            code, said = connection.getreply()
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            raise _Unknown(str(error)) from error
        if code < 100:  # no more than the beginning of an answer
            raise _Unknown(f"{code} {said!r}")
        _expect(code, said, 250)
        self._used += 1
        return said.decode(errors="replace")

    def _connected(self) -> SMTP:
        if self._connection and self._used >= _LETTERS:
            self._hang_up()
        if self._connection is None:
            self._connection = SMTP(self._lab, self._seat, self._host, 587, PATIENCE_SECONDS)
            self._connection.ehlo()
            self._connection.login(self._login, self._password)
        return self._connection

    def _hang_up(self) -> None:
        connection, self._connection, self._used = self._connection, None, 0
        if connection:
            connection.close()


class _Unknown(Exception):
    """The answer to the content did not come."""


def _expect(code: int, said: bytes, wanted: int) -> None:
    if code != wanted:
        raise smtplib.SMTPResponseException(code, said)


def send_all(
    lab: Lab,
    letters: Sequence[Letter],
    began: float,
    until: float,
    tell: Callable[[Submission], None],
) -> None:
    """Everybody sends their letters; returns when all have. Raises what went wrong in a thread."""
    failures: list[BaseException] = []

    def work(sender: Sender) -> None:
        try:
            sender.send(began, until)
        except BaseException as error:  # told to whoever waits for us
            failures.append(error)

    people = dict.fromkeys(letter.sender for letter in letters)
    threads = [
        threading.Thread(target=work, args=(Sender(lab, one, own, tell),), daemon=True)
        for one in people
        if (own := [letter for letter in letters if letter.sender == one])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
