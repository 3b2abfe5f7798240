"""Nobody of that name: refused for good, never tried again, and its sender told at once (N5)."""

from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N5",), lasts="5m", time_scale=60)
def unknown_user(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    nobody = "nobody@" + bob.address.partition("@")[2]
    stage.tell("before", nobody=nobody, server=alice.server)
    stage.predict("question")
    message = alice.send(to=nobody, subject="Lunch?")
    stage.expect(message).rejected(code=550)
    stage.explain("refused", nobody=nobody, server=bob.server)
    stage.expect(message).returned(to=alice, at_once=True)
    stage.explain("after", server=alice.server)
