"""The connection breaks in the middle of a message: it is sent again, and is there once (N4)."""

from lab.faults.cut import cut_in_data
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4",), lasts="35m", time_scale=90)
def mid_data_cut(stage: Stage, kilobytes: int = 300) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", kilobytes=kilobytes)

    # Else its kernel takes all of the message at once, and Postfix hears of the cut after its end.
    modest = {"tcp_windowsize": 65536}

    with (
        stage.operator(alice.server, **modest),
        stage.outage(cut_in_data(bob.server, after=100_000, times=1)),
    ):
        stage.predict("question")
        message = alice.send(to=bob, subject="The picture", attached=1000 * kilobytes)
        stage.expect(message).cut_off(to=bob)
        stage.expect(message).deferred()
        stage.explain("cut", sender=alice.server, receiver=bob.server)

    stage.expect(message).delivered(to=bob)
    stage.expect(message).on_schedule()
    stage.explain("after")
