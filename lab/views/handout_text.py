"""A handout as plain text for a printer, and as Markdown for the folder docs/scenarios."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from lab.scenarios.blank import SHOWN
from lab.views.handout import Handout, Piece
from lab.views.wrapped import fill

_WIDTH = 78


def plain(page: Handout) -> str:
    """`page` as lines of up to 78 columns (the picture and the table may be wider)."""
    return "\n".join(_plain(page)).rstrip() + "\n"


def _plain(page: Handout) -> Iterator[str]:
    words = page.words
    yield from _headed(page.narration.title, "=")
    yield from (*_paragraphs(page.narration.summary), "", fill(page.facts, _WIDTH), "")
    yield from _headed(words("how_to_run"))
    yield from (f"    {line}" for line in _commands(page))
    yield ""
    yield from _headed(words("the_machines"))
    yield from (page.picture, "")
    yield from _headed(words("on_the_wire"))
    yield from (_table(page), "")
    yield from _headed(words("the_story"))
    yield from (fill(words("blanks", blank=SHOWN), _WIDTH), "")
    for piece in page.pieces:
        yield from (*_plain_piece(page, piece), "")
    yield from _headed(words("afterwards"))
    for piece in page.pieces:
        if piece.kind == "explain":
            first, *more = piece.text.split("\n\n")
            yield fill(first, _WIDTH, "   ", f"{piece.number:>2} ")
            yield from (part for one in more for part in ("", fill(one, _WIDTH, "   ")))
            yield ""


def _plain_piece(page: Handout, piece: Piece) -> Iterator[str]:
    words = page.words
    if piece.kind == "tell":
        yield from _paragraphs(piece.text)
    elif piece.kind == "predict":
        label = words("prediction")
        yield from _boxed(words("predict"), piece.text)
        yield ""
        yield f"  {label}: " + "_" * (_WIDTH - cell_len(label) - 4)
        yield from ("", "  " + "_" * (_WIDTH - 2))
    elif piece.kind != "explain":
        yield words(piece.kind)
        for line in piece.lines:
            yield fill(line.text, _WIDTH, "    ", f"  {line.sign} ")
            if line.where:
                yield fill(line.where, _WIDTH, "      ")
    else:
        yield f"  ({words('afterwards_note', number=piece.number)})"


def _headed(title: str, line: str = "-") -> Iterator[str]:
    yield from (title, line * cell_len(title), "")


def _paragraphs(text: str) -> Iterator[str]:
    parts = re.split(r"\n\s*\n", text.strip())
    for number, part in enumerate(parts):
        yield from ([""] if number else [])
        yield fill(" ".join(part.split()), _WIDTH)


def _boxed(title: str, text: str) -> Iterator[str]:
    yield f"┌─ {title} " + "─" * (_WIDTH - cell_len(title) - 4)
    for paragraph in _paragraphs(text):
        yield from (
            f"│ {line}" for line in fill(paragraph.replace("\n", " "), _WIDTH - 2).split("\n")
        )
    yield "└" + "─" * (_WIDTH - 1)


def _commands(page: Handout) -> list[str]:
    """What to type to run it."""
    run = f"lab scenario run {page.scenario.name}"
    lang = "" if page.words.lang == "en" else f" --lang {page.words.lang}"
    commands = [f"{run}{lang}", f"{run}{lang} --step   # {page.words('run_it')}"]
    return [*commands, f"{run}{lang} {page.settings}"] if page.settings else commands


def _heads(page: Handout) -> list[str]:
    return [page.words(key) for key in ("machine", "address", "network", "name")]


def _table(page: Handout) -> str:
    from tabulate import tabulate

    return tabulate(page.wire, headers=_heads(page), tablefmt="simple", disable_numparse=True)


# --- Markdown ----------------------------------------------------------------------------


def markdown(page: Handout) -> str:
    """`page` as Markdown; what is explained is folded away at the end."""
    return "\n\n".join(_markdown(page)) + "\n"


def _markdown(page: Handout) -> Iterator[str]:
    words, name = page.words, page.scenario.name
    yield f"<!-- {words('generated')} -->"
    yield f"# {_safe(page.narration.title)}"
    yield words("other_language", name=name)
    yield from (_safe(page.narration.summary), _safe(page.facts))
    yield f"## {words('how_to_run')}"
    yield "\n".join(f"    {line}" for line in _commands(page))
    up = "../.." if words.lang == "en" else "../../.."
    source = f"scenarios/{page.scenario.act.__name__}.py"
    yield f"{words('the_code')}: [{source}]({up}/{source})"
    yield f"## {words('the_machines')}"
    yield f"```text\n{page.picture}\n```"
    yield f"## {words('on_the_wire')}"
    yield markdown_table(_heads(page), page.wire)
    yield f"## {words('the_story')}"
    yield _safe(words("blanks", blank=SHOWN))
    for piece in page.pieces:
        yield _markdown_piece(page, piece)
    yield f"## {words('afterwards')}"
    yield f"<details><summary>{words('explain')}</summary>"
    for piece in page.pieces:
        if piece.kind == "explain":
            yield f"**{piece.number}.** {_safe(piece.text)}"
    yield "</details>"


def _markdown_piece(page: Handout, piece: Piece) -> str:
    words = page.words
    if piece.kind == "predict":
        quoted = _safe(piece.text).replace("\n", "\n> ")
        return f"> **{words('predict')}.** {quoted}\n>\n> {words('prediction')}: {'.' * 60}"
    if piece.lines:
        lines = [f"**{words(piece.kind)}**", ""]
        for line in piece.lines:
            where = f" *({_safe(line.where)})*" if line.where else ""
            lines.append(f"- {line.sign} {_safe(line.text)}{where}")
        return "\n".join(lines)
    if piece.kind == "explain":
        return f"*({words('afterwards_note', number=piece.number)})*"
    return _safe(piece.text)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _safe(text: str) -> str:
    """`text` so that Markdown takes nothing in it for its own."""
    text = re.sub(r"([\\*<`|])", r"\\\1", text)
    return re.sub(r"(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])", lambda run: r"\_" * len(run[0]), text)
