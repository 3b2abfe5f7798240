"""IMAP: mail stays at the server, in folders, and a laptop and a phone see the same (N18)."""

from lab.scenarios import devices, folders, scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N18",), lasts="10m", time_scale=60)
def imap(stage: Stage, kilobytes: int = 50) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    lunch = alice.send(to=bob, subject="Lunch?")
    picture = alice.send(to=bob, subject="The picture", attached=1000 * kilobytes)
    for letter in (lunch, picture):
        stage.expect(letter).delivered(to=bob)
    stage.tell("before", server=bob.server, kilobytes=kilobytes)

    stage.predict("folder")
    with devices.imap(stage, bob, "laptop") as laptop, devices.imap(stage, bob, "phone") as phone:
        laptop.log_in()
        phone.log_in()
        inbox = laptop.say("SELECT INBOX")
        number = folders.number(laptop, lunch)
        folders.arrived(stage, lunch, inbox, number)
        folder = folders.unused(laptop, "Plans")
        create = laptop.say(f"CREATE {folder}")
        move = laptop.say(f"MOVE {number} {folder}")
        seen = [phone.say('LIST "" *'), phone.say(f"SELECT {folder}")]
        seen.append(phone.say('SEARCH FROM "alice" SUBJECT "Lunch"'))
        folders.moved(stage, lunch, create, move, seen)

        laptop.say(f"SELECT {folder}")
        store = laptop.say(r"STORE 1 +FLAGS (\Flagged)")
        folders.flagged(stage, store, phone.say("NOOP"), r"\Flagged")
        laptop.say("LOGOUT")
        phone.say("LOGOUT")
    with devices.imap(stage, bob, "phone") as phone:
        phone.log_in()
        again = phone.say(f"SELECT {folder}")
        folders.remembered(stage, again, phone.say("FETCH 1 (FLAGS)"), r"\Flagged")
        phone.say("LOGOUT")
    stage.explain("shared", server=bob.server)

    stage.predict("part", kilobytes=kilobytes)
    with devices.imap(stage, bob, "phone") as phone:
        phone.log_in()
        phone.say("SELECT INBOX")
        number = folders.number(phone, picture)
        items = ("BODY.PEEK[HEADER]", "BODYSTRUCTURE", "BODY.PEEK[1]", "BODY.PEEK[]")
        *parts, whole = [phone.say(f"FETCH {number} {item}") for item in items]
        folders.in_part(stage, picture, parts, whole, attached=1000 * kilobytes)
        phone.say("LOGOUT")
    stage.explain("parts")

    stage.predict("idle")
    with devices.imap(stage, bob, "laptop") as laptop, devices.imap(stage, bob, "phone") as phone:
        for device in (laptop, phone):
            device.log_in()
            device.say("SELECT INBOX")
        idle = phone.idle()
        dinner = alice.send(to=bob, subject="Dinner?")
        stage.expect(dinner).delivered(to=bob)
        idle.told("EXISTS")
        folders.told_unasked(stage, dinner, idle, laptop.say("NOOP"))
        idle.done()
        phone.say("LOGOUT")
        laptop.say("LOGOUT")
    stage.explain("after")
