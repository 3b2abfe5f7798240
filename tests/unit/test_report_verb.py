"""`lab report`, and how the file is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from reportpage import RECORD, ROOT, changed, live

from lab.cli import cli
from lab.engine.lab import Lab
from lab.errors import LabError
from lab.observe import recorder
from lab.record import Record
from lab.views import report


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return changed(tmp_path)


def test_it_is_written_whole_or_not_at_all(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    path = report.write(record)
    assert path == record.folder / "report.html"
    before = path.read_text(encoding="utf-8")
    assert before == report.html(record)

    def full(self: Path, *_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(LabError) as error:
        report.write(record)
    monkeypatch.undo()
    assert str(error.value) == (
        f"{path}: can't write the report: No space left on device\n"
        "  → copy the run's folder to where you can write, then: lab report FOLDER"
    )
    assert path.read_text(encoding="utf-8") == before
    assert sorted(one.name for one in record.folder.iterdir()) == [
        "captures",
        "events.jsonl",
        "logs",
        "report.html",
    ]


def test_it_is_small_enough_for_a_mail(record: Record) -> None:
    assert len(report.html(record)) < 400_000


def test_an_installed_lab_has_its_templates(tmp_path: Path) -> None:
    """Not only one that is run from its source."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "lab", source / "lab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-c", "from setuptools.build_meta import *; build_wheel('..')"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(wheel, unpacked, "zip")
    templates = {path.relative_to(ROOT) for path in ROOT.glob("lab/**/templates/*")}
    assert len(templates) > 10
    assert templates <= {path.relative_to(unpacked) for path in unpacked.rglob("*")}


@pytest.fixture
def home(record: Record, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run in runs/, and the shell in it."""
    folder = record.folder.parents[1]
    monkeypatch.chdir(folder)
    return folder


def lab(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, words, catch_exceptions=True)
    said = f"{result.exception}" if isinstance(result.exception, LabError) else ""
    return result.exit_code, result.stdout, result.stderr + said


def test_lab_report_writes_that_of_the_newest_run(home: Path) -> None:
    shutil.copytree(RECORD, home / "runs/20261123-000000-older")
    status, out, _ = lab("report")
    assert (status, out) == (0, "runs/20261124-065513-receiver-down/report.html\n")
    assert (home / out.strip()).stat().st_size > 50_000
    status, out, _ = lab("report", "20261123-000000-older")
    assert (status, out) == (0, "runs/20261123-000000-older/report.html\n")
    status, out, _ = lab("report", str(home / "runs/20261123-000000-older"), "--json")
    assert json.loads(out)["report"] == str(home / "runs/20261123-000000-older/report.html")


def test_lab_report_names_the_run_that_was_meant(home: Path) -> None:
    status, out, said = lab("report", "20261124-065513-receiver-dwon")
    assert status != 0 and not out
    assert said == (
        "there is no run '20261124-065513-receiver-dwon'\n"
        "  → did you mean '20261124-065513-receiver-down'?"
    )


def test_lab_report_opens_the_browser_there_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    status, out, said = lab("report", "--open")
    assert (status, said) == (0, "")
    assert opened == [(home / out.strip()).as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    status, out, said = lab("report", "--open")
    assert status == 0
    assert said == (
        "lab: there is no browser to open it with\n"
        f"  → open this in one: {(home / out.strip()).as_uri()}\n"
    )


def test_lab_report_lists_the_runs(home: Path) -> None:
    killed = home / "runs/20261125-000000-killed"
    shutil.copytree(RECORD, killed)
    lines = (RECORD / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (killed / "events.jsonl").write_text("".join(lines[:50]) + '{"seq": 51, "ti', encoding="utf-8")
    status, out, _ = lab("report", "--list", "--json")
    assert status == 0
    found = json.loads(out)
    assert [(one["name"], one["outcome"]) for one in found] == [
        ("20261124-065513-receiver-down", "as expected"),
        ("20261125-000000-killed", "no end on record"),
    ]
    assert found[0]["scenario"] == "receiver-down"
    assert found[0]["title"] == "The receiver's mail server is down, and the message waits"
    status, out, _ = lab("report", "--list")
    assert status == 0
    assert "2h10m (13s)" in out
    assert "20261124-065513-receiver-down" in out and "no end on record" in out


def test_lab_report_lists_what_was_recorded_of_a_lab_and_what_could_not_go_on(home: Path) -> None:
    live(home)

    def stopped(events: list[dict[str, Any]]) -> None:
        events[-1]["data"] |= {"ok": False, "error": "the capture ended"}

    changed(home, stopped)
    found = json.loads(lab("report", "--list", "--json")[1])
    assert [(one["name"], one["outcome"]) for one in found] == [
        ("20261124-065513-lab", "recorded"),
        ("20261124-065513-receiver-down", "could not go on"),
    ]


def test_lab_report_lists_a_run_on_a_line_whatever_it_is_called(home: Path) -> None:
    shutil.copytree(RECORD, home / "runs/20261125-000000-two\nlines")
    out = lab("report", "--list")[1]
    assert "20261125-000000-two␊lines " in out
    assert json.loads(lab("report", "--list", "--json")[1])[1]["name"] == (
        "20261125-000000-two\nlines"
    )


@pytest.mark.parametrize("line", ["nonsense", '{"kind": "verdict"}', "[]"])
def test_what_no_report_can_be_made_of_is_listed_as_damaged(home: Path, line: str) -> None:
    (run,) = (home / "runs").iterdir()
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    lines[20] = line
    (run / "events.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    assert lab("report")[0] != 0
    (found,) = json.loads(lab("report", "--list", "--json")[1])
    assert (found["name"], found["outcome"]) == (run.name, "damaged")


def test_a_verdict_without_evidence_to_be_read_is_damage_too(home: Path) -> None:
    (run,) = (home / "runs").iterdir()
    text = (run / "events.jsonl").read_text(encoding="utf-8")
    text = text.replace('"evidence": [{"kind": "packet"', '"evidence": [{"kind": 7')
    (run / "events.jsonl").write_text(text, encoding="utf-8")
    assert "this is no evidence" in lab("report")[2]
    (found,) = json.loads(lab("report", "--list", "--json")[1])
    assert found["outcome"] == "damaged"


def test_a_lab_without_a_record_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(lab: Lab) -> float:
        raise LabError("what passes in lab 'lab' is not on record", hint="lab up")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Lab, "attach", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr(recorder, "recorded_since", nothing)
    monkeypatch.setattr("lab.observe.live.recorded_since", nothing)
    assert lab("report", "--live")[2] == ("what passes in lab 'lab' is not on record\n  → lab up")
    assert list(tmp_path.iterdir()) == []


def test_lab_report_without_runs_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lab("report", "--list")[2] == (
        "there is no run in runs/ yet; make one: lab scenario run delivery\n"
    )
    assert lab("report")[2] == "there is no run in runs/ yet\n  → lab scenario run delivery"
    assert lab("report", "--list", "--open")[0] == 2
