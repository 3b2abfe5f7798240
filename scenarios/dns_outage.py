"""The DNS does not lead to the receiver's server: no such domain against no answer (N4, N5)."""

from lab.faults import dns
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N4", "N5"), lasts="2h", time_scale=240)
def dns_outage(stage: Stage, name_server: str = "dns") -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    domain = bob.address.partition("@")[2]
    stage.tell("before", domain=domain, server=bob.server, name_server=name_server)

    with stage.outage(dns.dns_no_such_domain(name_server, domain=domain)):
        stage.predict("question", sender=alice.server, domain=domain, name_server=name_server)
        gone = alice.send(to=bob, subject="Breakfast?")
        stage.expect(gone).looked_up(answer="NXDOMAIN")
        stage.expect(gone).returned(to=alice, at_once=True)
        stage.explain("no_such_domain", sender=alice.server, domain=domain)

    with stage.outage(dns.dns_servfail(name_server, domain=domain)):
        stage.predict("failing", name_server=name_server)
        message = alice.send(to=bob, subject="Lunch?")
        stage.expect(message).looked_up(answer="SERVFAIL")
        stage.expect(message).deferred()
        stage.explain("not_found_out", name_server=name_server)
        with stage.outage(dns.dns_silent(name_server)) as silence:
            stage.predict("silent", name_server=name_server, sender=alice.server)
            stage.expect(message).looked_up(answer=None, since=silence.applied)
            stage.expect(message).deferred(times=2)
            stage.explain("no_answer", sender=alice.server)

    stage.tell("recovered", name_server=name_server)
    stage.expect(message).looked_up(answer="NOERROR")
    stage.expect(message).delivered(to=bob)
    stage.explain("after")
