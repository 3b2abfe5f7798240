"""The keys of a lab's seats: made when they are first asked for, and gone when the lab is.

One pair opens every seat, and another is how the machines show that they are this lab's. The lab
keeps them itself (in its fabric, which no machine can look into), so whoever reaches its engine,
from whatever machine, is given the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lab.services import File

if TYPE_CHECKING:
    from lab.engine.lab import Lab

_NAME = "seat-keys"


@dataclass(frozen=True)
class Keys:
    """Ed25519 keys (RFC 8709): the private ones as OpenSSH files, the public ones as its lines."""

    user: str
    user_public: str
    host: str
    host_public: str

    def files(self, people: Iterable[str]) -> tuple[File, ...]:
        """What a machine has to have so that the seats of `people` open with these keys."""
        return (
            File("/lab/seat/host_key", self.host, 0o600),
            *(File(f"/lab/seat/people/{login}", f"{self.user_public}\n") for login in people),
        )


def keys(lab: Lab) -> Keys:
    """The keys of `lab`."""
    with lab.fabric() as fabric:
        kept = fabric.keep(_NAME) or fabric.keep(_NAME, json.dumps(asdict(_made())))
    assert kept is not None, "it was just given some"
    return Keys(**json.loads(kept))


def _made() -> Keys:
    return Keys(*_pair(), *_pair())


def _pair() -> tuple[str, str]:
    """A new private key and its public one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return private.decode(), public.decode()
