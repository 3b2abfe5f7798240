"""Why the sender has a mail server: a PC is not always on, and then nobody tries again (N9)."""

from contextlib import ExitStack

from lab.faults.power import power_cut
from lab.scenarios import alone, scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N9",), lasts="2h30m", time_scale=600)
def why_a_sender_server(stage: Stage, longer: str = "1h") -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", server=bob.server, pc=alice.seat)

    with ExitStack() as night:
        with stage.outage(power_cut(bob.server)):
            lonely = night.enter_context(alone.trying(stage, alice, to=bob, subject="Straight"))
            lonely.unanswered()
            message = alice.send(to=bob, subject="By way of my server")
            stage.expect(message).submitted()
            off = night.enter_context(stage.outage(power_cut(alice.seat)))
            stage.predict("question", pc=alice.seat, server=bob.server)
            stage.expect(message).deferred()
            stage.explain("waiting", sender=alice.server, pc=alice.seat)

        stage.tell("recovered", server=bob.server, pc=alice.seat)
        delivery = stage.expect(message).delivered(to=bob)
        alone.went_home(stage, message, delivery, since=off.applied)
        stage.explain("arrived", sender=alice.server)
        stage.wait(longer)
        lonely.silent(since=off.applied)
        lonely.nowhere(alice.server, bob.server)
    stage.explain("after")
