"""The receiver's server loses its power, and a backup MX keeps its mail (N4; unlike N11)."""

from lab.faults.power import power_cut
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4",), lasts="1h15m", topology="backup-mx", time_scale=60)
def backup_mx(stage: Stage, attempts: int = 2) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    backup = "backup-mail"
    stage.tell("before", server=bob.server, backup=backup)

    with stage.outage(power_cut(bob.server)):
        stage.predict("question", server=bob.server)
        message = alice.send(to=bob, subject="Lunch?")
        there = stage.expect(message).taken_by(backup, instead_of=bob.server)
        tried = stage.expect(there).deferred(times=attempts)
        stage.explain("waiting", sender=alice.server, backup=backup)

    stage.tell("recovered", server=bob.server)
    stage.expect(there).delivered(to=bob)
    stage.expect(there).called_in_vain(tried)
    stage.expect(message).passed_through(alice.server, backup, bob.server, read_by=bob)
    stage.explain("after")
