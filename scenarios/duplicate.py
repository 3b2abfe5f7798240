"""The final 250 is lost: both servers have the message, and it is delivered twice (RFC 1047)."""

from lab.faults.cut import cut_before_reply
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4",), lasts="35m", time_scale=90)
def duplicate(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", receiver=bob.server)

    with stage.outage(cut_before_reply(bob.server, times=1)):
        stage.predict("question", sender=alice.server)
        message = alice.send(to=bob, subject="Lunch?")
        stage.expect(message).unconfirmed(to=bob)
        stage.expect(message).deferred()
        stage.explain("unsure", sender=alice.server, receiver=bob.server)

    stage.expect(message).doubled(to=bob)
    stage.expect(message).on_schedule()
    stage.explain("after")
