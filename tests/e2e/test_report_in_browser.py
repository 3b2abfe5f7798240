"""The report in a real browser: it is read, walked through with keys, printed, and carried away."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from lab.record import Record
from lab.views import report

RECORDS = Path(__file__).parents[1] / "records"
PROJECTOR, PHONE = (1920, 1080), (390, 844)
PAPER = 703  # CSS pixels between the margins of A4
NASTY = "<script>console.error('acted')</script><img src=http://192.0.2.1/x onerror=alert(1)>"


def _nasty(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for event in events:
        event["summary"] += NASTY
        if event["kind"] == "verdict":
            event["data"]["observed"] += NASTY + "W" * 300
    return events


def _many(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found, seq = [], 10_000
    for event in events:
        found.append(event)
        for copy in range(1, 25 if event["kind"] in ("action", "attempt", "queue_change") else 1):
            seq += 1
            refs = event["refs"] | {"queue_id": f"{copy}.{event['refs']['queue_id']}"}
            refs["message_id"] = f"{copy}.{event['refs']['message_id']}"
            data = dict(event["data"])
            if data.get("what") == "message-id":
                data["value"] = refs["message_id"]
            found.append(event | {"seq": seq, "refs": refs, "data": data})
    return found


CHANGES: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "whole": lambda events: events,
    "killed": lambda events: events[:150],
    "hostile": _nasty,
    "many": _many,
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a real run: as it was, and changed."""
    found = {}
    for name, change in CHANGES.items():
        folder = tmp_path_factory.mktemp(name) / "receiver-down"
        shutil.copytree(RECORDS / "receiver-down", folder)
        file = folder / "events.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines()
        events = change([json.loads(line) for line in lines])
        text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        file.write_text(text, encoding="utf-8")
        found[name] = report.write(Record.load(folder))
    # The page alone, as on a USB stick
    alone = tmp_path_factory.mktemp("alone") / "report.html"
    shutil.copy(found["whole"], alone)
    return found | {"alone": alone}


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a report; at the end there must have been no complaint and no request for more."""
    contexts, complaints = [], []

    def open_(path: Path, size: tuple[int, int] = PROJECTOR, place: str = "", **how: Any) -> Page:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **how)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url[:80]}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:"))
                else complaints.append(f"asked for {request.url}")
            ),
        )
        page.goto(path.as_uri() + place)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("name", [*CHANGES, "alone"])
@pytest.mark.parametrize("size", [PROJECTOR, PHONE], ids=["projector", "phone"])
def test_it_opens_without_a_complaint_and_fits(
    opened: Callable[..., Page], reports: dict[str, Path], name: str, size: tuple[int, int]
) -> None:
    page = opened(reports[name], size)
    assert page.locator("h1").is_visible()
    for open_ in (False, True):
        page.evaluate(OPEN, open_)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        # What is wider than the page moves in a box of its own, which can be reached with keys
        outside = page.evaluate(OUTSIDE, size[0])
        assert outside == []


OPEN = "open => document.querySelectorAll('details').forEach(one => one.open = open)"
OUTSIDE = """width => [...document.body.querySelectorAll('*')]
  .filter(e => e.checkVisibility() && !e.closest('.wide, .vh, .skip'))
  .filter(e => e.getBoundingClientRect().right > width + 1)
  .map(e => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_every_link_leads_somewhere_that_is_seen(
    opened: Callable[..., Page], reports: dict[str, Path], scripts: bool
) -> None:
    page = opened(reports["whole"], java_script_enabled=scripts)
    links = page.locator("a[href^='#']").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    places = sorted(set(links))
    assert len(places) > 40
    closed = 0
    for place in places:
        page.evaluate("document.querySelectorAll('details.exhibit').forEach(d => d.open = false)")
        target = page.locator(f"[id='{place[1:]}']")
        closed += not target.is_visible()
        page.evaluate("place => location.hash = place", place)
        target.wait_for(state="visible")
        seen = target.evaluate("e => [e.getBoundingClientRect().top, innerHeight]")
        assert -1 <= seen[0] < seen[1], place
    assert closed > 15, "what was closed has been opened"


def test_a_click_opens_the_bytes_and_back_returns(
    opened: Callable[..., Page], reports: dict[str, Path]
) -> None:
    page = opened(reports["whole"])
    row = page.locator("tr", has_text="4 calls without an answer")
    row.get_by_role("link", name="sender-lan#36").click()
    bytes_ = page.locator("[id='packet-captures_2f_sender-lan.pcap-36'] .bytes")
    assert bytes_.is_visible()
    assert bytes_.inner_text().startswith("0000  02 00 c6 33 64 01 02 00  c6 33 64 19 08 00 45 00")
    page.get_by_role("link", name="expectation: unanswered").first.click()
    assert re.search(r"#expectation-\d$", page.url)
    page.go_back()
    assert page.url.endswith("sender-lan.pcap-36")


def test_a_link_from_elsewhere_opens_what_it_names(
    opened: Callable[..., Page], reports: dict[str, Path]
) -> None:
    page = opened(reports["whole"], place="#log-sender-mail-15")
    assert page.locator("mark", has_text="status=deferred").first.is_visible()


def test_words_are_large_enough(opened: Callable[..., Page], reports: dict[str, Path]) -> None:
    for size, least in ((PROJECTOR, 15.99), (PHONE, 11.99)):
        page = opened(reports["whole"], size)
        page.evaluate(OPEN, True)
        small = page.evaluate(SMALL, least)
        assert small == []


# Text in a drawing is as large as the drawing is drawn.
SMALL = """least => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = new Set();
  for (let node; node = walker.nextNode();) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility() || e.closest('.vh, script, title, desc'))
      continue;
    const scale = e.closest('svg') ? e.getScreenCTM().a : 1;
    const size = parseFloat(getComputedStyle(e).fontSize) * scale;
    if (size < least) found.add(`${e.tagName}.${e.className} ${size} ${node.data.slice(0, 40)}`);
  }
  return [...found];
}"""


def test_it_is_walked_through_with_keys(
    opened: Callable[..., Page], reports: dict[str, Path]
) -> None:
    page = opened(reports["whole"])
    wanted = page.evaluate(REACHABLE)
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(f"({NAME})(document.activeElement)"))
    assert reached == wanted
    assert wanted[0] == "A #main"
    assert "A #evidence" in wanted and any("SUMMARY" in one for one in wanted)


NAME = "e => `${e.tagName} ${e.getAttribute('href') || e.textContent.trim().slice(0, 60)}`"
REACHABLE = f"""[...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
  .filter(e => e.getAttribute('tabindex') !== '-1' && e.checkVisibility())
  .map({NAME})"""


def test_the_first_key_leads_past_the_contents(
    opened: Callable[..., Page], reports: dict[str, Path]
) -> None:
    page = opened(reports["whole"])
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the story")
    assert skip.evaluate("e => e === document.activeElement && e.getBoundingClientRect().top >= 0")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_enter_opens_and_closes_evidence(
    opened: Callable[..., Page], reports: dict[str, Path]
) -> None:
    page = opened(reports["whole"])
    summary = page.locator("details.exhibit > summary").first
    summary.focus()
    body = page.locator("details.exhibit > .body").first
    for visible in (True, False):
        page.keyboard.press("Enter")
        body.wait_for(state="visible" if visible else "hidden")
    # Where the focus is, is seen
    assert summary.evaluate("e => parseFloat(getComputedStyle(e).outlineWidth)") >= 2


def test_a_screen_reader_finds_its_way(
    opened: Callable[..., Page], reports: dict[str, Path]
) -> None:
    page = opened(reports["whole"], PHONE)  # where tables are drawn otherwise
    for role in ("banner", "main", "contentinfo", "navigation"):
        assert page.get_by_role(role).count() == 1, role
    for name in ("Story", "Expectations", "Attempts", "Ladder", "Evidence", "Captures"):
        assert page.get_by_role("region", name=name, exact=True).count() == 1
        assert page.get_by_role("heading", name=name, exact=True, level=2).count() == 1
    table = page.get_by_role("table", name="What was expected, what was observed")
    assert table.get_by_role("columnheader").all_inner_texts() == [
        "verdict",
        "expected",
        "observed",
        "where to look",
    ]
    assert table.get_by_role("row").count() == 6
    assert table.get_by_role("rowheader").first.inner_text().split("\n")[:2] == [
        "✓ deferred",
        "as expected",
    ]
    assert page.get_by_role("img", name="Attempts over lab time").count() == 1
    # Every drawing says what it is, or is none for those who do not see it
    assert page.evaluate(UNNAMED) == 0


UNNAMED = """[...document.querySelectorAll('svg')]
  .filter(e => !e.closest('svg svg') && e.getAttribute('aria-hidden') !== 'true')
  .filter(e => !e.querySelector(':scope > title')).length"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_differ_enough(
    opened: Callable[..., Page], reports: dict[str, Path], scheme: str
) -> None:
    page = opened(reports["whole"], color_scheme=scheme)
    page.evaluate(OPEN, True)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 384) == (scheme == "light")
    pairs = page.evaluate(PAIRS)
    assert len(pairs) > 8
    weak = {
        (text, ground): round(contrast(text, ground), 2)
        for text, ground in pairs
        if contrast(text, ground) < 4.5  # WCAG 2.2, 1.4.3
    }
    assert weak == {}
    # Marks of the drawing against the paper and against an outage (1.4.11)
    outage = page.locator(".band").first.evaluate("e => getComputedStyle(e).fill")
    for colour in page.evaluate(MARKS):
        for ground in (paper, outage):
            assert contrast(colour, ground) >= 3, (colour, ground)


PAIRS = """(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = {};
  for (let node; node = walker.nextNode();) {
    let e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility()) continue;
    if (e.closest('.vh, .skip, script, title, desc, .drawn svg')) continue;
    const style = getComputedStyle(e), text = e.closest('svg') ? style.fill : style.color;
    while (e && /, 0\\)$/.test(getComputedStyle(e).backgroundColor)) e = e.parentElement;
    found[[text, getComputedStyle(e).backgroundColor].join('|')] = 1;
  }
  return Object.keys(found).map(pair => pair.split('|'));
})()"""
MARKS = """[['path.deferred', 'fill'], ['circle.passed', 'fill'], ['rect.saved', 'fill'],
  ['path.due', 'stroke'], ['path.stay', 'stroke']]
  .map(([e, what]) => getComputedStyle(document.querySelector('.plot ' + e))[what])"""


def contrast(one: str, other: str) -> float:
    """How much two colours differ (WCAG 2.2)."""

    def light(colour: str) -> float:
        channels = [int(channel) / 255 for channel in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_on_paper_nothing_is_closed_or_cut_off(
    opened: Callable[..., Page], reports: dict[str, Path], scripts: bool
) -> None:
    page = opened(
        reports["whole"], (PAPER, 1000), java_script_enabled=scripts, color_scheme="dark"
    )  # fmt: skip
    page.emulate_media(media="print")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)", "paper is white, whatever the screen was"
    closed = page.evaluate(
        """[...document.querySelectorAll('details:not(.aside)')]
          .filter(e => !e.lastElementChild.checkVisibility({contentVisibilityAuto: true}))
          .map(e => e.textContent.slice(0, 60))"""
    )
    assert closed == []
    outside = page.evaluate(
        """width => [...document.body.querySelectorAll('*')]
          .filter(e => e.checkVisibility() && !e.closest('.vh, svg'))
          .filter(e => e.getBoundingClientRect().right > width + 1)
          .map(e => e.outerHTML.slice(0, 120))""",
        PAPER,
    )
    assert outside == []
    pdf = page.pdf(prefer_css_page_size=True, format="A4")
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 30


@pytest.mark.parametrize("name", ["whole", "alone"])
def test_the_captures_are_carried_away(
    opened: Callable[..., Page], reports: dict[str, Path], name: str
) -> None:
    page = opened(reports[name])
    with page.expect_download() as download:
        page.get_by_role("link", name="captures/sender-lan.pcap").click()
    assert download.value.suggested_filename == "sender-lan.pcap"
    got = Path(download.value.path()).read_bytes()
    assert got == (RECORDS / "receiver-down/captures/sender-lan.pcap").read_bytes()


def test_korean_is_not_broken(
    opened: Callable[..., Page], reports: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "korean"
    shutil.copytree(RECORDS / "receiver-down", folder)
    file = folder / "events.jsonl"
    said = "수신측 메일 서버가 꺼져 있습니다. 무슨 일이 일어날까요?"
    text = file.read_text(encoding="utf-8").replace("Lunch?", "점심 먹을까?")
    file.write_text(re.sub(r"The receiver's mail server is dead\.[^\"]*", said, text), "utf-8")
    page = opened(report.write(Record.load(folder)), PHONE)
    told = page.locator("li[lang=ko]")
    assert said in told.inner_text()
    assert told.locator("p").last.evaluate("e => getComputedStyle(e).wordBreak") == "keep-all"
    assert page.locator(".plot text", has_text="점심 먹을까?").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
