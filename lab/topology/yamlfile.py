"""YAML read with its places: every key and value keeps the line and column where it stands.

YAML itself is too kind for a file that people write by hand: of two equal keys it silently keeps
the last, and it reads `no` as false and `1:30` as ninety. `read` reports the first and remembers
how every value was written, so that a message can quote what stands in the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lab.topology.problem import FileError, KeyPath, Spot, named, shown

_TAG = "tag:yaml.org,2002:"
# Aliases can make a few lines stand for billions of values; no lab comes near this many.
_MOST_VALUES = 100_000
_LOOP = "an alias (*) stands inside what it stands for (&)"

BROKEN = object()
"""Stands in the data for a value that `read` has reported already."""


class Date:
    """Stands in the data for what YAML takes for a date: no key of a topology is one."""


@dataclass
class Document:
    """A YAML file: its data, where everything stands, and what is wrong with it as YAML."""

    file: str
    data: Any = None
    keys: dict[KeyPath, Spot] = field(default_factory=dict)
    values: dict[KeyPath, Spot] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    """Every plain or quoted value as it stands in the file: `no`, not False."""
    incomplete: set[KeyPath] = field(default_factory=set)
    """Where a pair was left out because its key is no text."""
    problems: list[FileError] = field(default_factory=list)

    def spot(self, path: KeyPath, *, on_key: bool = False) -> Spot:
        """Where the value at `path` (or its key) stands, or the nearest thing around it."""
        places = (self.keys, self.values) if on_key else (self.values, self.keys)
        for end in range(len(path), -1, -1):
            for place in places:
                if path[:end] in place:
                    return place[path[:end]]
        return Spot(1, 1)

    def report(self, what: str, spot: Spot, hint: str | None = None) -> None:
        """Add a problem, unless it was reported before (an alias leads to the same place)."""
        problem = FileError(what, file=self.file, spot=spot, hint=hint)
        if str(problem) not in map(str, self.problems):
            self.problems.append(problem)


def read(content: bytes, file: str) -> Document:
    """Read YAML `content`; `file` is its name in messages. Never raises: see `problems`."""
    document = Document(file)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        spot = Spot(before.count("\n") + 1, len(before) - before.rfind("\n"))
        document.report("this is not UTF-8 text", spot, "save the file with the encoding UTF-8")
        return document
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            hint = "begin with a copy of topologies/textbook.yaml"
            document.report("the file is empty", Spot(1, 1), hint)
        else:
            document.data = _Builder(document).build(node, ())
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        spot = Spot(before.count("\n") + 1, len(before) - before.rfind("\n"))
        what = f"the invisible character U+{error.character:04X} has no place in YAML"
        document.report(what, spot, "delete it")
    except yaml.MarkedYAMLError as error:
        document.report(*_syntax(error))
    except RecursionError:
        document.report("the brackets or indents are nested too deeply", Spot(1, 1))
    except _TooMuch:
        document.report("the aliases of this file unfold into far too many values", Spot(1, 1))
    return document


class _TooMuch(Exception):
    """The document is larger than any topology."""


class _Builder:
    """Turns YAML's tree of nodes into data, noting places and problems in `document`."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = yaml.constructor.SafeConstructor()
        self.open: set[int] = set()
        self.told: set[int] = set()
        self.count = 0

    def build(self, node: Node, path: KeyPath) -> Any:
        """The data of `node`, which stands at `path`."""
        self.count_one()
        if isinstance(node, ScalarNode):
            self.document.written[path] = node.value
            if node.value or node.style:
                self.document.values[path] = _spot(node)
            return self.scalar(node)
        if not path:
            self.document.values[path] = _spot(node)
        if id(node) in self.open:
            self.document.report(_LOOP, _spot(node))
            return BROKEN
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            return self.strange(node)
        self.open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, path)
            return [self.item(item, (*path, n)) for n, item in enumerate(node.value)]
        finally:
            self.open.discard(id(node))

    def count_one(self) -> None:
        """Give up on a document that is far larger than any topology."""
        self.count += 1
        if self.count > _MOST_VALUES:
            raise _TooMuch

    def item(self, node: Node, path: KeyPath) -> Any:
        """The data of a list's entry."""
        self.document.values[path] = _spot(node)
        return self.build(node, path)

    def mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        """The data of a mapping: its own keys, then those merged in with `<<`."""
        data: dict[str, Any] = {}
        for key_node, value_node in self.own(node, path):
            key = key_node.value
            self.document.keys[(*path, key)] = _spot(key_node)
            data[key] = self.build(value_node, (*path, key))
        for source in self.merged(node):
            data |= self.merge(source, path, data)
        return data

    def own(self, node: MappingNode, path: KeyPath) -> list[tuple[ScalarNode, Node]]:
        """The pairs of `node` whose keys are text, each key once."""
        pairs: dict[str, tuple[ScalarNode, Node]] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            if not self.is_key(key):
                self.document.incomplete.add(path)
            elif key.value not in pairs:
                pairs[key.value] = (key, value)
            elif id(key) not in self.told:
                self.told.add(id(key))
                first = _spot(pairs[key.value][0]).line
                self.document.report(
                    f"{shown(key.value)} stands twice in {named(path)}, first in line {first}",
                    _spot(key),
                    "remove or rename one of them; YAML would keep the last and say nothing",
                )
        return list(pairs.values())

    def is_key(self, key: Node) -> bool:
        """Whether `key` is text, or near enough to go on with; if it is not text, report it."""
        if not isinstance(key, ScalarNode):
            kind = "list" if isinstance(key, SequenceNode) else "mapping"
            hint = "put text that begins with { or [ in quotes"
            self.document.report(f"a key must be text, not a {kind}", _spot(key), hint)
            return False
        if not key.value:
            self.document.report("there is no key before this ':'", _spot(key))
            return False
        # Numbers and dates need no words of their own: no name and no key begins with a digit.
        if key.tag in (f"{_TAG}bool", f"{_TAG}null"):
            meaning = meaning_of(self.scalar(key))
            what = f"the key {shown(key.value)} must be text, but YAML reads it as {meaning}"
            self.document.report(what, _spot(key), quoting(key.value))
        if not _encodable(key.value):
            self.strange(key)
            return False
        return True

    def merged(self, node: MappingNode) -> list[MappingNode]:
        """The mappings that `node` merges in with `<<`, the most important first."""
        found = []
        for key, value in node.value:
            if key.tag != f"{_TAG}merge":
                continue
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                if isinstance(source, MappingNode):
                    found.append(source)
                else:
                    hint = "write <<: *name, where &name marks a mapping above"
                    self.document.report("'<<' merges mappings only", _spot(source), hint)
        return found

    def merge(self, source: MappingNode, path: KeyPath, have: dict[str, Any]) -> dict[str, Any]:
        """What `source` adds to the mapping at `path`, which has the keys of `have` already."""
        if id(source) in self.open:
            self.document.report(_LOOP, _spot(source))
            return {}
        self.count_one()
        keys, values = dict(self.document.keys), dict(self.document.values)
        written = dict(self.document.written)
        self.open.add(id(source))
        merged = self.mapping(source, path)
        self.open.discard(id(source))
        # What the mapping says itself wins over what is merged in, and so do its places.
        self.document.keys.update(keys)
        self.document.values.update(values)
        self.document.written.update(written)
        return {key: value for key, value in merged.items() if key not in have}

    def scalar(self, node: ScalarNode) -> Any:
        """The data of a single value: text, number, true, false or nothing."""
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str" | "value" | "merge" if _encodable(text):
                return text
            case "null":
                return None
            case "timestamp":
                return Date()
            case ("bool" | "int" | "float") as kind:
                try:
                    return getattr(self.constructor, f"construct_yaml_{kind}")(node)
                except (ValueError, KeyError):
                    return self.strange(node)
        return self.strange(node)

    def strange(self, node: Node) -> Any:
        """Report a value that only YAML's darker corners can express."""
        if node.tag.startswith(_TAG) or node.tag == "!":
            what = "this value cannot be read"
        else:
            what = f"the tag {shown(node.tag)} has no meaning in a topology"
        hint = "write plain text, numbers, lists and mappings, without tags"
        self.document.report(what, _spot(node), hint)
        return BROKEN


def meaning_of(value: Any) -> str:
    """What YAML made of a value, in words: `the number 5`, `false`, `a list`, `nothing`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            # Python refuses to write numbers of thousands of digits.
            return f"the number {value}" if abs(value) < 1e15 else "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return "a date"


def quoting(text: str) -> str:
    """The hint to put `text` in quotes."""
    return f"put it in quotes: {shown(text)}"


def _encodable(text: str) -> bool:
    """False for text with half a character in it, as only an escape like "\\ud800" makes it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _spot(node: Node) -> Spot:
    return Spot(node.start_mark.line + 1, node.start_mark.column + 1)


_QUOTE = "put the text in quotes"
_LINE_UP = "begin all keys of one mapping in the same column, and indent with spaces"
# (what PyYAML says, whether to point at where it began to read the thing, what we say, hint);
# {0} stands for the group of the pattern.
_SYNTAX: tuple[tuple[str, bool, str, str | None], ...] = (
    (r"character '\\t'", False, "a tab where YAML wants spaces", "replace the tab by spaces"),
    (r"found character '(.+?)' that", False, "a value cannot begin with '{0}'", _QUOTE),
    (
        r"mapping values are not allowed",
        False,
        "a ':' where no key can be",
        "put text that contains ': ' in quotes; otherwise look for a wrong indent here "
        "or a colon without a space in the line above",
    ),
    (
        r"could not find expected ':'",
        True,
        "a key without a value",
        "write 'key: value', with a space after the colon",
    ),
    (r"block mapping.*found '-'", False, "a list entry '- ' among keys", "remove the '-'"),
    (
        r"while parsing a block .*expected <block end>",
        False,
        "this does not fit what stands before it",
        "begin all keys of one mapping in the same column; put a value in quotes as a whole",
    ),
    (r"sequence entries are not allowed", False, "a list entry '- ' where none can be", _LINE_UP),
    (
        r"quoted scalar.*(end of stream|document separator)",
        True,
        "this quote is never closed",
        "write a ' inside single quotes twice: 'Bob''s wire'",
    ),
    (r"flow mapping", True, "the '{{' that opens here is not closed", "every { needs its }"),
    (r"flow sequence", True, "the '[' that opens here is not closed", "every [ needs its ]"),
    (
        r"undefined alias '(.*)'",
        False,
        "'*{0}' refers to '&{0}', which does not stand above",
        "put the text in quotes if it really begins with a *",
    ),
    (
        r"unknown escape character '(.*)'",
        False,
        "'\\{0}' means nothing between double quotes",
        "use single quotes, or double the backslash",
    ),
    (r"block scalar", True, "text must not stand behind a | or > in one line", _QUOTE),
    (r"single document", False, "a second document begins here", "one file is one topology"),
    (r"document start", False, "the file ends here for YAML, but goes on", _LINE_UP),
    (r"while scanning an? (anchor|alias)", True, "a & or * without a name", _QUOTE),
    (r"tag", True, "a '!' begins a tag here, which topologies do not use", _QUOTE),
    (r"expected the node content", False, "something is missing before this", None),
)


def _syntax(error: yaml.MarkedYAMLError) -> tuple[str, Spot, str | None]:
    """What, where and hint of a syntax error."""
    said = f"{error.context or ''} {error.problem or ''}"
    for pattern, at_start, what, hint in _SYNTAX:
        found = re.search(pattern, said)
        if found:
            mark = (at_start and error.context_mark) or error.problem_mark
            quoted = (shown(group)[1:-1] for group in found.groups())
            return what.format(*quoted), _at(mark), hint
    return "this is not YAML", _at(error.problem_mark), f"PyYAML says: {error.problem}"


def _at(mark: yaml.Mark | None) -> Spot:
    return Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
