#!/usr/bin/python3 -IS
"""A policy server: it tells a Postfix what to answer its clients, or to greylist them.

    policy.py PORT RULES

Listens on 127.0.0.1:PORT of the network it is started in, and speaks Postfix's policy protocol
(SMTPD_POLICY_README): of each request come lines NAME=VALUE and an empty one, of each answer one
line `action=...` and an empty one. Prints `ready` once it listens. RULES is a file, a JSON list,
read at the start and at each SIGHUP. The rule is followed whose `id` is the request's
`policy_context`; where Postfix gives none, the first that has something to say. Where none has, the
answer is DUNNO: whatever Postfix would have done. Each rule has an `id` of its own, and one of

    {"what": "answer", "stage": "connect", "helo", "mail", "rcpt", "data" or "end-of-data",
     "code": 450, "text": "4.2.2 Mailbox full",
     "left": how many mails are so answered, "share": how many of all (0 to 1), "recipient": whose}
    {"what": "greylist", "seconds": real seconds}

`left`, `share` and `recipient` may be null: all. It is mails that are counted, not recipients:
Postfix gives the requests of one mail the same `instance`.

Beside it, RULES.state says of each rule, by `id`, what it has done so far; whoever is started
with the same RULES goes on from there.
"""

import contextlib
import hashlib
import json
import math
import pathlib
import signal
import socket
import sys
import threading
import time

STAGES = {
    "CONNECT": "connect",
    "HELO": "helo",
    "EHLO": "helo",
    "MAIL": "mail",
    "RCPT": "rcpt",
    "DATA": "data",
    "END-OF-MESSAGE": "end-of-data",
}
REMEMBERED = 1000  # mails whose further requests are known; Postfix asks again within the session
DUNNO = "DUNNO"


def decide(rules, state, request, now):
    """The action for a request (a dict of its attributes); `state` is brought up to date.

    `now` is in epoch seconds. True as second value if the state has changed.
    """
    context = request.get("policy_context")
    for rule in rules:
        if context and rule["id"] != context:
            continue
        done = state[rule["id"]]
        verdict = (greylisted if rule["what"] == "greylist" else answered)(rule, done, request, now)
        if verdict:
            return verdict, True
    return DUNNO, False


def answered(rule, done, request, now):
    """What an `answer` rule has to say to a request; None if nothing."""
    if STAGES.get(request["protocol_state"]) != rule["stage"]:
        return None
    wanted = rule.get("recipient")
    if wanted and request.get("recipient", "").lower() != wanted.lower():
        return None
    mail = which(request, now)
    if mail not in done["mails"]:
        share, left = rule.get("share"), rule.get("left")
        if share is not None and _lot(rule["id"], mail) >= share:
            return None
        if left is not None and done["count"] >= left:
            return None
        done["count"] += 1
        done["mails"] = [*done["mails"], mail][-REMEMBERED:]
    return f"{rule['code']} {rule['text']}"


def which(request, now):
    """What tells a mail from others: requests about one mail have the same.

    Postfix numbers mails from the first RCPT on. Before MAIL a connection stands for its mail (who
    is refused with EHLO tries HELO), and each MAIL is a mail.
    """
    if request["instance"]:
        return request["instance"]
    caller = f"{request['client_address']}:{request.get('client_port', '')}"
    return f"{caller} {now}" if request["protocol_state"] == "MAIL" else caller


def _lot(*parts):
    """A number from 0 to 1 that looks like chance, and is the same for all requests of a mail."""
    return int.from_bytes(hashlib.sha256(" ".join(parts).encode()).digest()[:8]) / 2**64


def greylisted(rule, done, request, now):
    """A greylisting rule's answer: "try again later" to who has not waited yet; None to others.

    Who tries is known by three things (RFC 6647 §2.3): the client's network (a /24: big senders
    try again from a neighbour), the sender, and the recipient. Who has waited once is known.
    """
    if request["protocol_state"] != "RCPT":
        return None
    network = request["client_address"].rpartition(".")[0]
    who = " ".join([network, request["sender"].lower(), request["recipient"].lower()])
    left = done["tried"].setdefault(who, now) + rule["seconds"] - now
    if left <= 0:
        return None
    done["count"] += 1
    return f"450 4.2.0 Greylisted, try again in {math.ceil(left)} seconds"


def fresh(rule):
    """What there is to say of a rule that has done nothing yet."""
    return {"count": 0, "tried": {}} if rule["what"] == "greylist" else {"count": 0, "mails": []}


class Rules:
    """The rules in force and what they have done, kept in files."""

    def __init__(self, file):
        self.file = file
        self.kept = file.with_name(f"{file.name}.state")
        self.lock = threading.Lock()
        self.rules, self.state = [], {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.state = json.loads(self.kept.read_text())
        self.load()

    def load(self):
        """Take up the rules as they are now; one that was there goes on where it was."""
        with self.lock:
            self.rules = json.loads(self.file.read_text())
            self.state = {
                rule["id"]: self.state.get(rule["id"]) or fresh(rule) for rule in self.rules
            }
            self._keep()

    def action(self, request):
        """What Postfix is to do; noted before it is told."""
        with self.lock:
            action, changed = decide(self.rules, self.state, request, time.time())
            if changed:
                self._keep()
            return action

    def _keep(self):
        new = self.kept.with_name(f"{self.kept.name}.new")
        new.write_text(json.dumps(self.state))
        new.replace(self.kept)


def talk(channel, rules):
    """Answer a client, as long as it asks: each smtpd holds on to a connection of its own."""
    request = {}
    with contextlib.suppress(OSError), channel, channel.makefile("rwb", buffering=0) as stream:
        for line in stream:
            name, assigned, value = line.decode(errors="replace").rstrip("\n").partition("=")
            if assigned:
                request[name] = value
            elif request:
                stream.write(f"action={rules.action(request)}\n\n".encode())
                request = {}


def serve(listener, rules):
    """Take every call, in a thread of its own."""
    while True:
        channel, _ = listener.accept()
        threading.Thread(target=talk, args=(channel, rules), daemon=True).start()


def main():
    port, file = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    signals = {signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # taken one by one, below
    rules = Rules(file)
    listener = socket.create_server(("127.0.0.1", port), backlog=100)
    threading.Thread(target=serve, args=(listener, rules), daemon=True).start()
    print("ready", flush=True)  # noqa: T201
    while signal.sigwait(signals) == signal.SIGHUP:
        # Who has taken its rules away, and the file with them, is about to end us.
        with contextlib.suppress(FileNotFoundError, ValueError):
            rules.load()


if __name__ == "__main__":
    main()
