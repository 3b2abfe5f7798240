"""A stranger asks a mail server to carry mail to elsewhere, and to its own people."""

from __future__ import annotations

from uuid import uuid4

from lab.observe.maillog import LogLine
from lab.scenarios import byhand, scenario
from lab.scenarios.evidence import logged
from lab.scenarios.stage import Stage


@scenario(rows=(), lasts="3m", time_scale=60)
def open_relay(stage: Stage) -> None:
    alice, bob, carol, dave = (stage.person(name) for name in ("alice", "bob", "carol", "dave"))
    server = alice.server
    message_id = f"<{uuid4().hex}@pc.receiver.example>"
    stage.tell("before", server=server, bob=bob.address, carol=carol.address, dave=dave.address)

    def new_lines(*words: str) -> list[LogLine]:
        """The lines in the server's log with all these words, from the first call on."""
        return [
            line for line in stage.look(server)[old:] if all(word in line.text for word in words)
        ]

    stage.predict("elsewhere", server=server, dave=dave.address)
    old = len(stage.look(server))  # with --here, an earlier refusal may stand there
    with byhand.calling(stage, bob, server, "mail for elsewhere") as hand:
        hand.say("EHLO pc.receiver.example")
        hand.say(f"MAIL FROM:<{bob.address}>")
        answer = hand.say(f"RCPT TO:<{dave.address}>")
        hand.say("QUIT")
    stage.until(
        "the end of the call in the server's log", lambda: new_lines("smtpd", "disconnect") or None
    )
    refusals = new_lines("NOQUEUE: reject: RCPT", "Relay access denied", f"to=<{dave.address}>")
    replies = [turn for turn in hand.call.dialogue.turns if turn.side == "server"]
    stage.check(
        "answer and log",
        f"{server} will not pass on a stranger's mail for {dave.address}: 554 5.7.1, and logs it",
        f"{answer.strip()}; {len(refusals)} refusal in its log",
        answer.startswith("554 5.7.1") and len(refusals) == 1,
        [hand.call.turn(turn) for turn in replies[-2:-1]] + [logged(line) for line in refusals],
    )
    waiting, queue = stage.queue(server)
    theirs = [entry for entry in waiting if entry.sender == bob.address]
    stage.check(
        "queue",
        f"nothing of {bob.address} waits at {server}",
        f"{len(theirs)} messages of {bob.address} in its queue",
        not theirs,
        [queue],
    )
    stage.explain("refused", server=server)

    stage.predict("own", carol=carol.address)
    with byhand.calling(stage, bob, server, "mail for its own people") as hand:
        hand.say("EHLO pc.receiver.example")
        hand.say(f"MAIL FROM:<{bob.address}>")
        answer = hand.say(f"RCPT TO:<{carol.address}>")
        hand.say("DATA")
        taken = hand.say(
            f"From: {bob.address}",
            f"To: {carol.address}",
            f"Message-ID: {message_id}",
            "Subject: By hand",
            "",
            "For one of your own people.",
            ".",
        )
        hand.say("QUIT")
    queue_id = taken.split()[-1]
    stage.until(
        "the message's way in the server's log", lambda: new_lines(f"{queue_id}: removed") or None
    )
    came_in = new_lines(f"{queue_id}: client=")
    stored, mailbox = stage.mailbox(carol.address)
    hers = [message for message in stored if message.message_id == message_id]
    replies = [turn for turn in hand.call.dialogue.turns if turn.side == "server"]
    stage.check(
        "answers, log and mailbox",
        f"{server} takes the same stranger's mail for {carol.address}, and she has it once",
        f"RCPT TO: {answer.strip()}; content: {taken.strip()}; in her mailbox: {len(hers)}",
        answer.startswith("250") and taken.startswith("250") and len(hers) == 1,
        [
            # what was answered to RCPT TO, to DATA, and to the final dot
            *(hand.call.turn(turn) for turn in replies[-4:-1]),
            *(logged(line) for line in came_in),
            mailbox,
        ],
    )
    stage.explain("taken", server=server, carol=carol.address)

    message = alice.send(to=dave, subject="From its own people")
    stage.expect(message).submitted()
    stage.expect(message).relayed(to=dave)
    stage.explain("users", alice=alice.address, dave=dave.address)
