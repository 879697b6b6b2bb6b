"""Draws the rooms of src/stridewise and who imports whom, from the imports themselves: python docs/tools/rooms.py."""

import ast
import re
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "stridewise"
OUT = ROOT / "docs" / "img" / "rooms.svg"
EVERYWHERE = {"errors", "files", "records", "report", "shown", "rules", "findings", "schemas", "lessons"}
WIDE, TALL, GAP, LEVEL = 96, 30, 16, 76


def imports() -> dict[str, set[str]]:
    """Room -> rooms it imports, the ones that everybody may use left out."""
    rooms: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        parts = file.relative_to(SOURCE).parts
        room = parts[0].removesuffix(".py")
        if room.startswith("__") or room in EVERYWHERE:
            continue
        rooms.setdefault(room, set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if match := re.match(r"stridewise\.(\w+)", name):
                    rooms[room].add(match[1])
    return {room: (used & rooms.keys()) - {room} for room, used in rooms.items()}


def levels(rooms: dict[str, set[str]]) -> dict[str, int]:
    """How many rooms lie below each, along the longest chain."""
    found: dict[str, int] = {}

    def level(room: str) -> int:
        if room not in found:
            found[room] = 1 + max(map(level, rooms[room]), default=-1)
        return found[room]

    return {room: level(room) for room in rooms}


def reduced(rooms: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no chain of other arrows says already."""

    def below(room: str) -> set[str]:
        return rooms[room].union(*map(below, rooms[room])) if rooms[room] else set()

    return {room: used - set().union(*map(below, used)) if used else set() for room, used in rooms.items()}


def svg() -> str:
    """The picture; rooms that import more stand higher."""
    rooms = imports()
    level = levels(rooms)
    rows = [sorted(room for room in rooms if level[room] == k) for k in range(max(level.values()) + 1)]
    wide = max(len(row) for row in rows) * (WIDE + GAP) + GAP
    tall = len(rows) * LEVEL
    places = {}
    for k, row in enumerate(rows):
        start = (wide - len(row) * (WIDE + GAP) + GAP) / 2
        places |= {room: (start + at * (WIDE + GAP), tall - (k + 1) * LEVEL + 24) for at, room in enumerate(row)}
    lines = []
    for room, used in sorted(reduced(rooms).items()):
        x, y = places[room]
        for other in sorted(used):
            to, below = places[other]
            lines.append(
                f'<path d="M{x + WIDE / 2:.0f},{y + TALL} C{x + WIDE / 2:.0f},{y + TALL + 30} '
                f'{to + WIDE / 2:.0f},{below - 30} {to + WIDE / 2:.0f},{below - 3}" marker-end="url(#tip)"/>'
            )
    boxes = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDE}" height="{TALL}" rx="5"/>'
        f'<text x="{x + WIDE / 2:.0f}" y="{y + 20:.0f}">{escape(room)}</text>'
        for room, (x, y) in places.items()
    ]
    words = "; ".join(f"{room} imports {', '.join(sorted(used)) or 'none'}" for room, used in sorted(rooms.items()))
    style = (
        "svg{font:13px system-ui,sans-serif}path{fill:none;stroke:#7a828e}rect{fill:#eef3f8;stroke:#0072b2}"
        "text{text-anchor:middle;fill:#1c2026}.paper{fill:#fff;stroke:none}"
        "@media (prefers-color-scheme:dark){rect{fill:#1d2733}text{fill:#e6e8eb}.paper{fill:#14171c}}"
    )
    tip = '<marker id="tip" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="7" markerHeight="7" orient="auto">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" role="img"><title>Rooms</title>'
        f"<desc>{escape(words)}</desc><style>{style}</style><defs>{tip}"
        '<path d="M0,0 L6,3 L0,6 z" style="fill:#7a828e;stroke:none"/></marker></defs>'
        f'<rect class="paper" width="{wide}" height="{tall}"/>{"".join(lines)}{"".join(boxes)}</svg>\n'
    )


if __name__ == "__main__":
    OUT.write_text(svg(), encoding="utf-8")
