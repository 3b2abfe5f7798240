"""Who can be pushed to: somebody calls a port of a machine, to see whether anybody is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab.scenarios.wire import Connection

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage

SMTP = 25
_SECONDS = 2  # of real time: as long as a caller waits for an answer here


def refused(stage: Stage, caller: str, target: str) -> None:
    """`caller` calls port 25 of `target`, which is on: a RST says that nobody listens there."""
    call = _knock(stage, caller, target)
    reset = call.dialogue.stream.reset
    stage.check(
        "nobody listens",
        f"{target} runs, and has no mail server: its kernel refuses who calls port {SMTP} (RST)",
        f"{call.dialogue.client} → {call.dialogue.server}: {call.dialogue.state}",
        call.dialogue.state == "refused",
        [call.syn, *([call.at(reset[1].frame, "RST")] if reset else [])],
    )


def unanswered(stage: Stage, caller: str, target: str) -> None:
    """`caller` calls port 25 of `target`, which is off: nothing there accepts, or refuses."""
    state, evidence = stage.machine(target)
    call = _knock(stage, caller, target)
    stream = call.dialogue.stream
    stage.check(
        "nobody there",
        f"{target} is off: who calls it is neither accepted nor refused",
        f"{target} is {state}; {call.dialogue.client} → {call.dialogue.server}: "
        f"{call.dialogue.state}",
        state == "off" and not stream.connected and stream.reset is None,
        [*evidence, call.syn],
    )


def _knock(stage: Stage, caller: str, target: str) -> Connection:
    """The call of `caller` to port 25 of `target`, once it has been given up or refused."""
    began = time.time()
    address = stage.address(target)
    with stage.audience.acting():
        # Its exit status says less than the wire.
        stage.lab.run(caller, ["nc", "-z", "-w", str(_SECONDS), address, str(SMTP)])

        def made() -> Connection | None:
            found = stage.wire.connections(
                stage.network(caller), client=stage.address(caller), server=address, after=began
            )
            return found[0] if found else None

        call = stage.until(f"the call to {target} is in the capture", made)
        stage.log.add(
            "action",
            f"on {caller}: nc -z {address} {SMTP}",
            node=caller,
            when=began,
            data={"evidence": [call.syn.as_json()]},
        )
    return call
