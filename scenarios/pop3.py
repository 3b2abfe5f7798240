"""POP3: three states, marks that only QUIT makes good, and nothing remembered (N17)."""

from lab.faults.cable import cable_pulled
from lab.scenarios import devices, downloads, scenario
from lab.scenarios.downloads import MailProgram
from lab.scenarios.stage import Stage


@scenario(rows=("N17",), lasts="20m", time_scale=60)
def pop3(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    before, _ = stage.mailbox(bob.address)
    old = sum(one.folder == "INBOX" for one in before)
    letters = []
    for subject in ("Breakfast?", "Lunch?", "Dinner?"):
        letters.append(alice.send(to=bob, subject=subject))
        stage.expect(letters[-1]).delivered(to=bob, before=before)
    letter, first = letters[0], old + 1
    stage.tell("before", server=bob.server)

    stage.predict("mark", subject=letter.subject)
    with devices.pop3(stage, bob, "laptop") as laptop:
        laptop.log_in()
        stats = [laptop.say("STAT")]
        laptop.say("LIST")
        laptop.say(f"RETR {first}")
        mark = laptop.say(f"DELE {first}")
        stats.append(laptop.say("STAT"))
        unmark = laptop.say("RSET")
        stats.append(laptop.say("STAT"))
        laptop.say("QUIT")
    downloads.three_states(stage, laptop)
    downloads.unmarked(stage, letter, mark, unmark, stats)
    stage.explain("states")

    stage.predict("cable", pc=bob.seat)
    with devices.pop3(stage, bob, "laptop") as laptop:
        laptop.log_in()
        deleted = laptop.say(f"DELE {first}")
        with stage.outage(cable_pulled(bob.seat)):
            laptop.hang_up()
            downloads.still_there(stage, letter)
    with devices.pop3(stage, bob, "laptop") as next_time:
        next_time.log_in()
        again = next_time.say(f"RETR {first}")
        deleted_again = next_time.say(f"DELE {first}")
        next_time.say("QUIT")
    downloads.never_updated(stage, laptop, deleted, again)
    downloads.updated(stage, next_time, letter, deleted_again)
    stage.explain("update")

    stage.predict("delete")
    laptop = MailProgram(stage, bob, "laptop", spared=old)
    phone = MailProgram(stage, bob, "phone", spared=old)
    downloads.emptied(stage, laptop.collect(keep=False), phone.collect(keep=False))
    stage.explain("deleted")

    for subject in ("Tea?", "Supper?"):
        stage.expect(alice.send(to=bob, subject=subject)).delivered(to=bob)
    stage.predict("keep")
    at_first = laptop.collect(keep=True)
    downloads.shared(stage, at_first, phone.collect(keep=True))
    stage.expect(alice.send(to=bob, subject="A nightcap?")).delivered(to=bob)
    downloads.not_remembered(stage, at_first, laptop.collect(keep=True))
    stage.explain("after")
