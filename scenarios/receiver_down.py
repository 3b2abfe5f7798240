"""The receiver's server loses its power: mail waits at the sender's, is retried, arrives (N4)."""

from lab.faults.power import power_cut
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4",), lasts="2h30m", time_scale=60)
def receiver_down(stage: Stage, attempts: int = 4) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", alice=alice.address, bob=bob.address)

    with stage.outage(power_cut(bob.server)):
        stage.predict("question")
        message = alice.send(to=bob, subject="Lunch?")
        tried = stage.expect(message).deferred(times=attempts)
        stage.explain("waiting", server=alice.server)

    stage.tell("recovered", server=bob.server)
    stage.expect(message).delivered(to=bob)
    stage.expect(message).called_in_vain(tried)
    stage.explain("after")
