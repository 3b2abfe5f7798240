"""The lecture's opening: one letter in Korean with a picture, from one PC to the other."""

from lab.faults.power import power_cut
from lab.scenarios import encodings, scenario
from lab.scenarios.stage import Stage

TEXT = "한글로 씁니다.\n"


@scenario(
    rows=("N1", "N2", "N3", "N4", "N6", "N8", "N11", "N13", "N16"), lasts="3h30m", time_scale=240
)
def whole_journey(stage: Stage, later: str = "2h", picture: int = 20_000) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("picture", alice=alice.address, bob=bob.address)

    with stage.outage(power_cut(bob.seat)):
        with stage.outage(power_cut(bob.server)):
            stage.predict("sending", server=bob.server)
            letter = alice.send(to=bob, subject="점심 먹었니?", body=TEXT, attached=picture)
            stage.expect(letter).submitted()
            stage.expect(letter).deferred(times=2)
            stage.explain("queue", server=alice.server)

        stage.predict("second", sender=alice.server, receiver=bob.server)
        stage.expect(letter).delivered(to=bob)
        stage.expect(letter).relayed(to=bob)
        encodings.seven_bit(stage, letter)
        stage.expect(letter).reached_without(bob.seat)
        stage.explain("relay", sender=alice.server, receiver=bob.server)
        stage.wait(later)

    stage.predict("third", seat=bob.seat)
    stage.expect(letter).passed_through(alice.server, bob.server, read_by=bob)
    stage.expect(letter).read(by=bob, not_before=later)
    encodings.comes_out(stage, letter, bob, TEXT)
    stage.explain("reading", later=later)
