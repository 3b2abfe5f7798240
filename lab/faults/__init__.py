"""Faults: small objects that do one bad thing to a lab and can undo it.

A family of faults is one module here. They act from outside the nodes, at the cable or at the
power switch, so that nobody inside can undo them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lab.engine.lab import Lab


class Fault(Protocol):
    """One bad thing. `apply` and `revert` return when it is done, and seen to be."""

    @property
    def kind(self) -> str:
        """Its name, as typed: `power-cut`."""

    @property
    def title(self) -> str:
        """What it is, for people: `receiver-mail has lost its power`."""

    @property
    def healed(self) -> str:
        """What its end is, for people: `receiver-mail has its power back`."""

    @property
    def node(self) -> str:
        """The node it strikes."""

    def apply(self, lab: Lab) -> None:
        """Do it. Raises LabError if it can't be done."""

    def revert(self, lab: Lab) -> None:
        """Undo it."""
