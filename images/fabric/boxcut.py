"""Cutting a connection in the middle of a message, or just before the final reply to it.

The frame with the wrong octet is swallowed and each end is sent a reset in the other's name, which
a kernel believes only if its sequence number is exactly the next it expects (RFC 5961 §3.2); or
nobody is told, and nothing of the connection passes any more. Only octets in order count, so
repeated segments, and such as come too early, change nothing.
"""

import struct

from boxrules import ACROSS, ETHERNET, Frame, Rule, filtering
from boxsmtp import Dialogue

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
MASK = 0xFFFFFFFF
REMEMBERED = 8192  # connections, the latest
SMTP = 25


EARLY = 1024  # segments, more than a window holds


class Way:
    """One direction of a connection: the sequence number expected next (None as long as nothing
    was seen), what came too early, and the Ethernet header of frames that go this way.
    """

    def __init__(self):
        self.next = None
        self.early = {}  # sequence number -> payload
        self.ethernet = None

    def start(self, seq):
        """The octet number `seq` is the first."""
        self.next = seq & MASK
        self.early.clear()

    def ahead(self, seq):
        """By how many octets `seq` is too early; negative if it is a repetition."""
        return distance(self.next, seq)

    def keep(self, seq, payload):
        """Keep what came too early; not without end, which nobody sends who means well."""
        known = self.early.get(seq)
        if known is None and len(self.early) >= EARLY:
            return  # as if it was lost: it will be sent again
        if len(payload) > len(known or b""):
            self.early[seq] = payload

    def fresh(self, seq, payload):
        """What is new and in order, now that `payload` has come, with what came too early."""
        new = payload[max(-self.ahead(seq), 0) :]
        for early in sorted(self.early, key=self.ahead) if new else ():
            done = distance(early, self.next + len(new))
            if done < 0:
                break
            new += self.early.pop(early)[done:]
        return new


class Connection:
    """A connection between the two ends of `key`: (client, its port, server, its port)."""

    def __init__(self, key, dialogue, toward):
        self.key = key
        self.dialogue = dialogue
        self.toward = toward  # the server
        self.client, self.server = Way(), Way()
        self.cut = False

    def reset(self, to_server, seq, ack):
        """A reset in the name of one end to the other."""
        client, cport, server, sport = self.key
        way, back = (self.client, self.server) if to_server else (self.server, self.client)
        ethernet = way.ethernet
        if ethernet is None:  # not yet seen: the way back is as good
            ethernet = back.ethernet[6:12] + back.ethernet[:6] + back.ethernet[12:]
        ends = (client, server, cport, sport) if to_server else (server, client, sport, cport)
        toward = self.toward if to_server else ACROSS[self.toward]
        return Frame(ethernet + reset(*ends, seq, ack), toward)

    def resets(self):
        """What tells both ends that it is over."""
        client, server = self.client.next, self.server.next
        told = []
        if client is not None:
            told.append(self.reset(True, client, server or 0))
        if server is not None:
            told.append(self.reset(False, server, client or 0))
        return told


class Cut(Rule):
    """Connections to a port are cut `at` the middle of the content, or the final reply to it."""

    def __init__(self, rule, chance):
        super().__init__(rule, chance)
        self.port = int(rule.get("port") or SMTP)
        self.toward = rule.get("toward")  # the server
        self.about = filtering({**rule, "toward": None, "protocol": "tcp", "port": self.port})
        self.silently = bool(rule.get("silently"))
        if rule["at"] not in ("data", "reply"):
            raise ValueError(f"at {rule['at']!r} is neither data nor reply")
        self.reply = rule["at"] == "reply"
        self.octets = None if self.reply else max(int(rule["octets"]), 1)
        self.connections = {}

    def take(self, frame, now):
        _, source, target, sport, dport, begin, end = frame.head
        by_client = dport == self.port
        toward = frame.toward if by_client else ACROSS[frame.toward]
        if self.toward not in (None, toward) or end - begin < 20:
            return None
        key = (source, sport, target, dport) if by_client else (target, dport, source, sport)
        seq, ack, offset, flags = struct.unpack_from("!IIBB", frame.data, begin + 4)
        calling = flags & (SYN | ACK) == SYN
        known = self.connections.get(key)
        if known is not None and known.cut and not calling:
            return self._after(known, by_client, flags, ack, now)
        if flags & RST or self.left == 0:
            self.connections.pop(key, None)
            return None
        if known is None or calling:
            known = self._open(key, toward, greeted=not calling)
        way, back = known.client, known.server
        if not by_client:
            way, back = back, way
        way.ethernet = frame.data[:ETHERNET]
        if back.next is None and flags & ACK:
            back.start(ack)
        if flags & SYN:
            way.start(seq + 1)
            return None
        payload = frame.data[begin + (offset >> 4) * 4 : end]
        return self._follow(known, by_client, seq, payload, flags & FIN, now)

    def _open(self, key, toward, greeted):
        """A connection from here on; the one with the same ports before it is over."""
        self.connections.pop(key, None)
        if len(self.connections) >= REMEMBERED:
            del self.connections[next(iter(self.connections))]
        dialogue = Dialogue(self.octets, self.reply, greeted)
        self.connections[key] = found = Connection(key, dialogue, toward)
        return found

    def _follow(self, known, by_client, seq, payload, fin, now):
        """A segment of a connection that stands: it passes, unless it is the one."""
        way = known.client if by_client else known.server
        dialogue = known.dialogue
        if way.next is None:
            way.start(seq)
        ahead = way.ahead(seq)
        if ahead > 0:
            # What comes too early can't be judged yet. Where it may matter it is lost, as if by
            # accident; it will come again, in order.
            reached = (
                dialogue.may_reach(ahead + len(payload))
                if by_client
                else dialogue.reply and dialogue.awaited
            )
            if payload and not reached:
                way.keep(seq, payload)
            return () if reached else None
        fresh = way.fresh(seq, payload)
        if fresh and (dialogue.said if by_client else dialogue.answered)(fresh):
            return self._cut(known, now)
        way.next = way.next + len(fresh) & MASK
        if fin and seq + len(payload) & MASK == way.next:
            way.next = way.next + 1 & MASK
        return None

    def _cut(self, known, now):
        known.cut = True
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        return [] if self.silently else [(now, told) for told in known.resets()]

    def _after(self, known, by_client, flags, ack, now):
        """What still comes of a connection that is cut is swallowed, and answered as by a host
        that knows nothing of it (RFC 9293 §3.10.7.1): its sequence number can't be wrong.
        """
        self.hits += 1
        if self.silently or flags & RST or not flags & ACK:
            return ()
        way = known.client if by_client else known.server
        return [(now, known.reset(not by_client, ack, way.next or 0))]


def distance(begin, end):
    """From one sequence number to another, at most 2 GiB forward or back."""
    return ((end - begin + 0x80000000) & MASK) - 0x80000000


def reset(source, target, sport, dport, seq, ack):
    """An IPv4 packet with a TCP reset."""
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + source + target
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, RST | ACK, 0, 0, 0)
    pseudo = source + target + struct.pack("!HH", 6, len(tcp))
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return ip + tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]


def checksum(octets):
    """RFC 1071, of an even number of octets."""
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
