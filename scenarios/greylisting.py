"""Whom a server does not know is told to come again later; spam software never does (N4)."""

from lab.faults import answers
from lab.scenarios import direct, scenario
from lab.scenarios.evidence import logged
from lab.scenarios.stage import Stage
from lab.units import counted, format_duration, parse_duration


@scenario(rows=("N4",), lasts="35m", time_scale=120)
def greylisting(stage: Stage, wait: str = "5m") -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", server=bob.server, pc=alice.seat)

    with stage.outage(answers.greylisting(bob.server, wait=parse_duration(wait))):
        stage.predict("question", server=bob.server)
        spam = direct.send(
            stage, alice.seat, to=bob, mail_from="prize@lottery.example", subject="You have won"
        )
        spam.refused(code=450)
        first = alice.send(to=bob, subject="Lunch?")
        stage.expect(first).rejected(code=450)
        stage.expect(first).deferred()
        stage.explain("stranger", server=bob.server, sender=alice.server, wait=wait)
        late = stage.expect(first).delivered(to=bob)
        stage.expect(first).on_schedule()

        stage.predict("again")
        second = alice.send(to=bob, subject="At noon?")
        prompt = stage.expect(second).delivered(to=bob)
        spam.never_came()

    new, known = (format_duration(one.waited * stage.lab.clock.scale) for one in (late, prompt))
    tried = len(stage.attempts(alice.server, second.queue_id))
    stage.check(
        "the price",
        f"a stranger is more than {wait} late; who is known gets in at the first attempt",
        f"the first message was {new} in the queue of {alice.server}, the second {known}: "
        + counted(tried, "attempt"),
        late.waited > stage.lab.clock.real(parse_duration(wait)) and tried == 1,
        [logged(late.line), logged(prompt.line)],
    )
    stage.explain("after")
