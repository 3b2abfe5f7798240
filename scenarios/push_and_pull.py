"""A page with two pictures is fetched by HTTP, and mailed: who calls whom (N14, N16)."""

from lab.faults.power import power_cut
from lab.scenarios import knocks, mailed, pages, scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N14", "N16"), topology="web", lasts="10m", time_scale=60)
def push_and_pull(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    page = pages.stored(stage)
    stage.tell("before", server=page.server, octets=f"{page.size:,}")

    stage.predict("http")
    visit = pages.visit(stage, bob, page)
    visit.pulled()
    visit.unencoded()
    stage.explain("pulled", seat=bob.seat)

    stage.predict("smtp", seat=bob.seat)
    with stage.outage(power_cut(bob.seat)):
        message = alice.submit(mailed.compose(alice, bob, page, "A day by the sea"))
        leg = mailed.pushed(stage, message, page)
        factor = mailed.weighed(stage, visit, leg)
        stage.expect(message).delivered(to=bob)
        stage.explain("pushed", seat=alice.seat, server=alice.server, factor=factor)

        stage.predict("last", server=bob.server, seat=bob.seat)
        knocks.unanswered(stage, alice.server, bob.seat)

    knocks.refused(stage, alice.server, bob.seat)
    stage.explain("no_push", seat=bob.seat)
    mailed.fetched(stage, message, bob, page)
    stage.explain("after", server=bob.server, seat=bob.seat)
