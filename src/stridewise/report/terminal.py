"""Documents as lines of text for a window of so many columns: styled pieces, joined to plain text or coloured."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby

from stridewise.report.document import Chart, Document, Facts, Line, Part, Remark, Remarks, Table
from stridewise.report.units import shortened

WIDTH = 100
_NAME = 16  # the least width of the column of names
_RANK = {"error": 0, "warning": 1}


def text(document: Document, width: int = WIDTH) -> str:
    """The whole document as plain text; remarks are written out, every one."""
    return joined(lines(document, width, every=True))


def joined(drawn: Sequence[Line]) -> str:
    """Lines without their styles."""
    return "\n".join("".join(piece for piece, _ in line).rstrip() for line in drawn)


def lines(document: Document, width: int = WIDTH, *, every: bool = True) -> list[Line]:
    """The document line by line; every: also remarks that say the same of other places."""
    out: list[Line] = []
    if not document.quiet:
        out += _title(document, width)
    out += [[(piece, "")] for sentence in document.lead for piece in _wrapped(sentence, width)]
    for part in document.parts:
        drawn = part_lines(part, width, every)
        if drawn:
            out += [[], *drawn] if out else drawn
    if document.notes:
        out.append([])
    return out + [[(piece, "dim")] for note in document.notes for piece in _wrapped(note, width)]


def _title(document: Document, width: int) -> list[Line]:
    if len(document.title) + len(document.aside) + 3 <= width:
        return [[(document.title, "head"), (f"   {document.aside}" if document.aside else "", "")]]
    return [
        [(shortened(document.title, width), "head")],
        *([(piece, "")] for piece in _wrapped(document.aside, width)),
    ]


def part_lines(part: Part, width: int, every: bool = True) -> list[Line]:
    """One part with its title; nothing where a terminal has nothing to show."""
    if isinstance(part, Facts):
        drawn = _facts(part, width)
    elif isinstance(part, Table):
        drawn = table_lines(part, width) if part.rows else []
    elif isinstance(part, Remarks):
        drawn = remark_lines(part.remarks, width, every=every)
        drawn = drawn or ([[(part.none, "")]] if part.none else [])
    elif isinstance(part, Chart) and part.lines is not None:
        drawn = list(part.lines(width))
    else:
        drawn = []
    title: list[Line] = [[(part.title, "head")]] if part.title and drawn else []
    return [*title, *drawn]


def _facts(facts: Facts, width: int) -> list[Line]:
    """Names and values behind each other, as many as fit on a line."""
    out: list[Line] = []
    used = 0
    for name, value in facts.rows:
        long = len(name) + len(value) + 1
        begins = not out or used + 3 + long > width or name in facts.breaks
        if begins:
            out.append([])
            used = 0
        out[-1] += [("" if begins else "   ", ""), (f"{name} ", "dim"), (value, "")]
        used += long if begins else 3 + long
    return [piece for line in out for piece in folded(line, width)]


def table_lines(table: Table, width: int) -> list[Line]:
    """The table with its notes: numbers to the right, names shortened where the window asks for it."""
    grid = [table.head, *table.rows] if table.head else list(table.rows)
    wide = [max(len(row[c]) for row in grid) for c in range(len(grid[0]))]
    kept = list(range(len(wide)))
    for name in table.drop:
        if _NAME + sum(wide[c] + 2 for c in kept[1:]) > width:
            kept.remove(table.head.index(name))
    out: list[Line] = []
    for block in _blocks(kept, wide, width):
        first = max(min(wide[0], width - sum(wide[c] + 2 for c in block)), min(_NAME, wide[0]))
        out += [[]] if out else []
        for at, row in enumerate(grid, -1 if table.head else 0):
            style = "dim" if at < 0 or at in table.dim else "step" if at in table.strong else ""
            cells = [f"{row[c]:<{wide[c]}}" if c in table.left else f"{row[c]:>{wide[c]}}" for c in block]
            out.append([("  ".join([f"{shortened(row[0], first):<{first}}", *cells]), style)])
    notes = [piece for note in table.notes for piece in _wrapped(note, width - 2)]
    return [*out, *([(f"  {note}", "dim")] for note in notes)]


def _blocks(kept: Sequence[int], wide: Sequence[int], width: int) -> list[list[int]]:
    """The columns behind the first, in as many blocks below each other as the window asks for."""
    name = min(wide[0], max(_NAME, width - sum(wide[c] + 2 for c in kept[1:])))
    out: list[list[int]] = [[]]
    used = name
    for column in kept[1:]:
        if out[-1] and used + wide[column] + 2 > width:
            out.append([])
            used = name
        out[-1].append(column)
        used += wide[column] + 2
    return out


def remark_lines(remarks: Sequence[Remark], width: int, *, every: bool = True) -> list[Line]:
    """Remarks, the most severe first. Not every: of many with one label the first is written out, the rest named."""
    out: list[Line] = []
    ranked = sorted(remarks, key=lambda r: (_RANK.get(r.level, 2), r.label))
    for (level, label), group in groupby(ranked, key=lambda r: (r.level, r.label)):
        same = list(group)
        shown = same if every or level == "error" or len(same) < 3 else same[:1]
        lead = f"{label} {level:<7} " if label else ""
        for remark in shown:
            for at, piece in enumerate(_wrapped(remark.text, width - len(lead))):
                out.append([(" " * len(lead) if at else lead, level if level != "info" else "dim"), (piece, "")])
        if len(same) > len(shown):
            out.append([(" " * len(lead), ""), (_likewise(same, width - len(lead)), "dim")])
    return out


def _likewise(same: Sequence[Remark], width: int) -> str:
    """The places that are not written out, as many as a line holds."""
    rest = [remark.about for remark in same[1:]]
    alike = len({remark.text.removeprefix(remark.about) for remark in same}) == 1
    lead = f"likewise {len(rest)} more" if alike else f"{len(rest)} more, each with its own figures"
    whole = f"{lead}: {', '.join(rest)}"
    return whole if len(whole) <= width else f"{whole[: max(width - 1, 0)]}…"


def folded(line: Line, width: int) -> list[Line]:
    """A line wider than the window as several, broken at spaces; what goes on stands two columns further in.

    >>> [joined([piece]) for piece in folded([("why ", "dim"), ("positions mix here", "")], 12)]
    ['why', '  positions', '  mix here']
    """
    plain = "".join(piece for piece, _ in line).rstrip()
    indent = len(plain) - len(plain.lstrip())
    cuts, begin, room = [0], 0, width
    while len(plain) - begin > room:
        cut = plain.rfind(" ", begin + (indent if begin == 0 else 0) + 1, begin + room + 1)
        cut = plain.find(" ", begin + room) if cut < 0 else cut  # a word that is wider stays whole
        if cut < 0:
            break
        begin = cut + len(plain[cut:]) - len(plain[cut:].lstrip())
        cuts.append(begin)
        room = max(width - indent - 2, 16)
    out: list[Line] = []
    for first, last in zip(cuts, [*cuts[1:], len(plain)], strict=True):
        out.append([(" " * (indent + 2), "")] if first else [])
        at = 0
        for piece, style in line:
            part = piece[max(first - at, 0) : max(last - at, 0)]
            out[-1] += [(part, style)] if part else []
            at += len(piece)
    return out


def _wrapped(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(sentence, max(width, 16), break_long_words=False, break_on_hyphens=False) or [""]
