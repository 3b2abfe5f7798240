"""One letter to three people, an answer, and a letter handed on (N1)."""

from lab.scenarios import many, scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N1", "N9"), lasts="10m", time_scale=60)
def distribution(stage: Stage) -> None:
    alice, bob, carol, dave = (stage.person(name) for name in ("alice", "bob", "carol", "dave"))
    stage.tell(
        "before", alice=alice.address, bob=bob.address, carol=carol.address, dave=dave.address
    )

    stage.predict("question", sender=alice.server, receiver=bob.server)
    letter = alice.send((bob, dave, carol), "Picnic?", "On Sunday, at the lake?")
    many.handed_in(stage, letter)
    many.passed_on(stage, letter, bob.server)
    many.stayed(stage, letter, carol)
    many.in_each(stage, letter)
    stage.explain("once", sender=alice.server, receiver=bob.server, carol=carol.address)

    stage.predict("answer")
    answer = bob.reply(letter, "I'll bring the cake.")
    stage.expect(answer).relayed(to=alice)
    stage.expect(answer).delivered(to=alice)
    many.answered(stage, answer, letter, by=alice)
    stage.explain("thread")

    stage.predict("handing_on", carol=carol.address)
    copy = dave.forward(letter, carol, "Have you seen this?")
    stage.expect(copy).delivered(to=carol)
    many.handed_on(stage, copy, letter, by=carol)
    stage.explain("after")
