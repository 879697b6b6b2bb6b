"""Documents as HTML: one element for a notebook, or a page that needs no other file. Every text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from stridewise.report.chart import svg
from stridewise.report.document import Chart, Document, Facts, Image, Part, Remark, Remarks, Table, Terms

STYLE = """
.stridewise{font:15px/1.5 system-ui,sans-serif;color-scheme:light dark;max-width:75rem;margin:auto;padding:1rem}
.stridewise h1{font-size:1.4rem;overflow-wrap:anywhere}.stridewise h2{font-size:1.1rem;margin:1.5rem 0 .5rem}
.stridewise table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.stridewise th,.stridewise td{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #8884}
.stridewise th:first-child,.stridewise td:first-child,.stridewise .left{text-align:left}
.stridewise tr.strong{font-weight:600}.stridewise tr.dim{opacity:.7}
.stridewise .note{font-size:.9rem;opacity:.8}
.stridewise .warning::before{content:"\\26A0  "}.stridewise .error{font-weight:600}
.stridewise .wide{overflow-x:auto}.stridewise figure{margin:0}
.stridewise img,.stridewise svg{max-width:100%;height:auto}
.stridewise a{color:LinkText}
@media(max-width:480px){.stridewise :is(table,tbody,td){display:block}
.stridewise .wide thead{position:absolute;clip-path:inset(50%)}
.stridewise tr{display:flex;flex-wrap:wrap;gap:0 .9rem;padding:.25rem 0;border-bottom:1px solid #8884}
.stridewise .wide :is(th,td){border:0;padding:.1rem 0;text-align:left}.stridewise td:first-child{flex-basis:100%}
.stridewise figure{overflow-x:auto}.stridewise figure svg{min-width:34rem}
.stridewise td[data-head]::before{content:attr(data-head) " ";opacity:.7}.stridewise td:empty{display:none}}
""".strip()
_BARE = "body{margin:0;background:Canvas;color:CanvasText}:root{color-scheme:light dark}"


def fragment(document: Document) -> str:
    """The document as one element."""
    aside = f" <small>{escape(document.aside)}</small>" if document.aside else ""
    parts = [f"<style>{STYLE}</style>"]
    parts += [f"<h1>{escape(document.title)}{aside}</h1>"] if document.title or aside else []
    parts += [f"<p>{escape(line)}</p>" for line in document.lead]
    parts += [part_html(part) for part in document.parts]
    parts += [f'<p class="note">{escape(note)}</p>' for note in document.notes]
    return f'<div class="stridewise">{"".join(parts)}</div>'


def page(document: Document) -> str:
    """The document as a page that opens from a file; nothing in it runs or is fetched."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(document.title)} · Stridewise</title><style>{_BARE}</style></head>\n"
        f"<body>{fragment(document)}</body></html>\n"
    )


def part_html(part: Part) -> str:
    """One part with its title."""
    if isinstance(part, Remarks) and not part.remarks and not part.none:
        return ""
    title = f"<h2>{escape(part.title)}</h2>" if part.title else ""
    if isinstance(part, Facts):
        return title + _rows(Table(title="", head=(), rows=part.rows))
    if isinstance(part, Table):
        notes = "".join(f'<p class="note">{escape(note)}</p>' for note in part.notes)
        return title + _rows(part) + notes
    if isinstance(part, Remarks):
        return title + _remarks(part)
    if isinstance(part, Terms):
        named = [f'<dt id="{escape(t.name)}"><b>{escape(t.name)}</b></dt><dd>{escape(t.text)}</dd>' for t in part.terms]
        return f"{title}<dl>{''.join(named)}</dl>" if named else ""
    return f"<figure>{title}{_picture(part)}</figure>"


def _rows(table: Table) -> str:
    def cell(tag: str, at: int, said: str) -> str:
        # What follows the name says its head, which a narrow window writes before it.
        head = table.head[at] if tag == "td" and 0 < at < len(table.head) else ""
        told = f' data-head="{escape(head)}"' if head else ""
        return f"<{tag}{' class=left' if at in table.left else ''}{told}>{escape(said)}</{tag.split()[0]}>"

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(cell(tag, at, said) for at, said in enumerate(cells))

    def style(at: int) -> str:
        return " class=strong" if at in table.strong else " class=dim" if at in table.dim else ""

    heads = f"<thead><tr>{line('th scope=col', table.head)}</tr></thead>" if table.head else ""
    body = "".join(f"<tr{style(at)}>{line('td', row)}</tr>" for at, row in enumerate(table.rows))
    return f'<div class="wide"><table>{heads}<tbody>{body}</tbody></table></div>'


def _remarks(part: Remarks) -> str:
    if not part.remarks:
        return f"<p>{escape(part.none)}</p>" if part.none else ""
    items = [f'<li class="{escape(r.level)}">{_label(r)}{escape(r.text)}</li>' for r in part.remarks]
    return f"<ul>{''.join(items)}</ul>"


def _label(remark: Remark) -> str:
    if not remark.label:
        return ""
    name = f"<b>{escape(remark.label)}</b>"
    linked = f'<a href="{escape(remark.link)}">{name}</a>' if remark.link else name
    return f"{linked} {escape(remark.level)}: "


def _picture(part: Chart | Image) -> str:
    if isinstance(part, Chart):
        return svg(part)
    data = base64.b64encode(part.png()).decode("ascii")
    return f'<img alt="{escape(part.words)}" src="data:image/png;base64,{data}">'
