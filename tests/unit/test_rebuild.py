"""What is read in captures and logs afterwards is what was seen at the time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from recording import a_pipe_in_greenwich  # noqa: F401  (autouse)

from lab import events
from lab.cli import cli
from lab.errors import UsageError
from lab.events import Event, EventLog
from lab.kinds import DATA
from lab.observe.rebuild import DERIVED, rebuild, remade
from lab.observe.related import Spans
from lab.observe.trace import Tracer, trace
from lab.observe.trace.messages import listed
from lab.record import Record
from lab.units import LabClock
from lab.views import report

RUNS = Path(__file__).parents[1] / "records"
LUNCH, LATER = "<693aa4458e014ac6@pc.sender.example>", "<28a3ab05be524928@pc.sender.example>"
HEADER = 24  # octets of a capture before its first frame


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A run in which two messages were sent, one after the other: both sample runs in one."""
    first, second = RUNS / "delivery", RUNS / "receiver-down"
    for name in ("captures", "logs"):
        (tmp_path / name).mkdir()
        for path in (first / name).iterdir():
            more = (second / name / path.name).read_bytes()
            more = more[HEADER:] if name == "captures" else more
            (tmp_path / name / path.name).write_bytes(path.read_bytes() + more)
    lines = (first / events.FILE).read_text().splitlines()
    write(tmp_path, [json.loads(line) for line in lines])
    change(tmp_path, lambda one: None if one["kind"] in DERIVED else one)
    return tmp_path


def write(folder: Path, lines: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(one) + "\n" for one in lines)
    (folder / events.FILE).write_text(text)


def change(folder: Path, how: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Each event of a record as `how` makes it; None leaves it out."""
    lines = (folder / events.FILE).read_text().splitlines()
    write(folder, [one for line in lines if (one := how(json.loads(line))) is not None])


def partial(folder: Path) -> Path:
    """The record says that it has not all events."""

    def said(one: dict[str, Any]) -> dict[str, Any]:
        if one["kind"] == "run":
            one["data"]["partial"] = True
        return one

    change(folder, said)
    return folder


def told(found: Record, message: str) -> Any:
    """The trace as JSON, but for numbers of events, which differ."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items() if key != "event"}
        return [without(one) for one in value] if isinstance(value, list | tuple) else value

    return without(trace(found, message).as_json())


def seen(event: Event) -> tuple[Any, ...]:
    """What an event says, but for its number, and for when an attempt began: the sample runs were
    recorded when that was not yet told as exactly."""
    data = {key: value for key, value in event.data.items() if key != "began"}
    when = None if event.kind == "attempt" else (event.time, event.lab_time)
    return event.kind, when, event.node, event.summary, json.dumps(data, sort_keys=True), event.refs


# Everything -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["delivery", "receiver-down"])
def test_all_that_was_recorded_is_read_again_and_no_more(name: str) -> None:
    recorded = Record.load(RUNS / name)
    made = remade(RUNS / name)
    assert Counter(map(seen, made.of(*DERIVED))) == Counter(map(seen, recorded.of(*DERIVED)))
    for kind in set(DATA) - DERIVED:
        assert [one.summary for one in made.of(kind)] == [one.summary for one in recorded.of(kind)]


# Some messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [LUNCH, LATER])
def test_the_trace_of_a_message_is_the_same_from_what_was_made_for_it(
    both: Path, message: str
) -> None:
    everything, made = remade(both), remade(both, {message})
    assert told(made, message) == told(everything, message)
    assert len(made.events) < 0.8 * len(everything.events)
    assert [one.name for one in listed(Tracer(made))] == [message]
    assert listed(Tracer(everything))[-1].name == LATER


@pytest.mark.parametrize("name", ["DE21618A36B", "e563618a3ab", "693aa4458E", " <693aa4458e01"])
def test_any_name_leads_to_all_that_is_of_the_message(both: Path, name: str) -> None:
    made = remade(both, {name})
    assert [seen(one) for one in made.events] == [seen(one) for one in remade(both, {LUNCH}).events]


def test_messages_that_several_ask_for_are_all_there(both: Path) -> None:
    made = remade(both, {LUNCH, LATER, "<lost@pc.sender.example>"})
    assert [one.name for one in listed(Tracer(made))] == [LUNCH, LATER]


def test_calls_in_vain_and_the_way_to_them_are_part_of_it(both: Path) -> None:
    made = remade(both, {LATER})
    hop = trace(made, LATER).hops[0]
    assert [(one.outcome, len(one.calls) > 0) for one in hop.attempts[:2]] == [
        ("deferred", True)
    ] * 2
    began, ended = hop.attempts[0].began, hop.attempts[0].ended
    meanwhile = [one for one in made.events if began - 1 <= one.time <= ended + 1]
    assert any(one.kind == "dns" for one in meanwhile)
    assert hop.arrived and min(one.time for one in made.of("dns")) > hop.arrived - 1, "not others'"
    assert {one.data["protocol"] for one in meanwhile if one.kind == "packet"} >= {"udp", "tcp"}
    assert any(one.kind == "log" and one.node == "dns" for one in meanwhile)


def test_what_the_same_process_wrote_meanwhile_is_told_but_not_the_other_message(
    both: Path,
) -> None:
    """Postfix names the servers it called in lines of their own, or of whatever it tried before."""
    path = both / "logs" / "sender-mail.log"
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if "status=deferred" in line)
    moment, _, text = lines[number].partition(" ")
    before = f"{float(moment) - 0.01:.6f} {text.replace('8024B18C013', '9999998C013')}"
    path.write_text("\n".join([*lines[:number], before, *lines[number:]]) + "\n")
    made = remade(both, {LATER})
    assert [one.refs.queue_id for one in made.of("log")].count("9999998C013") == 1
    assert "9999998C013" not in {one.refs.queue_id for one in made.of("attempt")}
    assert told(made, LATER) == told(remade(both), LATER)


def test_a_connection_is_told_of_on_every_network_or_on_none(both: Path) -> None:
    def networks(found: Record) -> dict[str, set[str]]:
        seen: dict[str, set[str]] = {}
        for one in found.of("connection"):
            if one.data["protocol"] != "dns":
                seen.setdefault(one.data["connection"], set()).add(one.data["network"])
        return seen

    everything, made = networks(remade(both)), networks(remade(both, {LATER}))
    assert made and made.items() <= everything.items()


def test_so_long_nothing_more_came(both: Path) -> None:
    """How long a message waited, and what was seen, depends on where the record ends."""
    change(both, lambda one: None if one["kind"] == "outcome" else one)
    assert trace(remade(both, {LUNCH}), LUNCH).until == remade(both).events[-1].time


def test_who_has_another_name_on_the_wire_is_found_by_either(both: Path) -> None:
    for path in (both / "logs").iterdir():
        path.write_text(path.read_text().replace(LUNCH, "<cleaned@log>"))
    everything = remade(both)
    assert trace(everything, LUNCH).readings
    for name in (LUNCH, "<cleaned@log>", "DE21618A36B"):
        assert told(remade(both, {name}), name) == told(everything, name)


def test_who_is_on_the_wire_only_is_found_there(both: Path) -> None:
    for path in (both / "logs").iterdir():
        path.write_text("")
    made = remade(both, {LUNCH})
    assert told(made, LUNCH) == told(remade(both), LUNCH)
    assert {one.refs.message_id for one in made.of("transaction")} == {LUNCH}


def test_a_name_that_may_be_of_several(both: Path) -> None:
    for path in (both / "logs").iterdir():
        path.write_text(path.read_text().replace(LATER, f"<6{LATER[2:]}"))
    with pytest.raises(UsageError) as error:
        remade(both, {"<6"})
    assert str(error.value) == (
        "'6' may be any of 2 messages\n"
        "  | <68a3ab05be524928@pc.sender.example>\n"
        "  | <693aa4458e014ac6@pc.sender.example>\n"
        "  → type more of the Message-ID, or a queue ID"
    )


def test_a_log_that_is_none_is_said_to_be_where(both: Path) -> None:
    (both / "logs" / "dns.log").write_text("Nov 24 06:54:58 dnsmasq: started\n")
    with pytest.raises(UsageError, match="does not begin with its moment") as error:
        remade(both, {LUNCH})
    assert (error.value.where or "").endswith("dns.log:1:1")


def test_a_capture_that_was_cut_off_is_read_as_far_as_it_goes(both: Path) -> None:
    path = both / "captures" / "receiver-lan.pcap"
    path.write_bytes(path.read_bytes()[:-10])
    (both / "captures" / "dns-lan.pcap").write_bytes(b"")
    assert trace(remade(both, {LUNCH}), LUNCH).outcome == "delivered"


# The record -------------------------------------------------------------------------------------


def test_evidence_leads_to_the_same_events_by_their_new_numbers(tmp_path: Path) -> None:
    def named(found: Record) -> list[tuple[str, str, str]]:
        by_number = {one.seq: one for one in found.events}
        return [
            (one.summary, by_number[place["event"]].kind, by_number[place["event"]].summary)
            for one in found.events
            for place in one.data.get("evidence", ())
            if "event" in place
        ]

    recorded = Record.load(RUNS / "receiver-down")
    made = rebuild(RUNS / "receiver-down", {"<nobody@nowhere>"}, tmp_path / "made")
    assert named(made) == named(recorded) != []
    assert sorted(one.seq for one in made.events) == list(range(1, len(made.events) + 1))
    assert not made.of("attempt", "transaction", "queue_change")


def test_evidence_of_what_is_made_anew_is_named_by_its_place(both: Path, tmp_path: Path) -> None:
    attempt = Record.load(RUNS / "delivery").of("attempt")[0]
    target = tmp_path / "other"
    target.mkdir()
    lines = [json.loads(line) for line in (RUNS / "delivery" / events.FILE).open()]
    for one in lines:
        if one["kind"] == "verdict":
            one["data"]["evidence"] = [{"kind": "attempt", "event": attempt.seq, "says": "sent"}]
    write(target, lines)
    found = remade(target).of("verdict")[0].data["evidence"]
    line = {"kind": "log", "node": attempt.node, "line": attempt.data["line"], "says": "sent"}
    assert found == [line]


def test_what_is_written_elsewhere_is_a_record_like_any_other(both: Path, tmp_path: Path) -> None:
    before = (both / events.FILE).read_bytes()
    made = rebuild(both, {LUNCH}, tmp_path / "a" / "b")
    assert (both / events.FILE).read_bytes() == before
    assert made.folder == tmp_path / "a" / "b"
    assert made.events[0].kind == "run"
    page = report.write(made).read_text()
    assert "Lunch?" in page
    again = rebuild(made.folder, {LUNCH})  # in its own place
    assert [one.as_json() for one in again.events] == [one.as_json() for one in made.events]


def test_a_run_that_goes_on_is_left_alone(both: Path) -> None:
    before = (both / events.FILE).read_bytes()
    with EventLog(both / events.FILE, LabClock(0.0, 60.0)):
        with pytest.raises(UsageError, match="the run goes on, and its record is being written"):
            rebuild(both)
        assert remade(both, {LUNCH}).of("attempt")
    assert (both / events.FILE).read_bytes() == before


# The verb ---------------------------------------------------------------------------------------


def lab(*arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(cli, ["trace", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout, result.stderr


def test_a_message_is_traced_in_captures_and_logs_where_the_record_has_no_events(
    both: Path,
) -> None:
    folder = str(partial(both))
    out, said = lab(LUNCH, "--run", folder, "--json")
    assert said == f"reading the captures for {LUNCH}\n"
    assert json.loads(out)["outcome"] == "delivered"
    assert "Lunch?" in lab("E563618A3AB", "--run", folder)[0]
    assert lab("--last", "--run", folder, "--json")[0] == lab(LATER, "--run", folder, "--json")[0]


def test_a_record_made_for_some_messages_has_the_others_in_its_captures_and_logs(
    both: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    assert rebuild(both, {LUNCH}, folder).about["partial"]
    assert lab(LUNCH, "--run", str(folder), "--json")[1] == "", "the record has it"
    assert lab(LATER, "--run", str(folder))[1] == f"reading the captures for {LATER}\n"
    assert not rebuild(both, None, folder).about["partial"]
    assert lab(LATER, "--run", str(folder))[1] == "", "it has them all"


def test_a_message_that_is_nowhere_is_said_to_be(both: Path) -> None:
    folder = str(partial(both))
    with pytest.raises(UsageError) as error:
        lab("nonsense", "--run", folder)
    assert str(error.value) == (
        f"{both}: there is no message 'nonsense' in the captures and logs\n"
        "  → those there are stand in its logs: grep message-id= logs/*.log"
    )
    with pytest.raises(UsageError) as error:
        lab("--run", folder)
    assert str(error.value) == (
        f"{both}: which message?\n"
        "  → those there are stand in its logs: grep message-id= logs/*.log"
    )


# Moments ----------------------------------------------------------------------------------------

_SPANS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)).map(lambda a: (a[0], sum(a))))


@given(_SPANS, st.integers(0, 60), st.integers(0, 9))
def test_a_span_meets_those_that_it_has_a_moment_in_common_with(
    spans: list[tuple[float, float]], began: int, length: int
) -> None:
    found = Spans(spans)
    ended = began + length
    assert found.meet(began, ended) == any(a <= ended and began <= b for a, b in spans)
    assert (began in found) == any(a <= began <= b for a, b in spans)
