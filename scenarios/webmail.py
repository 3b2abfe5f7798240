"""A letter from browser to browser: HTTP, then SMTP, then HTTP (N19)."""

from lab.scenarios import scenario
from lab.scenarios.browser import Browser
from lab.scenarios.stage import Stage
from lab.scenarios.webmail import write

TEXT = "점심 같이 먹을래요?\n오늘 찍은 사진도 보냅니다.\n앨리스 드림"


@scenario(rows=("N19",), topology="webmail", lasts="10m", time_scale=60)
def webmail(stage: Stage, picture: int = 20_000) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", seat=alice.seat, page=Browser(stage, alice).home)

    stage.predict("question", server=alice.server, other=bob.server)
    letter = write(stage, alice, to=bob, subject="점심", text=TEXT, octets=picture)
    letter.posted()
    letter.submitted_at_home()
    stage.explain("posted", server=alice.server)

    stage.expect(letter.message).relayed(to=bob)
    letter.encoded()
    stage.expect(letter.message).delivered(to=bob)
    stage.explain("relayed", server=alice.server, other=bob.server)

    stage.predict("reading", seat=bob.seat, other=bob.server)
    letter.shown()
    letter.fetched_at_home()
    letter.nothing_else()
    stage.explain("shown", other=bob.server)
