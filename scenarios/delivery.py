"""One message from a PC to a PC, hop by hop, while the receiver's PC is off (N1-N3, N6, N13)."""

from lab.faults.power import power_cut
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N1", "N2", "N3", "N6", "N13"), lasts="3h", time_scale=600)
def delivery(stage: Stage, later: str = "2h") -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before")
    before, _ = stage.mailbox(bob.address)

    with stage.outage(power_cut(bob.seat)):
        stage.predict("question")
        message = alice.send(to=bob, subject="Lunch?")
        stage.expect(message).submitted()
        stage.expect(message).relayed(to=bob)
        stage.expect(message).delivered(to=bob, before=before)
        stage.expect(message).reached_without(bob.seat)
        stage.explain("pushed", server=alice.server, other=bob.server)
        stage.wait(later)

    stage.expect(message).read(by=bob, not_before=later)
    stage.explain("pulled")
