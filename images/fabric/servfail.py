#!/usr/bin/python3 -IS
"""A name server that is out of order: it answers every question with SERVFAIL (RFC 1035 §4.1.1).

    servfail.py PORT RULES

Listens on 127.0.0.1:PORT (UDP) of the network it is started in, and prints `ready`. RULES is a
file, a JSON list read at the start and at each SIGHUP: of each rule only the `id` counts, and
RULES.state says by `id` how many questions were so answered.
"""

import json
import pathlib
import signal
import socket
import struct
import sys
import threading

HEADER = struct.Struct("!6H")
RESPONSE, RECURSION_DESIRED, SERVFAIL = 0x8000, 0x0100, 2


def reply(question):
    """The answer to a DNS message: the question again, marked as failed; None if it is none."""
    if len(question) < HEADER.size:
        return None
    number, flags, count, *_ = HEADER.unpack_from(question)
    if flags & RESPONSE or count != 1:
        return None
    end = HEADER.size
    while end < len(question) and question[end]:
        end += question[end] + 1
    end += 5  # the root, the kind and the class
    if end > len(question):
        return None
    flags = RESPONSE | flags & RECURSION_DESIRED | SERVFAIL
    return HEADER.pack(number, flags, 1, 0, 0, 0) + question[HEADER.size : end]


class Count:
    """How many questions were answered, kept in a file for each of the rules."""

    def __init__(self, file):
        self.file = file
        self.kept = file.with_name(f"{file.name}.state")
        self.lock = threading.Lock()
        self.state = {}
        self.load()

    def load(self):
        """Take up the rules as they are now."""
        with self.lock:
            wanted = [rule["id"] for rule in json.loads(self.file.read_text())]
            self.state = {id: self.state.get(id, 0) for id in wanted}
            self._keep()

    def one(self):
        """One more."""
        with self.lock:
            self.state = {id: count + 1 for id, count in self.state.items()}
            self._keep()

    def _keep(self):
        new = self.kept.with_name(f"{self.kept.name}.new")
        new.write_text(json.dumps(self.state))
        new.replace(self.kept)


def serve(channel, count):
    """Answer every question."""
    while True:
        question, caller = channel.recvfrom(4096)
        if answer := reply(question):
            count.one()
            channel.sendto(answer, caller)


def main():
    port, file = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    signals = {signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # taken one by one, below
    count = Count(file)
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", port))
    threading.Thread(target=serve, args=(channel, count), daemon=True).start()
    print("ready", flush=True)  # noqa: T201
    while signal.sigwait(signals) == signal.SIGHUP:
        try:
            count.load()
        except (FileNotFoundError, ValueError):
            continue  # who took its rules away is about to end us


if __name__ == "__main__":
    main()
