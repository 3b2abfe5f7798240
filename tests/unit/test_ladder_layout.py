"""The layout of a ladder: what is drawn, from whom to whom, and what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladderevents import DNS, FAR, MAIL, NETWORKS, PC, STARTED, Scene, ladder_of, real

from lab.events import Event, Refs, in_order
from lab.topology.loader import load
from lab.views.ladder.columns import columns
from lab.views.ladder.layout import Ladder
from lab.views.ladder.model import LEVELS, Item, Layout, View
from lab.views.ladder.svg import svg
from lab.views.ladder.terminal import Terminal

RELAY = (MAIL, FAR, 25)
SUBMIT = (PC, MAIL, 587)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="module")
def receiver_down() -> list[Event]:
    return real("receiver-down")


def labels(layout: Layout, *what: str) -> list[str]:
    return [item.label for item in layout.items if not what or item.what in what]


def only(layout: Layout, what: str) -> Item:
    (item,) = [one for one in layout.items if one.what == what]
    return item


# Columns ---------------------------------------------------------------------------------------


def test_hosts_stand_in_the_textbooks_order(scene: Scene) -> None:
    everybody = {PC, MAIL, DNS, FAR, "receiver-pc", "internet"}
    found = columns(scene.events[0].data["topology"], everybody)
    assert [host.name for host in found] == [PC, MAIL, "internet", DNS, FAR, "receiver-pc"]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("backup-mx", ["backup-mail", FAR, "receiver-pc"]),
        ("two-receivers", [FAR, "receiver-pc", "other-mail", "other-pc"]),
        ("web", [FAR, "web", "receiver-pc"]),
    ],
)
def test_of_three_ends_the_senders_stands_alone_at_the_left(name: str, right: list[str]) -> None:
    topology = load(name)
    found = columns(topology.model_dump(mode="json"), topology.nodes)
    assert [host.name for host in found] == [PC, MAIL, "internet", DNS, *right]


def test_only_who_takes_part_has_a_column(scene: Scene) -> None:
    scene.happens(1, "syn", SUBMIT)
    assert [host.name for host in scene.ladder().layout().hosts] == [PC, MAIL]


def test_servers_have_theirs_from_the_beginning_while_more_may_come(scene: Scene) -> None:
    scene.happens(1, "syn", SUBMIT)
    hosts = scene.ladder(ended=False).layout().hosts
    assert [host.name for host in hosts] == [PC, MAIL, DNS, FAR]


def test_a_stranger_comes_last_under_his_address(scene: Scene) -> None:
    scene.happens(1, "syn", SUBMIT)
    scene.events[-1].data.update(client_node=None)  # type: ignore[attr-defined]
    names = [host.name for host in scene.ladder().layout().hosts]
    assert names == [MAIL, "198.51.100.10"]


# Arrows ----------------------------------------------------------------------------------------


def test_what_crosses_the_router_is_drawn_once_with_both_sightings(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY)
    scene.happens(1.01, "accepted", RELAY)
    call = only(scene.ladder().layout(), "call")
    assert (call.source, call.target, call.fate) == (MAIL, FAR, "arrives")
    assert len(call.seqs) == 2
    assert (call.file, call.frame) == ("captures/sender-lan.pcap", 1)  # where it was seen first


def test_the_order_in_which_captures_tell_does_not_matter(receiver_down: list[Event]) -> None:
    in_time = ladder_of(receiver_down).layout()
    run = receiver_down[0]
    as_noticed = Ladder.of(run, receiver_down, ended=True).layout()
    assert labels(as_noticed) == labels(in_time)
    assert [item.fate for item in as_noticed.items] == [item.fate for item in in_time.items]


def test_a_call_that_nobody_answers_is_unanswered(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY)
    assert only(scene.ladder().layout(), "call").fate == "unanswered"


def test_a_call_that_never_came_out_of_the_router_is_lost(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY, only="sender-lan")
    call = only(scene.ladder().layout(), "call")
    assert call.fate == "lost"
    assert call.lost


def test_nothing_is_said_to_be_lost_before_it_can_have_arrived(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY, only="sender-lan")
    ladder = scene.ladder(ended=False)
    (call,) = ladder.layout().items
    assert call.fate == "pending"
    (call,) = ladder.layout(now=ladder.now + 2).items
    assert call.fate == "lost"


def test_what_a_network_that_is_read_later_will_show_is_not_lost(scene: Scene) -> None:
    """A flood keeps one capture busy, while the other is read at once."""
    arp = {"protocol": "arp", "src": "a", "dst": "b", "length": 42, "network": "receiver-lan"}
    scene.add(1.0, "packet", None, "a who has b", arp)
    scene.happens(2.0, "syn", RELAY, only="sender-lan")
    ladder = scene.ladder(ended=False)
    (call,) = ladder.layout(now=ladder.now + 2).items
    assert call.fate == "pending", "the other network is known up to a moment before"
    (call,) = ladder.layout(now=ladder.now + 20).items
    assert call.fate == "lost", "but one does not wait for ever"
    scene.add(2.5, "packet", None, "a who has b", arp)
    ladder = scene.ladder(ended=False)
    (call,) = ladder.layout(now=ladder.now + 2).items
    assert call.fate == "lost"


@pytest.mark.parametrize(
    ("side", "network", "frm"), [("client", "sender-lan", MAIL), ("server", "receiver-lan", FAR)]
)
def test_what_is_lost_on_the_way_is_told_in_either_direction(
    scene: Scene, side: str, network: str, frm: str
) -> None:
    scene.happens(1, "syn", RELAY)
    scene.happens(1.01, "accepted", RELAY)
    scene.says(1.02, side, "NOOP" if side == "client" else "421 Bye", RELAY, only=network)
    said = scene.ladder().layout().items[-1]
    assert (said.source, said.fate, said.lost) == (frm, "lost", True)


def test_a_call_that_arrives_much_later_is_two_halves(receiver_down: list[Event]) -> None:
    layout = ladder_of(receiver_down).layout()
    sent, arrival = (item for item in layout.items if item.fate in ("delayed", "belated"))
    assert (sent.what, arrival.what) == ("call", "call")
    assert arrival.label == "calls port 25 (SYN), 20m20s late"
    assert arrival.real_seconds == pytest.approx(arrival.time - sent.time)
    assert layout.items[layout.items.index(arrival) + 1].what == "accept"


def test_the_second_of_two_calls_is_not_taken_for_the_first(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY, only="sender-lan")
    scene.happens(2, "syn", RELAY, tries=2)
    calls = [item for item in scene.ladder().layout().items if item.what == "call"]
    assert [(call.label, call.fate) for call in calls] == [
        ("calls port 25 (SYN)", "lost"),
        ("calls again (SYN)", "unanswered"),
    ]


def test_pipelined_commands_are_separate_and_their_replies_theirs(
    receiver_down: list[Event],
) -> None:
    layout = ladder_of(receiver_down).layout(View(words=(FAR, "smtp")))
    said = labels(layout, "command", "reply", "content")
    assert said[2:] == [
        "250-mail.receiver.example (+10 lines)",
        "MAIL FROM:<alice@sender.example>",
        "RCPT TO:<bob@receiver.example>",
        "DATA",
        "250 2.1.0 Ok",
        "250 2.1.5 Ok",
        "354 End data with <CR><LF>.<CR><LF>",
        "message, 473 octets, then “.”",
        "QUIT",
        "250 2.0.0 Ok: queued as 8F8EB18C068",
        "221 2.0.0 Bye",
    ]


def test_a_command_that_was_the_last_thing_said_had_no_answer(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY)
    scene.happens(1.01, "accepted", RELAY)
    scene.says(1.02, "server", "220 hello", RELAY, what="greeting")
    scene.says(1.03, "client", "EHLO me", RELAY)
    assert only(scene.ladder().layout(), "command").label == "EHLO me: no answer"
    assert only(scene.ladder(ended=False).layout(), "command").label == "EHLO me"


def test_a_question_without_an_answer_is_unanswered(scene: Scene) -> None:
    scene.asks(1, "MX receiver.example", None)
    assert only(scene.ladder().layout(), "question").fate == "unanswered"


def test_an_answer_leaves_out_the_name_that_was_asked_for(scene: Scene) -> None:
    scene.asks(1, "MX receiver.example", "10 mail.receiver.example")
    layout = scene.ladder().layout()
    assert labels(layout) == ["MX receiver.example?", "MX 10 mail.receiver.example"]
    assert layout.items[0].fate == "arrives"


def test_icmp_comes_from_the_router_which_then_has_a_column(scene: Scene) -> None:
    data = {
        "network": "sender-lan",
        "protocol": "icmp",
        "src": "198.51.100.1",
        "dst": "198.51.100.25",
        "length": 70,
    }
    scene.events[0].data["addresses"]["198.51.100.1"] = "internet"
    words = "198.51.100.1 → 198.51.100.25 ICMP host unreachable"
    scene.add(1, "packet", words, "internet", data, Refs(file="captures/x.pcap", frame=3))
    layout = scene.ladder().layout()
    icmp = only(layout, "icmp")
    assert (icmp.source, icmp.target, icmp.label) == ("internet", MAIL, "ICMP: host unreachable")
    assert "internet" in [host.name for host in layout.hosts]


# What a capture lacks --------------------------------------------------------------------------


def opened(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY)
    scene.happens(1.001, "accepted", RELAY)
    scene.says(1.002, "server", "220 hello", RELAY, what="greeting")
    scene.says(1.003, "client", "EHLO me", RELAY)
    scene.says(1.004, "server", "250 hello", RELAY)


def read_last(scene: Scene, network: str) -> list[Event]:
    """The events, as if that capture had been read when the others were at their end."""
    return sorted(in_order(scene.events), key=lambda event: event.data.get("network") == network)


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("missing", range(8))
def test_a_turn_that_one_network_lacks_shifts_none_of_those_after_it(
    scene: Scene, missing: int, near: bool
) -> None:
    opened(scene)
    whole, lacking = [NETWORKS[FAR], NETWORKS[MAIL]][:: 1 if near else -1]
    at = scene.message(1.1, RELAY, 1, only=lambda step: whole if step == missing else None)
    scene.message(at, RELAY, 2)
    for events in (in_order(scene.events), read_last(scene, lacking), read_last(scene, whole)):
        layout = Ladder.of(scene.events[0], events, ended=True).layout()
        said = [item for item in layout.items if item.what in ("command", "reply", "content")]
        seen = [len(item.seqs) for item in said if "hello" not in item.label]
        assert seen == [2] + [2 if step != missing else 1 for step in range(8)] + [2] * 8
        summaries = {event.seq: event.summary for event in events}
        for item in said:
            assert len({summaries[seq] for seq in item.seqs}) == 1
            moments = [event.time for event in events if event.seq in item.seqs]
            assert max(moments) - min(moments) < 1e-4


def test_what_one_network_lacks_of_the_beginning_is_in_step_with_the_first_message(
    scene: Scene,
) -> None:
    opened(scene)
    at = 1.1
    for number in (1, 2):
        at = scene.message(at, RELAY, number, only=lambda step: NETWORKS[FAR])
    for number in (3, 4):
        at = scene.message(at, RELAY, number)
    for events in (in_order(scene.events), read_last(scene, NETWORKS[MAIL])):
        layout = Ladder.of(scene.events[0], events, ended=True).layout()
        content = [item for item in layout.items if item.what == "content"]
        assert [len(item.seqs) for item in content] == [1, 1, 2, 2]
        assert [len(item.seqs) for item in layout.items[-8:]] == [2] * 8


def test_what_a_capture_has_lost_is_nothing_that_was_said_elsewhere(scene: Scene) -> None:
    opened(scene)
    for network in ("sender-lan", "receiver-lan"):
        scene.says(1.1, "client", "", RELAY, what="lost", size=100, only=network)
    scene.says(1.2, "client", "NOOP", RELAY)
    layout = scene.ladder().layout()
    commands = [item for item in layout.items if item.what == "command"]
    assert [len(item.seqs) for item in commands] == [2, 1, 1, 2]
    assert commands[-1].fate == "arrives"


def test_pings_in_quick_succession_are_told_apart(scene: Scene) -> None:
    """Also when one network tells of all before the other does."""
    words = "198.51.100.25 → 203.0.113.25 ICMP echo request"
    common = {"protocol": "icmp", "src": "198.51.100.25", "dst": "203.0.113.25", "length": 84}
    for at in (1.0, 1.1, 1.2):
        for late, network in enumerate(("sender-lan", "receiver-lan")):
            data = common | {"network": network}
            scene.add(at + late * 1e-5, "packet", words, MAIL, data, Refs(file=network, frame=1))
    for late in ("sender-lan", "receiver-lan"):
        layout = Ladder.of(scene.events[0], read_last(scene, late), ended=True).layout()
        assert [item.seqs for item in layout.items] == [(2, 3), (4, 5), (6, 7)]


# Notes, queues, outages ------------------------------------------------------------------------


def test_a_stay_in_a_queue_is_a_box_from_queued_to_removed(scene: Scene) -> None:
    scene.changes(1, "queued", "A1")
    scene.tries(1.1, "deferred", "A1", took=0.5)
    scene.changes(31.1, "queued", "A1")
    scene.tries(31.2, "sent", "A1", reason="250 Ok")
    scene.changes(31.3, "removed", "A1")
    layout = scene.ladder().layout()
    assert labels(layout) == [
        "in the queue: A1",
        "attempt 1 in vain: Connection timed out",
        "29m30s pass (29.5s of real time)",
        "tries again, 30m after attempt 1",
        "attempt 2: accepted, leaves the queue",
    ]
    (box,) = layout.boxes
    assert (box.host, box.first, box.last, box.counts) == (MAIL, 0, 4, ((0, 1),))


def test_messages_that_wait_together_are_one_box_with_a_count(scene: Scene) -> None:
    scene.changes(1, "queued", "A1")
    scene.changes(1.1, "queued", "A2")
    scene.changes(1.2, "removed", "A1")
    (box,) = scene.ladder().layout().boxes
    assert box.last is None
    assert [box.count(row) for row in range(3)] == [1, 2, 1]


def test_an_outage_is_a_band_from_on_to_off(scene: Scene) -> None:
    scene.fault(1, on=True)
    scene.happens(1.1, "syn", RELAY)
    scene.fault(1.2, on=False)
    scene.happens(1.3, "syn", SUBMIT)
    (band,) = scene.ladder().layout().bands
    assert (band.host, band.first, band.last) == (FAR, 0, 2)


def test_an_outage_that_strikes_no_host_is_a_band_too(scene: Scene) -> None:
    scene.fault(1, on=True, node=None)
    scene.happens(1.1, "syn", SUBMIT)
    (band,) = scene.ladder().layout().bands
    assert (band.host, band.last) == (None, None)


def test_idle_time_is_a_break_that_says_how_long_on_both_clocks(scene: Scene) -> None:
    scene.happens(1, "syn", SUBMIT)
    scene.happens(31, "fin", SUBMIT)
    pause = only(scene.ladder().layout(), "break")
    assert pause.label == "30m pass (30s of real time)"
    assert (pause.lab_seconds, pause.real_seconds) == (1800, 30)


def test_what_was_told_is_there_if_wanted(receiver_down: list[Event]) -> None:
    ladder = ladder_of(receiver_down)
    assert "narration" not in {item.what for item in ladder.layout().items}
    told = [item for item in ladder.layout(View(narration=True)).items if item.what == "narration"]
    assert told[0].label.startswith("alice@sender.example is about to write")
    assert any(item.mood == "good" for item in told)  # the verdicts


def test_every_row_of_its_own_names_its_events(receiver_down: list[Event]) -> None:
    seqs = {event.seq for event in receiver_down}
    for item in ladder_of(receiver_down).layout(View(narration=True)).items:
        assert item.what in ("break", "fold") or item.seqs
        assert set(item.seqs) <= seqs
        assert item.lab_time >= 0


# Long runs of alike things ---------------------------------------------------------------------


def twenty_over_one_connection(scene: Scene) -> Layout:
    scene.happens(1, "syn", RELAY)
    scene.happens(1.001, "accepted", RELAY)
    at = 1.01
    for number in range(1, 21):
        at = scene.message(at, RELAY, number)
    scene.says(at, "client", "QUIT", RELAY)
    scene.says(at + 0.0005, "server", "221 Bye", RELAY)
    scene.happens(at + 0.001, "fin", RELAY)
    return scene.ladder().layout()


def test_twenty_messages_over_one_connection_are_read_at_a_glance(scene: Scene) -> None:
    layout = twenty_over_one_connection(scene)
    assert only(layout, "fold").label == "… 17 more messages on this connection"
    assert only(layout, "fold").more == 17
    content = labels(layout, "content")
    assert content == [f"message, {size} octets, then “.”" for size in (401, 402, 420)]
    assert labels(layout, "command")[-1] == "QUIT"
    assert len([item for item in layout.items if item.what == "call"]) == 1


def test_twenty_connections_are_folded_and_the_last_one_whole(scene: Scene) -> None:
    for number in range(1, 21):
        at = 1 + number * 0.05
        scene.happens(at, "syn", RELAY, number=number)
        scene.happens(at + 0.001, "accepted", RELAY, number=number)
        scene.message(at + 0.002, RELAY, number, connection=number)
    layout = scene.ladder().layout()
    assert only(layout, "fold").label == "… 17 more connections like this"
    assert len([item for item in layout.items if item.what == "call"]) == 3


def test_four_alike_are_all_shown(scene: Scene) -> None:
    for number in range(4):
        scene.happens(1 + number * 0.05, "syn", RELAY, number=number)
    assert [item.what for item in scene.ladder().layout().items] == ["call"] * 4


def test_retries_that_only_repeat_are_folded_but_not_what_ends_them(scene: Scene) -> None:
    scene.changes(1, "queued", "A1")
    for number in range(8):
        at = 1 + number * 30
        if number:
            scene.changes(at, "queued", "A1")
        scene.happens(at + 0.01, "syn", RELAY, number=number)
        scene.tries(at + 0.02, "deferred", "A1")
    scene.changes(300, "expired", "A1")
    layout = scene.ladder().layout()
    (fold,) = [item for item in layout.items if item.what == "fold"]
    assert fold.label.startswith("… 4 times more the same")
    attempts = [label for label in labels(layout) if label.startswith("attempt")]
    assert [label.split()[1] for label in attempts] == ["1", "2", "3", "8"]
    assert labels(layout)[-1] == "too old: given up"


# Levels and filters ----------------------------------------------------------------------------


def test_whole_messages_are_one_arrow_each(receiver_down: list[Event]) -> None:
    layout = ladder_of(receiver_down).layout(View("messages"))
    assert labels(layout, "mail") == [
        "“Lunch?”: 250, queued as 8024B18C013",
        "“Lunch?”: 250, queued as 8F8EB18C068",
    ]
    assert not labels(layout, "command", "reply")
    assert len([item for item in layout.items if item.fate == "unanswered"]) == 3


def test_a_message_under_way_has_neither_succeeded_nor_failed(scene: Scene) -> None:
    opened(scene)
    scene.message(1.1, RELAY, 1, steps=7)  # all but the last reply
    messages = View("messages")
    mail = only(scene.ladder(ended=False).layout(messages, now=STARTED + 60), "mail")
    assert (mail.label, mail.mood, mail.fate) == ("message: under way", "plain", "pending")
    mail = only(scene.ladder(ended=True).layout(messages), "mail")
    assert (mail.label, mail.mood, mail.fate) == ("message: no reply", "bad", "arrives")
    scene.happens(2, "over", RELAY)
    mail = only(scene.ladder(ended=False).layout(messages), "mail")
    assert (mail.label, mail.mood, mail.fate) == ("message: no reply", "bad", "arrives")


def test_a_message_that_was_given_up_is_not_under_way(scene: Scene) -> None:
    opened(scene)
    scene.message(1.1, RELAY, 1, steps=1)
    scene.says(1.2, "server", "550 no", RELAY)
    messages = View("messages")
    assert only(scene.ladder(ended=False).layout(messages), "mail").fate == "pending"
    scene.says(1.3, "client", "RSET", RELAY)
    mail = only(scene.ladder(ended=False).layout(messages), "mail")
    assert (mail.label, mail.mood, mail.fate) == ("message: 550 no", "bad", "arrives")


def test_a_layout_says_when_time_alone_will_have_changed_it(scene: Scene) -> None:
    scene.happens(1, "syn", RELAY)
    layout = scene.ladder(ended=False).layout()
    assert only(layout, "call").fate == "pending"
    assert layout.settles is not None
    settled = scene.ladder(ended=False).layout(now=layout.settles)
    assert only(settled, "call").fate == "unanswered"
    assert settled.settles is None


def test_a_mailbox_session_is_told_by_its_commands() -> None:
    layout = ladder_of(real("delivery")).layout(View("messages", ("imap",)))
    told = labels(layout, "mail")
    assert told == ["IMAP: CAPABILITY, AUTHENTICATE, SELECT, FETCH, LOGOUT"]


@pytest.mark.parametrize(
    ("words", "hosts"),
    [(("dns",), {"dns"}), (("sender-pc",), {"sender-pc"}), (("smtp", "receiver-mail"), {FAR})],
)
def test_a_filter_keeps_what_has_to_do_with_a_host_or_protocol(
    receiver_down: list[Event], words: tuple[str, ...], hosts: set[str]
) -> None:
    layout = ladder_of(receiver_down).layout(View(words=words))
    arrows = [item for item in layout.items if item.arrow]
    assert arrows
    for item in arrows:
        assert hosts & {item.source, item.target, item.protocol}
    assert any(item.what == "fault" for item in layout.items)  # outages concern everybody


def test_a_filter_by_queue_id_follows_the_message_to_the_other_server() -> None:
    ladder = ladder_of(real("receiver-down"))
    layout = ladder.layout(View(words=("8024B18C013",)))
    said = labels(layout)
    assert "250 2.0.0 Ok: queued as 8F8EB18C068" in said
    assert sum(label.startswith("calls port 25") for label in said) >= 4  # also those in vain
    assert "A mail.sender.example?" not in said
    assert {box.host for box in layout.boxes} == {MAIL, FAR}


def test_a_filter_by_subject_finds_the_message_and_by_another_nothing() -> None:
    ladder = ladder_of(real("receiver-down"))
    assert len(labels(ladder.layout(View(words=("Lunch?",))), "content")) == 2
    assert not labels(ladder.layout(View(words=("Dinner?",))), "content")


def test_packets_say_what_was_said_in_them(scene: Scene) -> None:
    scene.says(1, "client", "NOOP", SUBMIT)
    data = {
        "network": "sender-lan",
        "protocol": "tcp",
        "src": "198.51.100.10:40001",
        "dst": "198.51.100.25:587",
        "length": 6,
        "flags": "PSH ACK",
        "seq": 1,
        "ack": 1,
    }
    refs = Refs(stream=1, file="captures/sender-lan.pcap", frame=1)
    scene.add(1, "packet", "a → b TCP [PSH ACK] 6 octets", PC, data, refs)
    assert labels(scene.ladder().layout(View("packets"))) == ["PSH ACK 6 octets: NOOP"]


# Whatever comes --------------------------------------------------------------------------------


@settings(max_examples=60)
@given(data=st.data())
def test_no_part_of_a_record_is_too_odd_to_be_drawn(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["receiver-down", "delivery"]))
    events = EVENTS[name]
    kept = [events[0], *data.draw(st.lists(st.sampled_from(events[1:]), max_size=120))]
    level = data.draw(st.sampled_from(LEVELS))
    words = data.draw(st.sampled_from([(), ("smtp",), ("dns", "receiver-mail"), ("nobody",)]))
    ladder = Ladder.of(events[0], kept, ended=data.draw(st.booleans()))
    layout = ladder.layout(View(level, words, data.draw(st.booleans())))
    assert [item.time for item in layout.items] == sorted(item.time for item in layout.items)
    width = data.draw(st.integers(60, 200))
    terminal = Terminal(layout, width)
    for row in range(len(layout.items)):
        assert all(line.cell_len == width for line in terminal.lines(row))
    assert svg(layout).startswith("<svg")


EVENTS = {name: real(name) for name in ("receiver-down", "delivery")}
