"""The receiver's server never comes back: the message is given up and its sender told (N5)."""

from lab.faults.power import power_cut
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(
    rows=("N5",),
    lasts="4h30m",
    time_scale=600,
    schedule={"retry": "30m", "give_up": "4h", "delay_notice": "1h"},
)
def give_up(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", patience=stage.patience)

    with stage.outage(power_cut(bob.server)):
        message = alice.send(to=bob, subject="Are you there?")
        stage.predict("question")
        stage.expect(message).returned(to=alice)
    stage.explain("after")
