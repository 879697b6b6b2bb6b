"""What was left out of a data set, or changed, while it was read: counted, with the first few names."""

from dataclasses import dataclass

NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """`count` things of one kind (`what`: "picture", "box", "mask") left out for one reason; `names`: the first few."""

    what: str
    reason: str
    count: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.names) else ""
        return f"{self.count:,} {_plural(self.what, self.count)}: {self.reason} ({', '.join(self.names)}{more})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What reading left out (`dropped`) and what it changed or noticed (`notes`); `found` and `kept` count pictures."""

    found: int
    kept: int
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"left out: {entry}" for entry in self.dropped] + [f"note: {note}" for note in self.notes]
        return "\n".join([f"{self.kept:,} of {self.found:,} pictures used", *lines])

    def to_json(self) -> dict[str, object]:
        """Plain values: found, kept, dropped and notes."""
        dropped = [{"what": d.what, "reason": d.reason, "count": d.count, "names": list(d.names)} for d in self.dropped]
        return {"found": self.found, "kept": self.kept, "dropped": dropped, "notes": list(self.notes)}


class Tally:
    """Counts what a reader meets. Mutable on purpose: a reader hands it down and asks for the `report` at the end."""

    def __init__(self, earlier: Report | None = None) -> None:
        self.found = earlier.found if earlier else 0
        self.kept = earlier.kept if earlier else 0
        self.deep: set[str] = set()
        """Names of the pictures of more than 8 bits a channel."""
        self._notes = list(earlier.notes) if earlier else []
        self._dropped: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self._changed: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        for entry in earlier.dropped if earlier else ():
            self._dropped[entry.what, entry.reason] = (entry.count, entry.names)

    def drop(self, what: str, reason: str, name: str, count: int = 1) -> None:
        """Count `count` things left out of the place called `name`."""
        _count(self._dropped, (what, reason), name, count)

    def change(self, what: str, reason: str, name: str, count: int = 1) -> None:
        """Count `count` things that were kept, but changed or remarkable."""
        _count(self._changed, (what, reason), name, count)

    def note(self, text: str) -> None:
        """Say `text` once."""
        if text not in self._notes:
            self._notes.append(text)

    def report(self) -> Report:
        """The record of everything counted so far."""
        dropped = tuple(
            Dropped(what=what, reason=reason, count=count, names=names)
            for (what, reason), (count, names) in self._dropped.items()
        )
        changed = tuple(
            str(Dropped(what=what, reason=reason, count=count, names=names))
            for (what, reason), (count, names) in self._changed.items()
        )
        return Report(found=self.found, kept=self.kept, dropped=dropped, notes=(*self._notes, *changed))


def _count(
    table: dict[tuple[str, str], tuple[int, tuple[str, ...]]], key: tuple[str, str], name: str, count: int
) -> None:
    before, names = table.get(key, (0, ()))
    if len(names) < NAMES_SHOWN and name not in names:
        names = (*names, name)
    table[key] = (before + count, names)


def _plural(what: str, count: int) -> str:
    if count == 1:
        return what
    return f"{what}es" if what.endswith("x") else f"{what}s"
