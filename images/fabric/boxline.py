"""A cable as a box treats it: its rules one after the other, and the frames that wait in them."""

import heapq
import itertools

from boxcut import Cut
from boxrules import Corrupt, Delay, Drop, Duplicate, Flap, Frame, Rate, Reorder

KINDS = {
    "drop": Drop,
    "delay": Delay,
    "rate": Rate,
    "corrupt": Corrupt,
    "reorder": Reorder,
    "duplicate": Duplicate,
    "flap": Flap,
    "cut": Cut,
}
NEVER = float("inf")


WAITING = 100_000  # frames; what is more is lost, as in a router whose memory is full


class Line:
    """Frames go in by `feed`; `send(toward, data)` is called for each that comes out.

    Times are given by the caller and only go forward. `chance` is a random.Random.
    """

    def __init__(self, send, chance):
        self._send = send
        self._chance = chance
        self._rules = []
        self._waiting = []  # a heap of (due, number, rule it waits in, frame)
        self._number = itertools.count()

    def load(self, wanted, now, state=None):
        """Follow the rules `wanted` from now on. Raises ValueError naming one that makes no sense.

        A rule that was there before goes on as it was; of a new one `state`, as `state()` gave it
        once, says what it has done already. What waits in a rule that is gone goes on at once.
        """
        old, spare = self._rules, list(self._rules)
        rules = []
        for rule in wanted:
            same = next((one for one in spare if one.rule == rule), None)
            if same:
                spare.remove(same)
            rules.append(same or self._made(rule, state or {}))
        for place, rule in enumerate(rules):
            rule.place = place
        self._rules = rules
        self._rewait(old, now)

    def _made(self, rule, state):
        try:
            made = KINDS[rule["what"]](rule, self._chance)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{rule} makes no sense: {error!r}") from None
        each = state.get(made.id, {}).get("each", ())
        before = next((one for one in each if one["rule"] == rule), None)
        if before:
            made.hits, made.left = before["frames"], before["left"]
        return made

    def _rewait(self, old, now):
        """Find what waits its place among the rules as they are now."""
        following = len(self._rules)
        place = {}
        for rule in reversed(old):
            here = rule.place < len(self._rules) and self._rules[rule.place] is rule
            if here:
                following = rule.place
            place[rule] = (here, following)
        waiting, self._waiting = self._waiting, []
        for due, number, rule, frame in sorted(waiting, key=lambda one: one[:2]):
            here, following = place[rule]
            if here:
                heapq.heappush(self._waiting, (due, number, rule, frame))
            else:
                self._go(frame, following, now)

    def feed(self, data, toward, now):
        """A frame comes in, on its way toward the node or the network."""
        if self._waiting and self._waiting[0][0] <= now:
            self.run(now)
        self._go(Frame(data, toward), 0, now)

    def run(self, now):
        """Let all go on that has waited long enough; when the next will have."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            due, _, rule, frame = heapq.heappop(waiting)
            self._go(frame, rule.place + 1, due)
        return waiting[0][0] if waiting else NEVER

    def _go(self, frame, place, now):
        for rule in self._rules[place:] if place else self._rules:
            if rule.about is not None and not rule.about(frame):
                continue
            became = rule.take(frame, now)
            if became is None:
                continue
            for due, one in became:
                if due > now:
                    if len(self._waiting) < WAITING:
                        heapq.heappush(self._waiting, (due, next(self._number), rule, one))
                else:
                    self._go(one, rule.place + 1, now)
            return
        self._send(frame.toward, frame.data)

    def out(self, now):
        """Who has the cable out just now (a set of rules' ids), and when that may change."""
        flaps = [rule for rule in self._rules if isinstance(rule, Flap)]
        change = min((rule.turn(now) for rule in flaps), default=NEVER)
        return {rule.id for rule in flaps if rule.out}, change

    def state(self):
        """What the rules of each id have done: `frames` treated, `left` how often they still may
        (None: without end), and the same of `each`.
        """
        said = {}
        for rule in self._rules:
            here = said.setdefault(rule.id, {"frames": 0, "left": None, "each": []})
            here["frames"] += rule.hits
            if rule.left is not None:
                here["left"] = (here["left"] or 0) + rule.left
            here["each"].append({"rule": rule.rule, "frames": rule.hits, "left": rule.left})
        return said
