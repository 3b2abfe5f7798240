"""What a box in a cable does to frames, rule by rule; box.py says how the rules are written.

Pure: a rule is given frames and times (seconds of any clock that only goes forward), and says what
becomes of them. Nothing here knows of sockets.
"""

import struct

NODE, NETWORK = "node", "network"  # which way a frame goes: to the node at the cable, or from it
ACROSS = {NODE: NETWORK, NETWORK: NODE}
TCP, UDP = 6, 17
PROTOCOLS = {"tcp": TCP, "udp": UDP}
ETHERNET = 14
IPV4 = b"\x08\x00"
QUEUE = 65536
NO_IP = (None, None, None, None, None, 0, 0)


class Frame:
    """An Ethernet frame on its way toward the node or the network."""

    __slots__ = ("_head", "data", "toward")

    def __init__(self, data, toward):
        self.data = data
        self.toward = toward
        self._head = None

    @property
    def head(self):
        """(protocol, source, destination, source port, destination port, begin, end).

        The last two say where the IP payload is; the protocol is None where there is no IPv4, and
        ports are None where there are none (ICMP, and all but the first fragment).
        """
        if self._head is None:
            self._head = read_head(self.data)
        return self._head


def read_head(data):
    """`Frame.head` of an Ethernet frame."""
    if data[12:14] != IPV4 or len(data) < ETHERNET + 20:
        return NO_IP
    begin = ETHERNET + (data[14] & 0x0F) * 4
    # A short frame is padded: what is IP's ends where IP says.
    end = min(ETHERNET + (data[16] << 8 | data[17]), len(data))
    protocol = data[23]
    ports = (None, None)
    fragment = (data[20] & 0x1F) << 8 | data[21]
    if protocol in (TCP, UDP) and not fragment and begin + 4 <= end:
        ports = struct.unpack_from("!HH", data, begin)
    return (protocol, data[26:30], data[30:34], *ports, begin, end)


def filtering(rule):
    """A function that tells whether a frame is one of those `rule` is about; None if all are."""
    toward, protocol, port = rule.get("toward"), rule.get("protocol"), rule.get("port")
    peer = bytes(map(int, rule["peer"].split("."))) if rule.get("peer") else None
    number = PROTOCOLS.get(protocol)
    if protocol not in (None, "ip", *PROTOCOLS):
        raise ValueError(f"protocol {protocol!r} is none of ip, tcp, udp")
    if toward not in (None, *ACROSS):
        raise ValueError(f"toward {toward!r} is neither node nor network")
    if protocol is None and port is None and peer is None:
        return (lambda frame: frame.toward == toward) if toward else None

    def about(frame):
        if toward not in (None, frame.toward):
            return False
        kind, source, destination, sport, dport, _, _ = frame.head
        if kind is None or number not in (None, kind):
            return False
        if port is not None and port not in (sport, dport):
            return False
        return peer in (None, source if frame.toward == NODE else destination)

    return about


class Rule:
    """A rule, and what it has done so far: to how many frames, and how often it still may."""

    def __init__(self, rule, chance):
        self.id = rule["id"]
        self.rule = rule
        self.about = filtering(rule)
        self.chance = chance
        self.hits = 0
        self.left = rule.get("times")
        self.place = 0  # in the cable's list of rules

    def take(self, frame, now):
        """What becomes of a frame: None if it goes on as it is, else a list of (when, frame)."""
        raise NotImplementedError


class Share(Rule):
    """A rule for some frames only, taken by chance."""

    def __init__(self, rule, chance):
        super().__init__(rule, chance)
        self.share = float(rule.get("share", 1.0))

    def take(self, frame, now):
        if self.share < 1.0 and self.chance.random() >= self.share:
            return None
        became = self.treat(frame, now)
        if became is not None:
            self.hits += 1
        return became


class Drop(Share):
    """They are lost."""

    def treat(self, frame, now):
        return ()


class Corrupt(Share):
    """One bit of the IP payload is another; checksums stay, for the receiver to notice by."""

    def treat(self, frame, now):
        *_, begin, end = frame.head
        if end <= begin:
            return None
        bit = self.chance.randrange(begin * 8, end * 8)
        data = bytearray(frame.data)
        data[bit >> 3] ^= 1 << (bit & 7)
        return [(now, Frame(bytes(data), frame.toward))]


class Reorder(Share):
    """They are held back while others pass."""

    def __init__(self, rule, chance):
        super().__init__(rule, chance)
        self.seconds = float(rule["seconds"])

    def treat(self, frame, now):
        return [(now + self.seconds, frame)]


class Duplicate(Share):
    """They come twice."""

    def treat(self, frame, now):
        return [(now, frame), (now, frame)]


class Delay(Rule):
    """They come later, by more or less; none overtakes another on the same way."""

    def __init__(self, rule, chance):
        super().__init__(rule, chance)
        self.seconds = float(rule["seconds"])
        self.jitter = float(rule.get("jitter") or 0.0)
        self.last = {NODE: 0.0, NETWORK: 0.0}

    def take(self, frame, now):
        due = now + self.seconds
        if self.jitter:
            due = max(now, due + self.chance.uniform(-self.jitter, self.jitter))
        self.last[frame.toward] = due = max(due, self.last[frame.toward])
        self.hits += 1
        return [(due, frame)]


class Rate(Rule):
    """A slow line each way: a frame arrives when its last bit does; too many, and the last is lost.

    `free` is when the line has sent all it was given so far.
    """

    def __init__(self, rule, chance):
        super().__init__(rule, chance)
        self.seconds = 8.0 / float(rule["bits"])  # for an octet
        self.patience = int(rule.get("queue") or QUEUE) * self.seconds
        self.free = {NODE: 0.0, NETWORK: 0.0}

    def take(self, frame, now):
        self.hits += 1
        needed = len(frame.data) * self.seconds
        waits = self.free[frame.toward] - now
        if waits > 0 and waits + needed > self.patience:
            return ()
        self.free[frame.toward] = due = now + max(waits, 0.0) + needed
        return [(due, frame)]


class Flap(Rule):
    """The cable is out and in by turns; `hits` counts how often it went out."""

    def __init__(self, rule, chance):
        super().__init__(rule, chance)
        self.up, self.down = float(rule["up"]), float(rule["down"])
        if self.up + self.down <= 0:
            raise ValueError("a cable that flaps is in or out for some time")
        self.begin = None
        self.out = False

    def take(self, frame, now):
        return None

    def turn(self, now):
        """Be out or in as it is time to; when that changes next."""
        if self.begin is None:
            self.begin = now
        cycle = self.up + self.down
        begun = self.begin + (now - self.begin) // cycle * cycle
        out = now < begun + self.down
        self.hits += out and not self.out
        self.out = out
        return begun + (self.down if out else cycle)
