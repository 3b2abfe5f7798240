"""Many messages to one server over one TCP connection; and, in contrast, one each (N12)."""

from lab.faults.cable import cable_pulled
from lab.scenarios import scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N12",), lasts="10m", time_scale=60)
def persistent_connection(stage: Stage, messages: int = 20) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.tell("before", messages=messages, server=alice.server)
    domain = bob.address.partition("@")[2]
    one_at_a_time = {"smtp_destination_concurrency_limit": 1}
    # The last message on a connection that may be used again ends without QUIT, unless Postfix
    # knows that it is the last; and it would not wait for the answer to its QUIT.
    shared = {
        "smtp_connection_cache_destinations": domain,
        "smtp_connection_reuse_count_limit": messages - 1,
        "smtp_skip_quit_response": "no",
    }

    with stage.operator(alice.server, **one_at_a_time, **shared):
        with stage.outage(cable_pulled(bob.server)):
            sent = [alice.send(to=bob, subject=f"Note {n}") for n in range(1, messages + 1)]
            stage.expect_all(sent).queued()
            stage.predict("question", messages=messages)
        stage.expect_all(sent).delivered_over(connections=1, to=bob)
    stage.explain("persistent")

    with stage.operator(alice.server, **one_at_a_time, smtp_connection_cache_on_demand="no"):
        with stage.outage(cable_pulled(bob.server)):
            sent = [alice.send(to=bob, subject=f"Memo {n}") for n in range(1, messages + 1)]
            stage.expect_all(sent).queued()
            stage.predict("contrast", messages=messages)
        stage.expect_all(sent).delivered_over(connections=messages, to=bob)
    stage.explain("after")
