"""A modem line to the receiver: a big message takes long, and arrives with the first attempt."""

from lab.faults.link import delay, rate
from lab.scenarios import scenario
from lab.scenarios.stage import Stage

MODEM = 56_000  # bits a second


@scenario(rows=(), lasts="8m", time_scale=20)
def slow_link(stage: Stage, kilobytes: int = 80) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", kilobytes=kilobytes)
    # As in the days of modems: a kernel that takes little in advance, so that what is sent does not
    # all wait in the line ahead of everybody else, and Postfix's own patience with a call.
    modest = {"tcp_windowsize": 4096, "smtp_connect_timeout": "30s"}

    with (
        stage.operator(alice.server, **modest),
        stage.outage(rate(bob.server, bits=MODEM)),
        stage.outage(delay(bob.server, by=0.06)),
    ):
        stage.predict("question")
        big = alice.send(to=bob, subject="The picture", attached=1000 * kilobytes)
        small = alice.send(to=bob, subject="Lunch?")
        stage.expect(big).paced(bits=MODEM)
        stage.explain("slow")
        stage.expect(small).beside(big)

    for message in (big, small):
        stage.expect(message).delivered(to=bob)
    stage.explain("after")
