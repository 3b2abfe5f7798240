"""TLS for a running Dovecot, for a while: an operator's work, and its undoing.

With a certificate the server also listens on the ports on which TLS comes first: 993 and 995
(RFC 8314). They are how to tell that Dovecot has taken its new settings up, without a call to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.services import Question

if TYPE_CHECKING:
    from lab.engine.lab import Lab

_FOLDER = "/etc/dovecot/operator"
_PORTS = (993, 995)
_SETTLED_SECONDS = 10.0
_LOOK_SECONDS = 0.02

_SETTINGS = f"""\
ssl = yes
ssl_server_cert_file = {_FOLDER}/cert.pem
ssl_server_key_file = {_FOLDER}/key.pem
"""
_SET = """
mkdir -p "$1"
cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30 \\
    -subj "/CN=$2" -addext "subjectAltName=DNS:$2" -keyout key.pem -out cert.pem 2> made \\
    || { cat made >&2; exit 1; }
cat > tls.conf
doveadm reload
cat cert.pem
"""
_UNDO = 'rm -rf "$1"; ! /lab/service runs dovecot || doveadm reload'


@contextmanager
def encrypted(lab: Lab, node: str) -> Iterator[bytes]:
    """STLS (POP3) and STARTTLS (IMAP) are to be had at `node` while the block runs.

    Gives the certificate (PEM), made and signed by the machine itself for its own name: who is to
    believe it must have been handed it. Dovecot reads its settings anew at both ends of the block,
    and 5 s later takes leave of who has been connected since before: their programs call again.
    Raises LabError if it does not take the settings.
    """
    name = lab.plan.site.hostname(node)
    try:
        argv = ["sh", "-ec", _SET, "sh", _FOLDER, name]
        made = lab.run(node, argv, stdin=_SETTINGS.encode()).check(f"setting up TLS on {node}")
        _settled(lab, node, listens=True)
        yield made.stdout
    finally:
        argv = ["sh", "-ec", _UNDO, "sh", _FOLDER]
        lab.run(node, argv).check(f"undoing TLS on {node}")
        _settled(lab, node, listens=False)


def _settled(lab: Lab, node: str, *, listens: bool) -> None:
    """Wait until Dovecot has taken its settings up."""
    host = lab.plan.site.address(node)
    process = lab.process(node)
    asked = [(process, Question.tcp(node, host, port, "", "")) for port in _PORTS]
    deadline = time.monotonic() + _SETTLED_SECONDS
    with lab.fabric() as fabric:
        while len(fabric.deaf(asked)) != (0 if listens else len(asked)):
            if time.monotonic() > deadline:
                still = "does not listen" if listens else "still listens"
                raise LabError(f"Dovecot on {node} {still} with TLS", hint=f"lab logs {node}")
            time.sleep(_LOOK_SECONDS)
