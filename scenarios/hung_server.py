"""A server that is stopped, one that is dead, and one that hangs: what the sender sees (N4)."""

from lab.faults.power import node_frozen, power_cut
from lab.faults.service import service_stopped
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4",), lasts="15m", time_scale=30)
def hung_server(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", server=bob.server)
    stage.predict("question")

    with stage.outage(service_stopped(bob.server, service="postfix")):
        first = alice.send(to=bob, subject="Are you stopped?")
        stopped = stage.expect(first).refused_at_once()
        stage.explain("stopped", server=bob.server)

    with stage.outage(power_cut(bob.server)):
        second = alice.send(to=bob, subject="Are you dead?")
        dead = stage.expect(second).unanswered()
        stage.explain("dead")

    with stage.outage(node_frozen(bob.server)):
        stage.predict("frozen", server=bob.server)
        third = alice.send(to=bob, subject="Do you hang?")
        hung = stage.expect(third).ungreeted()
        stage.explain("hung", hung=hung)

    stage.check(
        "side by side",
        "each of the three keeps its caller waiting for longer than the one before",
        f"stopped {stopped}, dead {dead}, hung {hung}",
        stopped.lab_seconds < dead.lab_seconds < hung.lab_seconds,
        [*stopped.evidence, *dead.evidence, *hung.evidence],
    )
    stage.flush(alice.server)
    for message in (first, second, third):
        stage.expect(message).delivered(to=bob)
    stage.explain("after", stopped=stopped, dead=dead, hung=hung)
