"""The model's refusals in words for people: what stands in the file, what belongs there.

pydantic names a fault by a type (`missing`, `string_type`); each type the model can raise has one
function here, and a test fails when the model learns to raise another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network
from typing import Any

from pydantic import BaseModel, ValidationError

from lab.topology import model
from lab.topology.problem import KeyPath, Problem, named, nearest, shown, suggest
from lab.topology.yamlfile import BROKEN, Document, meaning_of, quoting
from lab.units import guess_duration

KINDS: dict[str, type[BaseModel]] = {
    "pc": model.Pc,
    "mail-server": model.MailServer,
    "dns": model.Dns,
    "web-server": model.WebServer,
    "router": model.Router,
}

# How each key is written, for hints.
_EXAMPLES = {
    "name": "name: my-lab",
    "title": "title: Two mail servers and a router",
    "time_scale": "time_scale: 60",
    "schedule": "schedule: {retry: 30m, give_up: 5d}",
    "retry": "retry: 30m",
    "give_up": "give_up: 5d",
    "delay_notice": "delay_notice: 4h",
    "networks": "networks: {sender-lan: {subnet: 198.51.100.0/26}}",
    "subnet": "subnet: 198.51.100.0/26",
    "nodes": "nodes: {dns: {kind: dns, network: dns-lan}}",
    "kind": "kind: pc",
    "network": "network: sender-lan",
    "address": "address: 198.51.100.10",
    "hostname": "hostname: mail.sender.example",
    "domain": "domain: sender.example",
    "backup_for": "backup_for: [receiver.example]",
    "ram_queue": "ram_queue: 32M",
    "webmail": "webmail: true",
    "password": "password: wonderland",
    "interfaces": "interfaces: {sender-lan: 198.51.100.1, dns-lan: 198.51.100.194}",
}
_NAME_RULE = "a name has 1 to 15 of a-z, 0-9 and -, begins with a letter, does not end with -"
_USER_RULE = "a user name has up to 32 of a-z, 0-9 and . _ -, and begins with a letter"
_PASSWORD_RULE = (
    "use ASCII letters, digits and signs, but no space, quotes, \\, : or $; "
    "begin with a letter or a digit"
)


@dataclass(frozen=True)
class Refusal:
    """One fault that pydantic found, with what the file says there."""

    path: KeyPath
    value: Any
    on_key: bool
    context: dict[str, Any]
    document: Document

    @property
    def field(self) -> str:
        """The key whose value, or an entry of whose list, is wrong."""
        return next((step for step in reversed(self.path) if isinstance(step, str)), "")

    @cached_property
    def it(self) -> str:
        """The wrong thing's name, as a message begins with it."""
        return named(self.path)

    @property
    def written(self) -> str:
        """The value as it stands in the file, in quotes; a list or mapping by its sort."""
        text = self.document.written.get(self.path)
        return meaning_of(self.value) if text is None else shown(text)

    @property
    def example(self) -> str | None:
        """The hint that shows how this key is written."""
        if self.path[:1] == ("nodes",) and self.path[2:3] == ("users",) and len(self.path) < 5:
            if len(self.path) == 4 or self.sibling("kind") == "pc":
                return "for example: users: [alice@sender.example]"
            return "for example: users: {alice: {password: wonderland}}"
        if self.field == "network":
            networks = self.document.data.get("networks")
            names = [name for name in networks if isinstance(networks, dict)] if networks else []
            return f"the networks are: {', '.join(names)}" if names else None
        example = _EXAMPLES.get(self.field)
        return f"for example: {example}" if example else None

    def sibling(self, key: str) -> Any:
        """What the mapping around this value holds at `key`, or None."""
        data = self.document.data
        for step in self.path[:-1]:
            data = data[step]
        return data.get(key) if isinstance(data, dict) else None

    def problem(self, what: str, hint: str | None = None, *, on_key: bool = False) -> Problem:
        """This refusal in words."""
        return Problem(self.path, what, hint, self.on_key or on_key)


def problems(error: ValidationError, document: Document) -> list[Problem]:
    """Every fault in `error` in words, except those that `document` has reported already."""
    found = []
    meant = set()
    for fault in sorted(error.errors(include_url=False), key=lambda fault: fault["type"]):
        path, on_key = _path(fault["loc"])
        if fault["type"] == "union_tag_invalid":
            path = (*path, "kind")
        value = fault["input"]
        if fault["type"] == "union_tag_invalid":
            value = value["kind"]
        if value is BROKEN:
            continue
        refusal = Refusal(path, value, on_key, fault.get("ctx", {}), document)
        if fault["type"] == "extra_forbidden":
            meant.add((*path[:-1], _meant(refusal)))
        # A misspelt key is one fault, not an unknown key and a missing one.
        if fault["type"] == "missing" and path in meant:
            continue
        problem = WORDS.get(fault["type"], _other)(refusal)
        if problem.on_key or problem.path not in document.incomplete:
            found.append(problem)
    return found


def _path(loc: tuple[str | int, ...]) -> tuple[KeyPath, bool]:
    """The path in the file for pydantic's `loc`, and whether it means the key itself.

    pydantic adds the kind after a node's name, and `[key]` where a key is at fault.
    """
    on_key = loc[-1:] == ("[key]",)
    path = loc[:-1] if on_key else loc
    if path[:1] == ("nodes",) and len(path) > 2 and path[2] in KINDS:
        path = path[:2] + path[3:]
    return path, on_key


def _unknown_key(r: Refusal) -> Problem:
    owner = r.path[:-1]
    allowed = _keys_at(r)
    what = f"unknown key {shown(r.field)} in {named(owner)}"
    kinds = [kind for kind, fields in KINDS.items() if r.field in fields.model_fields]
    key, colon, value = r.field.partition(":")
    if colon and key in allowed:
        hint = f"put a space after the colon: {key}: {value}"
    elif owner[:1] == ("nodes",) and len(owner) == 2 and kinds:
        kind = r.sibling("kind")
        hint = f"a {kind} has: {', '.join(allowed)}; '{r.field}' belongs to: {', '.join(kinds)}"
    else:
        hint = suggest(r.field, allowed, "the keys here are")
    return r.problem(what, hint, on_key=True)


def _meant(r: Refusal) -> str | None:
    """The key that an unknown one is probably meant to be."""
    allowed = _keys_at(r)
    before_colon = r.field.partition(":")[0]
    return before_colon if before_colon in allowed else nearest(r.field, allowed)


def _keys_at(r: Refusal) -> list[str]:
    """The keys possible beside this one, `kind` first as people write it."""
    return sorted(_model_at(r).model_fields, key=lambda key: key != "kind")


def _model_at(r: Refusal) -> type[BaseModel]:
    match r.path[:-1]:
        case ("schedule",):
            return model.Schedule
        case ("networks", _):
            return model.Network
        case ("nodes", _):
            return KINDS[r.sibling("kind")]
        case ("nodes", _, "users", _):
            return model.User
    return model.Topology


def _missing_key(r: Refusal) -> Problem:
    return Problem(r.path[:-1], f"{named(r.path[:-1])} has no '{r.field}'", r.example)


def _no_kind(r: Refusal) -> Problem:
    return Problem(r.path, f"{r.it} has no 'kind'", f"add one of: {_listed(KINDS, 'kind: ')}")


def _bad_kind(r: Refusal) -> Problem:
    if not isinstance(r.value, str):
        what = f"{r.it} is empty" if r.value is None else f"{r.it} cannot be {r.written}"
        return r.problem(what, f"write one of: {_listed(KINDS, 'kind: ')}")
    node = named(r.path[:-1])
    return r.problem(
        f"{node} has the unknown kind {r.written}", suggest(r.value, KINDS, "the kinds are")
    )


def _not_text(r: Refusal) -> Problem:
    if r.value is None:
        return r.problem(f"{r.it} is empty", r.example)
    if r.field == "network" and isinstance(r.value, list):
        hint = "only a router is plugged into several networks, by 'interfaces'"
        return r.problem(f"{r.it} must be one network's name, not a list", hint)
    text = r.document.written.get(r.path)
    if text is None:
        return r.problem(f"{r.it} must be text, not {meaning_of(r.value)}", r.example)
    if r.field == "ram_queue":
        return _bad_size(r, text)
    what = f"{r.it} must be text, but YAML reads {shown(text)} as {meaning_of(r.value)}"
    anything = r.field in ("password", "title") or (r.field == "name" and len(r.path) > 1)
    return r.problem(what, quoting(text) if anything else r.example)


def _not_mapping(r: Refusal) -> Problem:
    if not r.path:
        hint = "a topology begins with name:, title:, networks: and nodes:"
        return r.problem(f"the file holds {meaning_of(r.value)}, not a topology", hint)
    match r.path, r.value:
        case ("networks", _), str():
            hint = f"write {r.field}: {{subnet: {r.value}}}"
        case ("networks", _), _:
            hint = f"write {r.field}: {{subnet: 198.51.100.0/26}}"
        case ("nodes", _), _:
            hint = "a node holds kind: and what belongs to that kind"
        case ("nodes", _, "users", _), _:
            password = r.value if isinstance(r.value, str) else "wonderland"
            hint = f"write {r.field}: {{password: {password}}}"
        case _:
            hint = r.example or "write 'key: value' lines under it"
    if r.value is None:
        return r.problem(f"{r.it} is empty", hint)
    return r.problem(f"{r.it} must be 'key: value' pairs, not {r.written}", hint)


def _not_list(r: Refusal) -> Problem:
    if r.value is None:
        return r.problem(f"{r.it} is empty", f"{r.example}, or leave the key out")
    if isinstance(r.value, str) and r.value:
        hint = f"write {r.field}: [{r.value}]"
        return r.problem(f"{r.it} must be a list, not {r.written}", hint)
    return r.problem(f"{r.it} must be a list, not {meaning_of(r.value)}", r.example)


def _too_few(r: Refusal) -> Problem:
    if r.field == "interfaces":
        only = "only one network" if r.context.get("actual_length") else "no network"
        what = f"{named(r.path[:-1])} joins {only}"
        return r.problem(what, f"a router joins two networks or more, {r.example}")
    return r.problem(f"{r.it} is empty", r.example)


def _bad_text(r: Refusal) -> Problem:
    """Text that does not match the pattern of its field."""
    text = str(r.field if r.on_key else r.value)
    if r.on_key and r.path[0] == "nodes" and len(r.path) > 2:
        # Mailboxes are named by the part before the @; the domain is the server's.
        guess = re.sub(r"[^a-z0-9._-]", "", text.split("@")[0].lower()).strip("._-")
        guess = guess if re.fullmatch(model.USER_PATTERN, guess) else ""
        return r.problem(f"{shown(text)} cannot be a user name", _instead(guess, _USER_RULE))
    if r.on_key or (r.field == "name" and len(r.path) == 1):
        what = "a network" if r.path[0] == "networks" else "a node"
        what = what if r.on_key else "the topology"
        guess = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        guess = guess if re.fullmatch(model.NAME_PATTERN, guess) else ""
        return r.problem(f"{shown(text)} cannot be the name of {what}", _instead(guess, _NAME_RULE))
    if r.field in ("domain", "hostname"):
        return _bad_domain(r, text)
    if r.field == "ram_queue":
        return _bad_size(r, text)
    if r.field == "password":
        return r.problem(f"{r.it} cannot be {shown(text)}", _PASSWORD_RULE)
    return r.problem(
        f"{r.it} must be one line of printable text", "remove the line breaks and tabs from it"
    )


def _bad_size(r: Refusal, text: str) -> Problem:
    if re.fullmatch(r"[1-9][0-9]*", text):
        hint = f"write {text}K, {text}M or {text}G"
        return r.problem(f"{r.it} is {shown(text)}, without a unit of size", hint)
    guess = re.sub(r"[\s_]|i?B$", "", text, flags=re.IGNORECASE).upper()
    meant = re.fullmatch(model.SIZE_PATTERN, guess)
    hint = f"did you mean '{guess}'?" if meant else "sizes look like 512K, 32M or 1G"
    return r.problem(f"{r.it} must be a size, not {shown(text)}", hint)


def _bad_domain(r: Refusal, text: str) -> Problem:
    what = f"{r.it} cannot be {shown(text)}"
    plain = re.sub(r"[^a-z0-9.]+", "-", text.lower())
    labels = [label.strip("-") for label in plain.split(".") if label.strip("-")]
    stem = labels[:-1] if len(labels) > 1 else labels
    guess = ".".join([*stem, "example"])
    rule = "use a-z, 0-9 and - between the dots, up to 63 of them, and .example at the end"
    if not re.fullmatch(model.DOMAIN_PATTERN, guess) or guess == "example.example":
        return r.problem(what, rule)
    why = "" if labels[-1] == "example" else "; in the lab names end in .example"
    return r.problem(what, f"write {guess}{why}")


def _not_yes_or_no(r: Refusal) -> Problem:
    if r.value is None:
        return r.problem(f"{r.it} is empty", r.example)
    hint = "true or false; left out, it is false"
    return r.problem(f"{r.it} must be true or false, not {r.written}", hint)


def _not_number(r: Refusal) -> Problem:
    if r.value is None:
        return r.problem(f"{r.it} is empty", r.example)
    what = f"{r.it} must be a number, not {r.written}"
    try:
        hint = f"write {float(r.value):g}, without quotes" if isinstance(r.value, str) else None
    except ValueError:
        hint = None
    return r.problem(what, hint or "60 makes one real second a minute of the lab")


def _number_too_small(r: Refusal) -> Problem:
    what = f"{r.it} must be greater than 0, not {r.written}"
    return r.problem(what, "60 makes one real second a minute of the lab; 1 is the real thing")


def _bad_duration(r: Refusal) -> Problem:
    if r.value is None:
        return r.problem(f"{r.it} is empty", r.example)
    text = r.document.written.get(r.path)
    if isinstance(r.value, int | float) and text and text.isdecimal():
        hint = f"write {text}s, {text}m, {text}h or {text}d"
        return r.problem(f"{r.it} is {shown(text)}, without a unit of time", hint)
    guess = guess_duration(text or "")
    hint = f"did you mean '{guess}'?" if guess else "durations look like 30m, 5d or 1h30m"
    return r.problem(f"{r.it} must be a duration, not {r.written}", hint)


def _bad_address(r: Refusal) -> Problem:
    text = r.document.written.get(r.path, "")
    numbers = text.split(".")
    hint = "an address is four numbers from 0 to 255, like 198.51.100.10"
    if "/" in text:
        hint = f"write {text.split('/')[0]} alone; the prefix stands at the network's subnet"
    elif ":" in text:
        hint = "the lab speaks IPv4 only, like 198.51.100.10"
    elif any(len(n) > 1 and n.startswith("0") for n in numbers):
        hint = f"write {'.'.join(n.lstrip('0') or '0' for n in numbers)}, without leading zeros"
    return r.problem(f"{r.it} cannot be {r.written}", hint)


def _bad_subnet(r: Refusal) -> Problem:
    text = r.document.written.get(r.path, "")
    if r.value is None:
        return r.problem(f"{r.it} is empty", r.example)
    hint = "a subnet is an address and a prefix length up to /32, like 198.51.100.0/26"
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        return r.problem(f"{r.it} cannot be {r.written}", hint)
    if "/" not in text:
        return r.problem(f"{r.it} has no prefix length: {r.written}", f"write {text}/24, say")
    if network.network_address == IPv4Network(f"{text.split('/')[0]}/32").network_address:
        return r.problem(f"{r.it} cannot be {r.written}", f"write {network}")
    what = f"{r.it} is {r.written}, which is one address inside a subnet"
    return r.problem(what, f"did you mean '{network}'?")


def _other(r: Refusal) -> Problem:
    """The words of last resort, should the model grow a rule that has none of its own."""
    return r.problem(f"{r.it} cannot be {r.written}", r.example)


def _instead(guess: str, rule: str) -> str:
    return f"write '{guess}', say: {rule}" if guess else rule


def _listed(choices: dict[str, Any], before: str) -> str:
    return ", ".join(before + choice for choice in choices)


WORDS: dict[str, Callable[[Refusal], Problem]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "union_tag_not_found": _no_kind,
    "union_tag_invalid": _bad_kind,
    "string_type": _not_text,
    "string_pattern_mismatch": _bad_text,
    "string_too_short": _too_few,
    "dict_type": _not_mapping,
    "model_type": _not_mapping,
    "model_attributes_type": _not_mapping,
    "tuple_type": _not_list,
    "too_short": _too_few,
    "bool_type": _not_yes_or_no,
    "float_type": _not_number,
    "finite_number": _not_number,
    "greater_than": _number_too_small,
    "duration": _bad_duration,
    "address": _bad_address,
    "subnet": _bad_subnet,
}
