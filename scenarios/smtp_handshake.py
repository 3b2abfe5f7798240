"""The SMTP handshake, spoken by hand: HELO, MAIL FROM, RCPT TO, DATA, a dot, QUIT (N10)."""

from lab.scenarios import handshake, scenario
from lab.scenarios.byhand import calling
from lab.scenarios.stage import Stage


@scenario(rows=("N10",), lasts="5m", time_scale=60)
def smtp_handshake(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    pc = stage.lab.plan.site.hostname(alice.seat)
    text = (f"From: {alice}", f"To: {bob}", "Subject: By hand", "", "Do you like ketchup?")
    before, _ = stage.mailbox(bob.address)
    stage.tell("before", server=bob.server, pc=alice.seat)

    stage.predict("question", server=bob.server)
    with calling(stage, alice, bob.server, "a whole message") as server:
        server.say(f"HELO {pc}")
        server.say(f"MAIL FROM:<{alice}>")
        server.say(f"RCPT TO:<{bob}>")
        server.say("DATA")
        server.say(*text, ".")
        server.say("QUIT")
    handshake.each_answered(stage, server.call)
    handshake.names_both(stage, server.call, sender=alice, receiver=bob)
    stage.explain("literally")
    handshake.changes_hands(stage, server.call, to=bob, before=before)
    stage.explain("responsible", server=bob.server)

    before, _ = stage.mailbox(bob.address)
    stage.predict("no_dot")
    with calling(stage, alice, bob.server, "a message without its dot") as broken:
        broken.say(f"HELO {pc}")
        broken.say(f"MAIL FROM:<{alice}>")
        broken.say(f"RCPT TO:<{bob}>")
        broken.say("DATA")
        broken.type(*text)
    handshake.nothing_owed(stage, broken.call, to=bob, before=before)
    stage.explain("dropped", server=bob.server)

    stage.predict("today", sender=alice.server, server=bob.server)
    message = alice.send(to=bob, subject="By mail program")
    keywords = handshake.extended(stage, server.call, message)
    handshake.makes_use(stage, message, keywords)
    stage.expect(message).delivered(to=bob)
    stage.explain("after")
