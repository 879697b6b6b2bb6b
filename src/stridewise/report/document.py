"""What a result has to say, before anybody draws it: title, facts, tables, remarks, charts, images.

Results make documents; `terminal`, `html`, `markdown`, `chart` and `figure` draw them. Nothing here knows a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of one line with their styles: "", head, dim, step, warning, error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names with values, a few words each. breaks: names that begin a new line on a terminal."""

    rows: tuple[tuple[str, str], ...]
    title: str = ""
    breaks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Column heads and rows of text; the first cell of a row is its name. notes go below.

    strong, dim: rows to stress, rows to pale. left: columns of words, which begin at the left. drop: columns that a
    window too narrow for all goes without, in this order; without them columns go below each other in blocks.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    strong: frozenset[int] = frozenset()
    dim: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset()
    drop: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the page takes them."""
        return {
            "title": self.title,
            "head": list(self.head),
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
            "strong": sorted(self.strong),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing to know: its label ("SW106") and where that is explained, its level, the text, what it is about."""

    text: str
    label: str = ""
    level: str = "info"
    about: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarks:
    """Remarks under a title, the most severe first; none: what is said where there are none."""

    remarks: tuple[Remark, ...]
    title: str = ""
    none: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A word that remarks link to (`#NAME`), explained."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Words explained below a page; a terminal has a command for each."""

    terms: tuple[Term, ...]
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One axis of a chart. ticks: (value, text), else round numbers; share: values are shares of 1, written in %."""

    label: str = ""
    ticks: tuple[tuple[float, str], ...] = ()
    share: bool = False
    reverse: bool = False
    zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points (x, y) of one kind, in order. labels: a text a point, or none at all; spread: (low, high) of y a point,
    None where unknown; level: "plain", "strong" (what is recommended), "base" (what is there now) or "pale"."""

    points: tuple[tuple[float, float], ...]
    kind: Literal["line", "points", "steps", "bars"] = "line"
    name: str = ""
    labels: tuple[str, ...] = ()
    spread: tuple[tuple[float, float] | None, ...] = ()
    level: Literal["plain", "strong", "base", "pale"] = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Series over two scales. `words` says what is to be seen, for those who do not see it; lines: how a terminal of so
    many columns shows it, nothing where its figures stand in a table anyway. A bar is a point (value, row)."""

    title: str
    words: str
    x: Scale
    y: Scale
    series: tuple[Series, ...]
    lines: Callable[[int], Sequence[Line]] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A raster picture, made when it is drawn: PNG bytes."""

    title: str
    words: str
    png: Callable[[], bytes] = field(repr=False)


Part: TypeAlias = Facts | Table | Remarks | Terms | Chart | Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole result. aside: a few words beside the title; lead: sentences below it; notes: sentences at the end.

    quiet: plain text leaves the title out, the reader knows what was asked.
    """

    title: str
    aside: str = ""
    lead: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    quiet: bool = False

    @property
    def pictures(self) -> tuple[Chart | Image, ...]:
        """The parts that are pictures."""
        return tuple(part for part in self.parts if isinstance(part, Chart | Image))


def bars(title: str, rows: Sequence[tuple[str, float]], words: str = "") -> Chart:
    """Shares of 1 as bars, one below the other."""
    ticks = tuple((float(at), name) for at, (name, _) in enumerate(rows))
    said = words or f"{title}: " + ", ".join(f"{name} {share:.1%}" for name, share in rows)
    return Chart(
        title=title,
        words=said,
        x=Scale(share=True, zero=True),
        y=Scale(ticks=ticks, reverse=True),
        series=(Series(kind="bars", points=tuple((share, float(at)) for at, (_, share) in enumerate(rows))),),
    )
