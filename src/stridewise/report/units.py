"""Numbers as people read them: sizes, counts, bytes, shares."""

from __future__ import annotations

from collections.abc import Sequence


def by(values: Sequence[object], empty: str = "–") -> str:
    """An entry an axis, "224×224"; None is written as a dash."""
    return "×".join("–" if v is None else str(v) for v in values) or empty


def once(values: Sequence[object], empty: str = "–") -> str:
    """One entry where all axes agree, else all of them: "2" or "1×2"."""
    return by(values[:1] if len(set(values)) == 1 else values, empty)


def count(number: float) -> str:
    """Three digits and a unit: 4.09 G, 118 M, 9.41 k, 64."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{_three(number / size)} {unit}"
    return f"{number:.0f}"


def binary(number: float) -> str:
    """Bytes with a binary unit: 9.19 MiB."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{_three(number / size)} {unit}"
    return f"{number:.0f} B"


def _three(number: float) -> str:
    return f"{number:.2f}" if number < 9.995 else f"{number:.1f}" if number < 99.95 else f"{number:.0f}"


def change(now: float, before: float) -> str:
    """How much more or less: "+30 %", "−12 %", "×4.0" from doubling on; nothing where it is the same."""
    if now == before or not before:
        return ""
    ratio = now / before
    return f"×{ratio:.1f}" if ratio >= 2 else f"{'+' if ratio > 1 else '−'}{abs(ratio - 1):.1%}".replace("%", " %")


def shortened(text: str, width: int) -> str:
    """The text in at most `width` columns, its middle left out."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def counted(number: int, what: str) -> str:
    """A number with its word: "1 epoch", "1,200 pictures", "2 classes"."""
    many = f"{what}es" if what.endswith(("s", "x")) else f"{what}s"
    return f"{number:,} {what if number == 1 else many}"
