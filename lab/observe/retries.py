"""An attempt to pass a message on, and the one before it.

Each recipient of a message is tried on their own: what was tried for another is no attempt before.
"""

from __future__ import annotations

from lab.events import Event

_Key = tuple[str | None, str | None, str]


class Retries:
    """Attempts as they come, in their order."""

    def __init__(self) -> None:
        self._last: dict[_Key, Event] = {}

    def before(self, attempt: Event) -> Event | None:
        """The last attempt that came before this for its recipient, if there was one.

        A recipient is tried by a machine (`node`) for what it has under one queue ID.
        """
        key = attempt.node, attempt.refs.queue_id, attempt.data["recipient"]
        before, self._last[key] = self._last.get(key), attempt
        return before
