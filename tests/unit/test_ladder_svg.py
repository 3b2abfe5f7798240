"""The ladder as SVG: well-formed, for everybody, nothing written over anything else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ladderevents import FAR, MAIL, PC, Scene, ladder_of, real

from lab.events import in_order
from lab.record import Record
from lab.views.ladder import ladder_svg
from lab.views.ladder.grid import width_of
from lab.views.ladder.model import LEVELS, Item, View
from lab.views.ladder.svg import svg

NS = "{http://www.w3.org/2000/svg}"
RELAY = (MAIL, FAR, 25)


def record(name: str) -> Record:
    return Record(Path(name), tuple(in_order(real(name))))


def drawn(name: str, level: str = "commands") -> ET.Element:
    return ET.fromstring(ladder_svg(record(name), level=level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["receiver-down", "delivery"])
def test_it_is_well_formed_and_has_a_row_for_each_item(name: str, level: str) -> None:
    layout = ladder_of(real(name)).layout(View(level))  # type: ignore[arg-type]
    rows = [one for one in drawn(name, level).iter(f"{NS}g") if "row" in one.attrib["class"]]
    assert len(rows) == len(layout.items) > 0


def test_it_says_what_it_is_to_who_cannot_see_it() -> None:
    root = drawn("receiver-down")
    assert root.attrib["role"] == "img"
    assert root[0].tag == f"{NS}title"
    assert root[0].text == "The receiver's mail server is down, and the message waits"
    assert root[1].tag == f"{NS}desc"
    assert "receiver-mail has no power" in (root[1].text or "")


def test_it_can_stand_in_any_page() -> None:
    """No scripts, nothing from elsewhere, no identifiers that could clash, no colours of its own
    where the page is dark or printed."""
    text = ladder_svg(record("receiver-down"), link=lambda item: "#here")
    assert "<script" not in text
    assert not re.search(r'\bid="', text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r'(?:fill|stroke)="#', text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_rows_lead_where_the_page_says() -> None:
    asked: list[Item] = []

    def link(item: Item) -> str | None:
        asked.append(item)
        return f"#frame-{item.frame}&x" if item.frame else None

    root = ET.fromstring(ladder_svg(record("receiver-down"), link=link))
    targets = [one.attrib["href"] for one in root.iter(f"{NS}a")]
    assert targets == [f"#frame-{item.frame}&x" for item in asked if item.frame]
    assert len(asked) > len(targets) > 50


def test_a_label_that_is_cut_has_the_whole_in_its_title() -> None:
    scene = Scene()
    words = "NOOP " + "a very long argument & <more> " * 12
    scene.says(1, "client", words, (PC, MAIL, 587))
    root = ET.fromstring(svg(scene.ladder().layout()))
    (label,) = [one for one in root.iter(f"{NS}text") if one.attrib.get("class") == "label"]
    assert (label[0].text or "") == words
    assert (label[0].tail or "").endswith("…")


def test_a_band_a_box_and_a_cross_for_what_did_not_arrive() -> None:
    root = drawn("receiver-down")
    classes = [one.attrib.get("class", "") for one in root.iter()]
    assert classes.count("band") == 1
    assert classes.count("box") == 2
    assert classes.count("cross") == 3  # three calls; the fourth was held up, and arrives
    assert classes.count("struck") == 1


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["receiver-down", "delivery"])
def test_nothing_in_a_row_is_written_over_anything_else(name: str, level: str) -> None:
    root = drawn(name, level)
    width = float(root.attrib["viewBox"].split()[2])
    texts = [
        (float(one.attrib["y"]), *_extent(one))
        for one in root.iter(f"{NS}text")
        if not one.attrib.get("class", "").startswith(("head", "kind"))
    ]
    for _, left, right in texts:
        assert 0 <= left < right <= width
    for index, (y, left, right) in enumerate(texts):
        for other_y, other_left, other_right in texts[index + 1 :]:
            if abs(y - other_y) < 12:
                assert right <= other_left or other_right <= left


def _extent(text: ET.Element) -> tuple[float, float]:
    """From where to where a text reaches."""
    kind = text.attrib.get("class", "")
    words = "".join(part for part in (text.text, *(child.tail for child in text)) if part)
    size = width_of(words) * (6.7 if kind == "real" else 8.0)
    x = float(text.attrib["x"])
    if "end" in kind:
        return x - size, x
    if "mid" in kind or kind == "count":
        return x - size / 2, x + size / 2
    return x, x + size


def test_control_characters_are_no_xml() -> None:
    scene = Scene()
    scene.says(1, "client", "NOOP \x07\x00\x1b[31m", (PC, MAIL, 587))
    ET.fromstring(svg(scene.ladder().layout()))


def test_what_is_not_seen_by_itself_has_a_sign() -> None:
    scene = Scene()
    scene.says(1, "client", "HELO \x1b[31m\x9b\u202emoc", RELAY)
    text = svg(scene.ladder().layout())
    assert "HELO ␛[31m⟨U+009B⟩⟨U+202E⟩moc" in text
    assert not re.search("[\x1b\x9b\u202e]", text)


def test_the_heads_come_again_in_a_long_one() -> None:
    scene = Scene()
    for number in range(200):
        scene.says(1 + number * 0.01, "client", f"NOOP {number}", (PC, MAIL, 587))
    root = ET.fromstring(svg(scene.ladder().layout()))
    heads = [one for one in root.iter(f"{NS}text") if one.attrib.get("class") == "head"]
    assert len(heads) == 2 * (1 + 4 + 1)
