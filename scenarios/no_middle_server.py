"""Between the two mail servers there is a router, and no third mail server (N11)."""

from lab.faults.power import power_cut
from lab.scenarios import hops, scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N11",), lasts="1h30m", time_scale=600)
def no_middle_server(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", sender=alice.server, receiver=bob.server)

    stage.predict("question", sender=alice.server, receiver=bob.server)
    routers = hops.traced(stage, alice.server, bob.server)
    hops.traced(stage, bob.server, alice.server)
    for router in routers:
        hops.only_passes_on(stage, router, asked_by=alice.server)
    stage.explain("router", router=" ".join(routers))

    with stage.outage(power_cut(bob.server)):
        stage.predict("waiting", receiver=bob.server)
        message = alice.send(to=bob, subject="Lunch?")
        stage.expect(message).deferred(times=2)
        hops.nowhere_between(stage, message, routers)
        stage.explain("queue", sender=alice.server, router=" ".join(routers))

    stage.tell("recovered", receiver=bob.server)
    stage.expect(message).delivered(to=bob)
    stage.expect(message).passed_through(alice.server, bob.server, read_by=bob)
    stage.explain("after")
