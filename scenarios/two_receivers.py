"""One of two receivers is down: its mail waits, and holds up nobody else's (N4)."""

from lab.faults.power import power_cut
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4",), lasts="1h15m", topology="two-receivers", time_scale=60)
def two_receivers(stage: Stage, older: int = 3) -> None:
    alice, bob, erin = stage.person("alice"), stage.person("bob"), stage.person("erin")
    stage.tell("before", down=bob.server, up=erin.server)

    with stage.outage(power_cut(bob.server)):
        waiting = [alice.send(to=bob, subject=f"Note {n}") for n in range(1, older + 1)]
        stage.expect_all(waiting).queued()
        stage.predict("question", older=older)
        message = alice.send(to=erin, subject="Dinner?")
        stage.expect(message).relayed(to=erin)
        stage.expect(message).delivered(to=erin)
        stage.expect(message).overtook(*waiting)
        stage.explain("past", server=alice.server)

    stage.tell("recovered", server=bob.server)
    for note in waiting:
        stage.expect(note).delivered(to=bob)
    stage.explain("after")
