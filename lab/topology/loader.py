"""A topology file becomes a `Topology`, or a list of everything that is wrong with it.

Three readings, each for faults the one before cannot see: as YAML (`yamlfile`), by the model
(`wording` says its refusals in words), and as a whole (`check`). Whatever they find is sorted by
place, so that a teacher goes through the file once, from top to bottom.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from lab.errors import TopologyError, UsageError
from lab.topology import wording
from lab.topology.check import check
from lab.topology.model import Topology
from lab.topology.problem import FileError, Problem, Spot, suggest
from lab.topology.yamlfile import Document, read

SUFFIXES = (".yaml", ".yml")
FOLDER = Path(__file__).resolve().parents[2] / "topologies"


def topology_names() -> list[str]:
    """The topologies that come with the project, by the name that `load` takes; sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(source: str | Path) -> Topology:
    """The topology in a file, or the project's own topology of that name (`textbook`).

    A str without a folder and without .yaml at its end is a name; anything else is a path.
    Raises UsageError when there is no such name or the file cannot be read, and TopologyError
    with every fault of its content, each a FileError with its line and column, in their order.
    """
    path = find(source)
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        hint = f"name a file in it, such as {path / 'textbook.yaml'}"
        raise UsageError("this is a folder, not a file", where=str(path), hint=hint) from None
    except FileNotFoundError:
        raise UsageError("there is no such file", where=str(path), hint=_available()) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        what = f"the file cannot be read ({reason})"
        raise UsageError(what, where=str(path)) from None
    return parse(content, str(path))


def find(source: str | Path) -> Path:
    """The file that `source` means; raises UsageError for an unknown name."""
    if (
        isinstance(source, Path)
        or "/" in source
        or source.endswith(SUFFIXES)
        or source in (".", "..")
    ):
        return Path(source)
    names = topology_names()
    if source not in names:
        hint = suggest(source, names, "the topologies are")
        raise UsageError(f"there is no topology called '{source}'", hint=hint)
    path = FOLDER / f"{source}.yaml"
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def parse(content: bytes, file: str) -> Topology:
    """The topology in the `content` of a YAML file; `file` is its name in messages.

    Raises TopologyError with every fault found, sorted by place.
    """
    document = read(content, file)
    if document.data is None and document.problems:
        raise TopologyError(list(document.problems))
    topology = None
    try:
        topology = Topology.model_validate(document.data)
        problems = [p for p in check(topology) if p.on_key or p.path not in document.incomplete]
    except ValidationError as error:
        problems = wording.problems(error, document)
    found = _placed(problems, document)
    if found or topology is None:
        raise TopologyError(list(found))
    return topology


def _placed(problems: list[Problem], document: Document) -> list[FileError]:
    """The problems with their places, and those of the YAML itself, in the order of the file."""
    for problem in problems:
        spot = document.spot(problem.path, on_key=problem.on_key)
        document.report(problem.what, spot, problem.hint)
    return sorted(document.problems, key=lambda problem: problem.spot or Spot(1, 1))


def _available() -> str | None:
    names = topology_names()
    return f"the project's own topologies need no path: {', '.join(names)}" if names else None
