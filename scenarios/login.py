"""A mailbox wants a name and a password; without TLS, whoever listens has them too (N7)."""

from lab.scenarios import logins, scenario
from lab.scenarios.devices import Device, password_of
from lab.scenarios.stage import Stage


@scenario(rows=("N7",), lasts="15m", time_scale=60)
def login(stage: Stage) -> None:
    bob = stage.person("bob")
    secret = password_of(stage, bob)
    stage.tell("before", server=bob.server)

    stage.predict("wrong")
    entered = []
    for protocol in ("pop3", "imap"):
        with Device(stage, bob, "laptop", protocol) as laptop:
            logins.refused(stage, laptop, wrong=secret[:-1])
        with Device(stage, bob, "laptop", protocol) as laptop:
            entered.append(logins.accepted(stage, laptop))
    stage.explain("checked", server=bob.server)

    stage.predict("wire")
    for done in entered:
        logins.readable(stage, done, secret)
    for protocol in ("pop3", "imap"):
        logins.decoded(stage, bob, protocol)
    stage.explain("readable")

    stage.predict("tls", server=bob.server)
    with logins.tls(stage, bob.server) as certificate:
        for protocol in ("pop3", "imap"):
            logins.distrusted(stage, bob, protocol)
            logins.hidden(stage, bob, protocol, certificate)
    stage.explain("after", server=bob.server)
