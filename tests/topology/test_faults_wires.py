"""Cables that are out or bad, and connections that are cut: what the far end sees of it.

Each is looked at before, while it is on, and after.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faulty import attempt, attempts, not_there
from harness import ALICE, BOB, arrived, delivered, mail_works, send, until
from wired import FAR, PEOPLE, RECEIVER, SENDER, Pings, calling, counter, echoes, heard, plugged

from lab.engine.lab import Lab
from lab.faults.cable import cable_flapping, cable_pulled
from lab.faults.cut import cut_before_reply, cut_in_data
from lab.faults.fault import Fault
from lab.faults.link import (
    corruption,
    delay,
    duplication,
    loss,
    one_way,
    rate,
    reordering,
)
from lab.seats.user import Sent, UserAgent

BIG = "A line of sixty-four octets, all of which are told to the end.\n" * 1000

# --- Cables that are out ------------------------------------------------------------------------


def test_a_pulled_cable_is_silence_and_all_goes_on_where_it_stopped(wires: Lab) -> None:
    with calling(wires, SENDER, RECEIVER) as held:
        assert held.heard == "220"
        with wires.outage(cable_pulled(RECEIVER)):
            assert not plugged(wires, RECEIVER)
            sent = send(wires, ALICE, BOB)
            assert held.say("NOOP\r\n") == "silence"
            assert heard(wires) in ("silence", "unreachable")
            assert attempt(wires, sent).status == "deferred"
            assert not_there(wires, BOB, sent)
        assert plugged(wires, RECEIVER)
        until("it is answered what it had asked", lambda: held.say("") == "250" or None, 15)
    delivered(wires, BOB, sent)


def test_a_cable_that_two_have_pulled_is_in_when_both_have_pushed_it_in(wires: Lab) -> None:
    from lab.engine import power

    with wires.outage(cable_pulled(RECEIVER)):
        power.set_cables(wires, RECEIVER, up=False)  # by hand, too
        power.set_cables(wires, RECEIVER, up=True)
        assert heard(wires) != "220"
        power.set_cables(wires, RECEIVER, up=False)
    assert heard(wires) != "220"
    power.set_cables(wires, RECEIVER, up=True)
    assert heard(wires) == "220"


def test_a_bad_plug_is_out_and_in_and_mail_arrives_all_the_same(wires: Lab) -> None:
    with wires.outage(cable_flapping(RECEIVER, out="10m", in_="30m")):  # 0.33 s, 1 s
        for seen in (False, True, False, True):
            until(f"it is {seen}", lambda seen=seen: plugged(wires, RECEIVER) is seen, 5)
        sent = send(wires, ALICE, BOB)
        delivered(wires, BOB, sent)
    assert plugged(wires, RECEIVER)
    assert heard(wires) == "220"


def test_a_router_whose_cables_are_out_parts_all_networks(wires: Lab) -> None:
    with wires.outage(cable_pulled("internet")):
        assert heard(wires) != "220"
        assert Pings(wires, FAR, RECEIVER, count=2).share == 0
        assert Pings(wires, PEOPLE, RECEIVER, count=2).share == 1
    assert heard(wires) == "220"


# --- Bad lines: what ping sees, there and back ----------------------------------------------------


def sound(pings: Pings) -> bool:
    return (
        pings.share == 1
        and pings.heard_there == len(pings.order)
        and pings.order == sorted(pings.order)
        and not pings.copies
        and max(pings.milliseconds) < 100
    )


LINES: dict[str, tuple[Callable[[str], Fault], Callable[[Pings], bool], tuple[str, ...], int]] = {
    "some is lost each way": (
        lambda node: loss(node, share="30%"),
        lambda seen: seen.share < seen.heard_there / 200 < 0.9 and 0.25 < seen.share < 0.75,
        (),
        200,
    ),
    "all is lost": (
        lambda node: loss(node, share="100%"),
        lambda seen: seen.share == 0 == seen.heard_there,
        (),
        5,
    ),
    "late": (
        lambda node: delay(node, by="120ms"),
        lambda seen: seen.share == 1 and min(seen.milliseconds) >= 240,
        (),
        20,
    ),
    "late by more or less": (
        lambda node: delay(node, by="100ms", jitter="50ms"),
        lambda seen: (
            seen.share == 1
            and min(seen.milliseconds) >= 100
            and max(seen.milliseconds) - min(seen.milliseconds) > 15
            and seen.order == sorted(seen.order)
        ),
        (),
        40,
    ),
    # 1042 octets at 100,000 bits a second: 83 ms each way
    "slow": (
        lambda node: rate(node, bits="100k"),
        lambda seen: seen.share == 1 and min(seen.milliseconds) >= 166,
        ("-s", "1000"),
        3,
    ),
    "damaged": (
        lambda node: corruption(node, share="50%"),
        lambda seen: 0.05 < seen.share < 0.6,
        (),
        100,
    ),
    "overtaken": (
        lambda node: reordering(node, share="30%", by="40ms"),
        lambda seen: seen.share == 1 and seen.order != sorted(seen.order),
        (),
        100,
    ),
    "twice": (
        lambda node: duplication(node, share="50%"),
        lambda seen: seen.share == 1 and seen.heard_there > 120 and seen.copies > 60,
        (),
        100,
    ),
}


@pytest.mark.parametrize("case", LINES.values(), ids=list(LINES))
def test_a_bad_line_is_seen_there_and_back_as_long_as_it_is(
    wires: Lab, case: tuple[Callable[[str], Fault], Callable[[Pings], bool], tuple[str, ...], int]
) -> None:
    made, looks, options, count = case
    assert sound(Pings(wires, FAR, RECEIVER, *options, count=5))
    with wires.outage(made(RECEIVER)):
        seen = Pings(wires, FAR, RECEIVER, *options, count=count)
        assert looks(seen), vars(seen)
    assert sound(Pings(wires, FAR, RECEIVER, *options, count=5))


def test_all_three_cables_of_a_router_are_treated(wires: Lab) -> None:
    ends = [(FAR, RECEIVER), (FAR, "dns"), ("dns", RECEIVER)]
    with wires.outage(delay("internet", by="60ms")):
        for one, other in ends:
            seen = Pings(wires, one, other, count=3)
            assert seen.share == 1 and min(seen.milliseconds) >= 240, "two cables each way"
        assert sound(Pings(wires, PEOPLE, RECEIVER, count=3))
    for one, other in ends:
        assert sound(Pings(wires, one, other, count=3))


@pytest.mark.parametrize("side", ["deaf", "mute"])
def test_half_a_cable(wires: Lab, side: str) -> None:
    with wires.outage(one_way(RECEIVER, side=side)):
        out, back = Pings(wires, RECEIVER, PEOPLE, count=3), Pings(wires, FAR, RECEIVER, count=3)
        assert out.share == back.share == 0
        # Who is deaf is heard, who is mute hears.
        assert (out.heard_there, back.heard_there) == {"deaf": (3, 0), "mute": (0, 3)}[side]
    assert sound(Pings(wires, FAR, RECEIVER, count=3))


# --- Bad lines: what mail makes of them -----------------------------------------------------------


def send_big(lab: Lab, times: int = 1) -> Sent:
    return UserAgent(lab, ALICE).send(BOB, "Big", BIG * times)


@pytest.mark.parametrize("fault", [corruption(RECEIVER, share="10%"), loss(RECEIVER, share="10%")])
def test_tcp_sends_again_what_was_damaged_or_lost_and_the_mail_is_whole(
    wires: Lab, fault: Fault
) -> None:
    from lab.services import dovecot

    def seen() -> tuple[int, int]:
        noticed = counter(wires, RECEIVER, "Tcp", "InCsumErrors")
        return noticed, counter(wires, SENDER, "Tcp", "RetransSegs")

    before = seen()
    with wires.outage(fault):
        stored = delivered(wires, BOB, send_big(wires))
        noticed, again = (now - then for now, then in zip(seen(), before, strict=True))
    assert again > 0
    assert (noticed > 0) == (fault.name == "corruption")
    assert BIG.encode() in dovecot.message(wires, BOB, "INBOX", stored.uid)


def test_reordered_and_doubled_packets_double_no_mail(wires: Lab) -> None:
    with wires.outage(reordering(RECEIVER)), wires.outage(duplication(RECEIVER)):
        sent = send_big(wires)
        delivered(wires, BOB, sent)
    mail_works(wires)
    assert len(arrived(wires, BOB, sent.message_id)) == 1


# --- Connections that are cut ---------------------------------------------------------------------


def dialogue(lab: Lab, *, content: str) -> list[str]:
    """A mail handed to the receiver's server by hand: what is heard, to the end."""
    said = ["EHLO x\r\n", f"MAIL FROM:<{ALICE}>\r\n", f"RCPT TO:<{BOB}>\r\n", "DATA\r\n"]
    with calling(lab, SENDER, RECEIVER) as call:
        return [
            call.heard,
            *(call.say(one) for one in (*said, f"Subject: x\n\n{content}\r\n.\r\n")),
        ]


OPENED = ["220", "250", "250", "250", "354"]
HEARD = {"reset": "reset", "silent": "silence"}


@pytest.mark.parametrize("how", ["reset", "silent"])
@pytest.mark.parametrize("fault", [cut_in_data, cut_before_reply])
def test_a_connection_is_cut_where_it_is_to_be_as_often_as_it_is_to_be(
    wires: Lab, fault: type[Fault], how: str
) -> None:
    content = BIG[:30_000].replace("\n", "\r\n")
    copies = echoed(wires)
    with wires.outage(fault(RECEIVER, times=1, how=how)):  # type: ignore[call-arg]
        assert dialogue(wires, content=content) == [*OPENED, HEARD[how]]
        assert dialogue(wires, content=content) == [*OPENED, "250"]
        taken = 2 if fault is cut_before_reply else 1
        until(f"{taken} were taken", lambda: echoed(wires) - copies == taken)
    # And then, it may be, what the kernel of the first caller goes on sending.
    assert dialogue(wires, content=content) == [*OPENED, "250"]
    until("one more was taken", lambda: echoed(wires) - copies > taken)


def echoed(lab: Lab) -> int:
    """How many messages Bob has."""
    from lab.services import dovecot

    return len(dovecot.mailbox(lab, BOB))


def test_less_than_the_cut_passes(wires: Lab) -> None:
    with wires.outage(cut_in_data(RECEIVER, after="20k")):
        assert dialogue(wires, content="short") == [*OPENED, "250"]
        assert dialogue(wires, content=BIG) == [*OPENED, "reset"]
        assert dialogue(wires, content=BIG) == [*OPENED, "reset"]


def test_mail_cut_in_its_middle_is_tried_again_and_arrives_once(wires: Lab) -> None:
    # So long that the sender's kernel does not take all of it at once: Postfix is still at it.
    with wires.outage(cut_in_data(RECEIVER, after="20k", times=1)):
        sent = send_big(wires, 20)
        tried = attempt(wires, sent)
        assert tried.status == "deferred" and "while sending message body" in tried.reason
        delivered(wires, BOB, sent)
    assert [one.status for one in attempts(wires, sent)] == ["deferred", "sent"]


def test_mail_whose_reply_is_lost_arrives_twice(wires: Lab) -> None:
    with wires.outage(cut_before_reply(RECEIVER, times=1)):
        sent = send(wires, ALICE, BOB)
        until("both are there", lambda: len(arrived(wires, BOB, sent.message_id)) == 2)
    assert [one.status for one in attempts(wires, sent)] == ["deferred", "sent"]


def test_pings_are_counted_where_they_arrive(wires: Lab) -> None:
    before = echoes(wires, RECEIVER)
    Pings(wires, FAR, RECEIVER, count=7)
    assert echoes(wires, RECEIVER) - before == 7
