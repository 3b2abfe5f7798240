"""Services that the fabric lends a node for a fault: they run here, but in the node's network.

A policy server (policy.py) answers a Postfix on its own loopback, a name server that fails
(servfail.py) a dnsmasq. Nothing of them is on the node's disk, in its process list or on a wire.
"""

import pathlib

from helpers import Helper
from wires import inside

FOLDER = pathlib.Path("/lab/lent")


def lend(node, pid, program, port, owner, rules):
    """`node`, whose first process is `pid`, has `program` at 127.0.0.1:`port`, and `owner` these
    rules in it; with [] it has none, and the program ends with the last.

    `pid` may be 0: the node is off, and what it was lent has gone with it.
    """
    FOLDER.mkdir(exist_ok=True)
    lent = _helper(node, program, port)
    kept = [rule for rule in lent.read() if rule["id"] != owner]
    lent.write(kept + [{**rule, "id": owner} for rule in rules])
    if not lent.read() or not pid:
        lent.end()
        return
    # A namespace has one number as long as it is there: that of a node that came back is another.
    with inside(pid):
        lent.settle(str(pathlib.Path(f"/proc/{pid}/ns/net").readlink()))


def lent(node, program, port):
    """Whose rules `node` has in `program`, whether it runs, and what it says of each rule."""
    found = _helper(node, program, port)
    return {
        "rules": sorted({rule["id"] for rule in found.read()}),
        "runs": found.runs(),
        "done": found.state(),
    }


def _helper(node, program, port):
    file = FOLDER / f"{node}.{program}"
    return Helper(file, [f"/lab/{program}.py", str(port), str(file)])
