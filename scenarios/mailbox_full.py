"""A mailbox is full: who has to tell the sender depends on when its server says so (N4, N5, N6)."""

from lab.faults import mailbox
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4", "N5", "N6"), lasts="40m", time_scale=120)
def mailbox_full(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    before, _ = stage.mailbox(bob.address)
    picture = alice.send(to=bob, subject="The picture", attached=50_000)
    stage.expect(picture).delivered(to=bob, before=before)
    stage.tell("before", server=bob.server)
    stage.predict("question", receiver=bob.server)

    with stage.outage(mailbox.mailbox_full(bob.server, says="552", user=bob.name)):
        refused = alice.send(to=bob, subject="Breakfast?")
        stage.expect(refused).rejected(code=552)
        stage.expect(refused).returned(to=alice, at_once=True)
        stage.expect(refused).told_by(alice.server, to=alice)
        stage.explain("refused", sender=alice.server, receiver=bob.server)

    with stage.outage(mailbox.mailbox_full(bob.server, says="late", user=bob.name)):
        stage.predict("late", sender=alice.server, receiver=bob.server)
        taken = alice.send(to=bob, subject="Lunch?")
        there = stage.expect(taken).handed_over(to=bob)
        stage.expect(there).returned(to=alice, at_once=True)
        stage.expect(there).told_by(bob.server, to=alice)
        stage.explain("taken", sender=alice.server, receiver=bob.server)

    with stage.outage(mailbox.mailbox_full(bob.server, says="452", user=bob.name)):
        stage.predict("for_now", receiver=bob.server)
        waiting = alice.send(to=bob, subject="Dinner?")
        stage.expect(waiting).rejected(code=452)
        stage.expect(waiting).deferred()
        stage.explain("waiting", sender=alice.server)

    stage.tell("room")
    stage.expect(waiting).delivered(to=bob)
    stage.expect(waiting).on_schedule()
    stage.explain("after")
