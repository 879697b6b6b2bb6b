"""A fit as one HTML page without scripts: tables, object sizes drawn against strides, what was lost and left out."""

import math
from html import escape

from stridewise.fit.result import FitResult, Sizes
from stridewise.fit.strides import Stride, singles, written
from stridewise.fit.tables import Table, headline, lost_lines, size_line, tables, verdict

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0; }
th, td { padding: 0.2rem 0.8rem; text-align: right; border-bottom: 1px solid #8884; }
td { font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
.note { font-size: 0.9rem; opacity: 0.8; }
svg { max-width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 260, 50, 40
_BANDS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377")


def as_html(result: FitResult) -> str:
    """The page as text; every name in it is escaped."""
    parts = [f"<h1>Strides for {escape(result.data)}</h1>", f"<p>{escape(headline(result))}</p>"]
    parts += [
        f"<p><strong>{escape(_sentence(verdict(result)))}</strong></p>",
        *(_table(table) for table in tables(result)),
    ]
    if result.sizes:
        line = size_line(result) or ""
        caption = f"{line}. From the band of a stride on, a square object always contains a cell centre of that stride."
        strides = singles([row.strides for row in result.rows])
        parts += [
            "<h2>Object sizes</h2>",
            drawing(result.sizes, strides),
            f'<p class="note">{escape(_sentence(caption))}</p>',
        ]
    parts += _listing("Pictures that lose objects", lost_lines(result, names=5))
    left_out = str(result.report).splitlines() if result.report.dropped or result.report.notes else []
    parts += _listing("What was left out", tuple(left_out))
    title = escape(f"Strides for {result.data}")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def drawing(sizes: Sizes, strides: tuple[Stride, ...]) -> str:
    """The histogram of object sizes as SVG, on a logarithmic axis; bands show from which size on a stride sees objects.

    The band of stride s begins at size s: from there on a square object always contains a cell centre.
    """
    marks = sorted({math.sqrt(high * wide): written(((high, wide),)) for high, wide in strides}.items())
    low = min(sizes.edges[0], marks[0][0]) / 1.2
    high = max(sizes.edges[-1], marks[-1][0]) * 1.2
    plot_width, plot_height = _WIDTH - _LEFT - 10, _HEIGHT - _BOTTOM - 20

    def across(size: float) -> float:
        return _LEFT + plot_width * math.log(size / low) / math.log(high / low)

    parts = []
    for place, (begin, name) in enumerate(marks):
        end = marks[place + 1][0] if place + 1 < len(marks) else high
        colour = _BANDS[place % len(_BANDS)]
        box = f'x="{across(begin):.1f}" y="20" width="{across(end) - across(begin):.1f}" height="{plot_height}"'
        parts.append(f'<rect {box} fill="{colour}" fill-opacity="0.18"/>')
        parts.append(f'<text x="{across(begin) + 3:.1f}" y="14">stride {escape(name)}</text>')
    top = max(sizes.counts)
    for begin, end, count in zip(sizes.edges, sizes.edges[1:], sizes.counts, strict=False):
        tall = plot_height * count / top
        box = f'x="{across(begin):.1f}" y="{20 + plot_height - tall:.1f}" width="{across(end) - across(begin) - 1:.1f}"'
        text = f"{count:,} objects of {begin:.1f} to {end:.1f} pixels"
        parts.append(
            f'<rect {box} height="{tall:.1f}" fill="currentColor" fill-opacity="0.7"><title>{text}</title></rect>'
        )
    parts += [
        _tick(across(2.0**power), 2**power) for power in range(math.ceil(math.log2(low)), int(math.log2(high)) + 1)
    ]
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">object size in pixels (root of the area)</text>')
    parts.append(f'<text x="4" y="30">{top:,}</text><text x="4" y="{20 + plot_height}">0</text>')
    label = "Histogram of object sizes; coloured bands begin at each stride"
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _tick(across: float, value: float) -> str:
    return f'<text x="{across:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    title = f"<h2>{escape(_sentence(table.title))}</h2>"
    return f'{title}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}'


def _listing(title: str, lines: tuple[str, ...]) -> list[str]:
    if not lines:
        return []
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return [f"<h2>{title}</h2><ul>{items}</ul>"]
