"""The benchmark measures the reading of what it says, on a capture that is always the same."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from click.testing import CliRunner

from lab.cli import cli
from lab.observe.bench import generate
from lab.observe.dialogue import dialogues


def test_the_capture_is_the_same_every_time_and_holds_whole_dialogues(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        count = generate(tmp_path / name, 100_000)
        digests.add(sha256((tmp_path / name).read_bytes()).digest())
    assert len(digests) == 1
    assert (tmp_path / "one").stat().st_size > 100_000
    found = dialogues(tmp_path / "one")
    assert {dialogue.state for dialogue in found} == {"closed by client with QUIT"}
    assert {len(dialogue.transactions) for dialogue in found} == {6}
    assert {one.code for dialogue in found for one in dialogue.transactions} == {250}
    assert count > 500


def test_every_stage_reads_every_packet() -> None:
    done = CliRunner().invoke(cli, ["bench", "decode", "-m", "1", "-n", "1", "--json"])
    assert done.exit_code == 0
    speeds = json.loads(done.stdout)
    ours = [one["stage"] for one in speeds if one["stage"] != "tshark"]
    assert ours == ["read", "decode", "reassembly", "lines", "dialogue"]
    assert len({one["packets"] for one in speeds}) == 1
    assert all(one["packets_per_second"] > 0 and one["peak_bytes"] > 1e6 for one in speeds)
