"""A study as one HTML page without scripts: the answer first, the plot, every plan, how it was found."""

from __future__ import annotations

import base64
from html import escape

from stridewise.study.plot import picture
from stridewise.study.result import HEADINGS, SearchResult, cells, notes

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 74rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0; }
th, td { padding: 0.25rem 0.8rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
tr.chosen { background: #009e7322; font-weight: 600; }
.scroll { overflow-x: auto; }
.note { font-size: 0.9rem; opacity: 0.85; }
.answer { border-left: 4px solid #009e73; padding: 0.2rem 1rem; }
img { max-width: 100%; height: auto; background: white; }
pre { padding: 0.8rem; background: #8881; overflow-x: auto; }
"""
_WORDS = {
    "better": "is more accurate than the default at equal or lower cost",
    "as good and cheaper": "is as accurate as the default, to within the margin, at lower cost",
    "not settled": "stays: nothing is surely better",
    "none": "stays: there is nothing to compare with",
}


def page(result: SearchResult) -> str:
    """The page as text; every name in it is escaped, the plot is embedded."""
    title = escape(f"Strides for {result.model}")
    said = f"{result.verdict.plan} {_WORDS[result.verdict.kind]}."
    state = "" if result.state == "finished" else "<p><strong>Interrupted: the same command goes on.</strong></p>"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in result.verdict.reasons)
    size = "×".join(map(str, result.input[1:]))
    plot = base64.b64encode(picture(result)).decode()
    parts = [
        f"<h1>{title}</h1>",
        f"<p>Which strides suit {escape(result.model)} for {escape(result.task)} on {escape(result.data)}, "
        f"pictures of {size} pixels.</p>",
        state,
        f'<div class="answer"><p><strong>{escape(said[0].upper() + said[1:])}</strong></p><ul>{reasons}</ul></div>',
        f'<img alt="Accuracy against multiply-adds, and the cost front" src="data:image/png;base64,{plot}">',
        "<h2>Every plan of the shortlist</h2>",
        _table(result),
        *(f'<p class="note">{escape(note)}</p>' for note in notes(result)),
        "<h2>The recommended plan</h2>",
        f"<pre>{escape(result.plan.to_toml())}</pre>",
        "<p>Saved as plan.toml beside this page. To use it: <code>sw.apply(model, sw.Plan.read('plan.toml'))</code></p>"
        if result.plan
        else "<p>It changes nothing: the network keeps the strides it has.</p>",
        "<h2>How it was found</h2>",
        _method(result),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _table(result: SearchResult) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in HEADINGS)
    rows = []
    for row in result.rows:
        mark = ' class="chosen"' if row.candidate.name == result.verdict.plan else ""
        rows.append(f"<tr{mark}>{''.join(f'<td>{escape(c)}</td>' for c in cells(row, result.default))}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _method(result: SearchResult) -> str:
    schedule = result.schedule
    rungs = [
        f"{r.plans} plans, {r.budget} epoch{'s' if r.budget > 1 else ''} each, "
        + ("chosen by what the trainings before say about plans like them" if n else "far from each other")
        for n, r in enumerate(schedule.rungs)
    ]
    steps = [
        f"{len(result.front)} plans lie on the exact front of multiply-adds, activations and peak memory"
        + (f" within {_limits(result)}." if _limits(result) else "."),
        f"{len(result.rows)} plans, far from each other, make the shortlist, the default always among them.",
        *(f"Rung {n}: {text}." for n, text in enumerate(rungs, 1)),
        f"The finalists: {schedule.budget} epochs with {schedule.seeds} fresh seeds each, the default always among "
        "them. Every training starts from random weights.",
        f"All trainings together took {result.seconds:.0f} seconds of work (measured).",
    ]
    return f"<ol>{''.join(f'<li>{escape(step)}</li>' for step in steps)}</ol>"


def _limits(result: SearchResult) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.limits.items() if value is not None)
