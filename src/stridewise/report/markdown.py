"""Documents as Markdown (GitHub's): for issues, pull requests and notes. Pictures are left to their words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stridewise.report.document import Document, Facts, Part, Remark, Remarks, Table, Terms

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
_LINK = re.compile(r"[<>\s]")  # what would end an address


def markdown(document: Document) -> str:
    """The document as Markdown text."""
    out = [f"# {_plain(document.title)}"] if document.title else []
    out += [_plain(line) for line in (document.aside, *document.lead) if line]
    for part in document.parts:
        out += _part(part)
    out += [f"> {_plain(note)}" for note in document.notes]
    return "\n\n".join(out) + "\n"


def _part(part: Part) -> list[str]:
    title = [f"## {_plain(part.title)}"] if part.title else []
    if isinstance(part, Facts):
        return [*title, "\n".join(f"* {_plain(name)}: {_plain(value)}" for name, value in part.rows)]
    if isinstance(part, Table):
        notes = [_plain(note) for note in part.notes]
        return [*title, _table(part), *notes] if part.rows else []
    if isinstance(part, Remarks):
        rows = "\n".join(_remark(remark) for remark in part.remarks) or _plain(part.none)
        return [*title, rows] if rows else []
    if isinstance(part, Terms):
        named = "\n".join(f"* **{_plain(term.name)}**: {_plain(term.text)}" for term in part.terms)
        return [*title, named] if named else []
    return [*title, f"*{_plain(part.words)}*"]


def _remark(remark: Remark) -> str:
    linked = remark.link and not remark.link.startswith("#")
    name = _plain(remark.label)
    address = _LINK.sub("%20", remark.link)
    label = f"[{name}](<{address}>)" if linked else f"**{name}**"
    return f"* {label} {_plain(remark.level)}: {_plain(remark.text)}" if remark.label else f"* {_plain(remark.text)}"


def _table(table: Table) -> str:
    head = table.head or ("",) * len(table.rows[0])
    sides = [":--" if at == 0 or at in table.left else "--:" for at in range(len(head))]
    return "\n".join(_row(cells) for cells in (_cells(head), sides, *map(_cells, table.rows)))


def _cells(row: Sequence[str]) -> list[str]:
    return [_plain(cell.strip()) for cell in row]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text in which nothing is taken for markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
