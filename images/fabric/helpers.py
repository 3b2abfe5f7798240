"""Programs that the fabric runs for faults: each is told what to do by a file of rules.

Whose rules stand in the file is by the key `id`; the program runs as long as there are any. It
outlives whoever started it, and takes up a changed file at a SIGHUP.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

LOOK_SECONDS = 0.002
ANSWER_SECONDS = 5.0  # for a helper to start, to take up its rules, or to end


class Helper:
    """The program `argv`, whose rules are in `file`. It prints `ready` when it works."""

    def __init__(self, file, argv):
        self.file = file
        self.argv = argv

    def read(self):
        """The rules it has been given."""
        try:
            return json.loads(self.file.read_text())
        except FileNotFoundError:
            return []

    def write(self, rules):
        """Give it rules; they count from `settle` on."""
        if not rules:
            self.file.unlink(missing_ok=True)
            self._beside("state").unlink(missing_ok=True)
            return
        new = self._beside("new")
        new.write_text(json.dumps(rules))
        new.replace(self.file)

    def state(self):
        """What it says of each rule, by `id`."""
        try:
            return json.loads(self._beside("state").read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def settle(self, place):
        """It runs by the rules there are when this returns; one that ran elsewhere is replaced.

        `place` is what has to be the same for a running one to be of use.
        """
        pid = self.process()
        try:
            if pid is None or self._started()[2] != place:
                raise ProcessLookupError
            os.kill(pid, signal.SIGHUP)
        except ProcessLookupError:
            self.end()
            self._start(place)
            return
        wanted = {rule["id"] for rule in self.read()}
        self._until("take up its rules", lambda: wanted == set(self.state()))

    def runs(self):
        """Whether it does."""
        return self.process() is not None

    def process(self):
        """The number of its process; None if it does not run."""
        pid, began, _ = self._started()
        state, now = _stat(pid)
        # Numbers are given again, to another lab's helper even, whose files are called the same.
        return int(pid) if state not in "ZX" and now == began else None

    def end(self):
        """It does not run when this returns."""
        if (pid := self.process()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            try:
                self._until("end", lambda: self.process() != pid)
            except RuntimeError:
                os.kill(pid, signal.SIGKILL)
        for ending in ("pid", "said"):
            self._beside(ending).unlink(missing_ok=True)

    def _start(self, place):
        read, write = os.pipe()
        program = subprocess.Popen(
            [sys.executable, "-IS", *self.argv],
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=self._beside("said").open("w"),
            start_new_session=True,
        )
        os.close(write)
        self._beside("pid").write_text(f"{program.pid} {_stat(program.pid)[1]} {place}")
        with open(read) as output:  # noqa: PTH123
            if output.readline().strip() != "ready":
                said = self._beside("said").read_text().strip()
                raise RuntimeError(f"{self.argv[0]} ended: {said}")

    def _started(self):
        """Its process number, its beginning and its place, as they were noted."""
        try:
            pid, began, place = self._beside("pid").read_text().split(" ", 2)
        except (FileNotFoundError, ValueError):  # or its writer was killed
            return "", "", ""
        return pid, began, place

    def _beside(self, ending):
        return self.file.with_name(f"{self.file.name}.{ending}")

    def _until(self, what, look):
        deadline = time.monotonic() + ANSWER_SECONDS
        while not look():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.argv[0]} does not {what}")
            time.sleep(LOOK_SECONDS)


def _stat(pid):
    """The state of a process, and when it began (proc_pid_stat(5)); X and nothing without one."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return "X", ""
    return fields[0], fields[19]
