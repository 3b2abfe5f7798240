"""A browser by hand: what one says to Roundcube's web mail, said by curl at somebody's PC.

A browser does nothing else: it fetches a page, sends the form in it with its hidden fields (a token
among them), keeps the cookies it is given, and fetches the pictures that a page names. So what is
on the wire is the same, without a browser on the user's own machine.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode, urljoin

from lab.errors import LabError, UsageError
from lab.services import webmail
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage

_FORM = "application/x-www-form-urlencoded"
_TOKEN = re.compile(r'"request_token":"(\w+)"')
# In the answer to a list each row is a call of a function of the page's: a number, an object.
_ROW = re.compile(r"add_message_row\((\d+),")
_SENT = "sent_successfully("


@dataclass(frozen=True)
class Row:
    """A message in a list: its number (UID), and its subject."""

    uid: str
    subject: str


@dataclass(frozen=True)
class Opened:
    """A message as it was opened: the page it is shown on, and the first picture on that."""

    page: str
    picture: bytes


class Browser:
    """A browser at the PC of `person`, who will use the web mail of their own server.

    Raises UsageError if it has none. Its methods raise LabError where the web mail answers
    otherwise than it should.
    """

    def __init__(self, stage: Stage, person: Person) -> None:
        site = stage.lab.plan.site
        home = webmail.url(site, person.address)
        if home is None:
            raise UsageError(
                f"{site.hostname(person.server)} has no web mail",
                hint="in the topology: webmail: true",
            )
        self.person = person
        self.home = home
        self._stage = stage
        self._jar = f"/home/{person.name}/.cookies-{secrets.token_hex(4)}"
        self._token = ""

    def log_in(self) -> None:
        """Fetch the first page, and send its form with name and password."""
        server = cast(MailServer, self._stage.lab.plan.topology.nodes[self.person.server])
        form = _Page.of(self._get({})).fields
        form |= {"_user": self.person.address, "_pass": server.users[self.person.name].password}
        page = self._post({"_task": "login"}, form)
        token = _TOKEN.search(page)
        if token is None or "_task=logout" not in page:
            raise LabError(f"{self.home} does not let {self.person.name} in")
        self._token = token[1]

    def log_out(self) -> None:
        """Leave, and forget the cookies."""
        self._get({"_task": "logout", "_token": self._token})
        self._stage.lab.run(self.person.seat, ["rm", "-f", self._jar], user=self.person.name)

    def write(self, to: str, subject: str, text: str, picture: bytes, name: str) -> None:
        """Open a new message, upload `picture` (a PNG called `name`), fill the form in, send it."""
        form = _Page.of(self._get({"_task": "mail", "_action": "compose"})).fields
        one = {"_task": "mail", "_id": form["_id"]}
        kind, upload = _multipart(self._token, name, picture)
        said = self._post(
            {**one, "_action": "upload", "_uploadid": "1", "_remote": "1"}, upload, kind
        )
        number = re.search(r'add2attachment_list\(\\?"rcmfile(\w+)\\?"', said)
        if number is None:
            raise LabError(f"{self.home} did not take the picture", detail=said[-400:])
        form |= {"_token": self._token, "_to": to, "_subject": subject, "_message": text}
        form |= {"_attachments": number[1], "_is_html": "0", "_framed": "1"}
        said = self._post({"_task": "mail", "_framed": "1"}, form)
        if _SENT not in said:
            raise LabError(f"{self.home} did not send the message", detail=said[-400:])

    def inbox(self) -> list[Row]:
        """The messages in the INBOX, as the page lists them: the newest first."""
        self._get({"_task": "mail", "_mbox": "INBOX"})
        asked = {"_task": "mail", "_action": "list", "_mbox": "INBOX", "_remote": "1"}
        script: str = json.loads(self._get(asked))["exec"]
        decode = json.JSONDecoder().raw_decode
        return [
            Row(row[1], unescape(decode(script, row.end())[0]["subject"]))
            for row in _ROW.finditer(script)
        ]

    def open(self, uid: str) -> Opened:
        """Open a message, and fetch the picture that is shown with it, if there is one."""
        html = self._get({"_task": "mail", "_action": "show", "_uid": uid, "_mbox": "INBOX"})
        sources = [one for one in _Page.of(html).pictures if "_action=get" in one]
        picture = self._fetch(urljoin(self.home, sources[0])) if sources else b""
        return Opened(html, picture)

    def _get(self, query: Mapping[str, str]) -> str:
        return self._fetch(self._url(query)).decode()

    def _post(
        self, query: Mapping[str, str], body: Mapping[str, str] | bytes, kind: str = _FORM
    ) -> str:
        octets = body if isinstance(body, bytes) else urlencode(body).encode()
        return self._fetch(self._url(query), octets, kind).decode()

    def _url(self, query: Mapping[str, str]) -> str:
        return f"{self.home}?{urlencode(query)}" if query else self.home

    def _fetch(self, url: str, body: bytes | None = None, kind: str = "") -> bytes:
        """What the web server answers to a GET, or to a POST of `body`; redirections followed."""
        argv = ["curl", "--silent", "--show-error", "--fail", "--location", "--max-time", "30"]
        argv += ["--cookie", self._jar, "--cookie-jar", self._jar]
        if self._token:  # what a page's own requests say, so that no other site's are obeyed
            argv += ["--header", f"X-Roundcube-Request: {self._token}"]
        if body is not None:  # by standard input: a password is in no process list
            argv += ["--header", f"Content-Type: {kind}", "--data-binary", "@-"]
        done = self._stage.lab.run(
            self.person.seat, [*argv, url], stdin=body or b"", user=self.person.name
        )
        return done.check(f"{self.person.name}'s curl {url}").stdout


@dataclass
class _Page:
    """What a browser needs of a page: the fields of its forms, and where its pictures are."""

    fields: dict[str, str] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, html: str) -> _Page:
        page = cls()
        _Reader(page).feed(html)
        return page


class _Reader(HTMLParser):
    def __init__(self, page: _Page) -> None:
        super().__init__()
        self._page = page
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        fields, name = self._page.fields, found.get("name", "")
        if tag == "input" and found.get("type", "text") in ("hidden", "text"):
            fields[name] = found.get("value", "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            # The first is chosen, unless another says that it is.
            if "selected" in found or self._select not in fields:
                fields[self._select] = found.get("value", "")
        elif tag == "img":
            self._page.pictures.append(found.get("src", ""))


def _multipart(token: str, name: str, picture: bytes) -> tuple[str, bytes]:
    """A file as a form sends it (RFC 7578), octets as they are: the kind of the body, and it."""
    border = secrets.token_hex(8)
    head = (
        f'--{border}\r\nContent-Disposition: form-data; name="_token"\r\n\r\n{token}\r\n'
        f"--{border}\r\nContent-Disposition: form-data; "
        f'name="_attachments[]"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return (
        f"multipart/form-data; boundary={border}",
        head.encode() + picture + f"\r\n--{border}--\r\n".encode(),
    )
