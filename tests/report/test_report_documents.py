"""Documents drawn: every tag closed, every text escaped, no line too wide, nothing lost; values made plain."""

import json
from fractions import Fraction
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from stridewise.report.chart import stacked
from stridewise.report.document import (
    Chart,
    Document,
    Facts,
    Image,
    Remark,
    Remarks,
    Scale,
    Series,
    Table,
    Term,
    Terms,
)
from stridewise.report.html import fragment, page
from stridewise.report.markdown import markdown
from stridewise.report.terminal import text
from stridewise.report.values import of_fields, plain

NASTY = "<script>alert('&')</script>"


class Checker(HTMLParser):
    """Which tags were opened, and which are open still."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def nasty(lines=None) -> Document:
    """A document of every part, each of texts that are no markup."""
    scale = Scale(label=NASTY, ticks=((0.0, NASTY), (1.0, NASTY)))
    chart = Chart(
        title=NASTY,
        words=NASTY,
        x=Scale(label=NASTY),
        y=scale,
        series=(
            Series(points=((0.0, 0.0), (1.0, 1.0)), labels=(NASTY, ""), name=NASTY),
            Series(points=((0.5, 0.0),), kind="bars", name=NASTY),
        ),
        lines=lines,
    )
    table = Table(
        title=NASTY, head=("a", NASTY), rows=((NASTY, "1"), ("b", "2")), notes=(NASTY,), strong=frozenset({1})
    )
    return Document(
        title=NASTY,
        aside=NASTY,
        lead=(NASTY,),
        parts=(
            Facts(title=NASTY, rows=((NASTY, NASTY),)),
            table,
            Table(title="", head=(), rows=()),
            Remarks(title=NASTY, remarks=(Remark(text=NASTY, label=NASTY, level=NASTY, link=NASTY),)),
            Terms(title=NASTY, terms=(Term(name=NASTY, text=NASTY),)),
            chart,
            Image(title=NASTY, words=NASTY, png=lambda: b"png"),
        ),
        notes=(NASTY,),
    )


@pytest.mark.parametrize("draw", [fragment, page])
def test_html_is_whole_and_escaped(draw) -> None:
    text = draw(nasty())
    found = Checker()
    found.feed(text)
    assert not found.open
    assert "script" not in found.seen
    assert found.text.count(NASTY) >= 24
    assert text.count("class=strong") == 1


def test_an_svg_of_its_own_is_xml_and_escaped() -> None:
    chart = next(part for part in nasty().parts if isinstance(part, Chart))
    for drawn in (stacked([chart]), stacked([chart, chart])):
        tree = ElementTree.fromstring(drawn)
        assert "".join(tree.itertext()).count(NASTY) >= 8
        assert not [e for e in tree.iter() if e.tag.endswith("script")]
        assert "prefers-color-scheme:dark" in drawn


def test_markdown_shows_texts_as_they_are() -> None:
    text = markdown(nasty())
    assert NASTY not in text
    assert text.count("\\<script\\>") >= 12
    assert "| b | 2 |" in text
    assert text.startswith("# ")


def test_a_table_too_wide_continues_below_and_loses_no_cell() -> None:
    heads = tuple(f"column{n}" for n in range(9))
    table = Table(title="", head=("", *heads), rows=(("a name", *map(str, range(100, 109))),))
    drawn = text(Document(title="t", parts=(table,)), 40)
    assert max(map(len, drawn.splitlines())) <= 40
    assert all(word in drawn for word in (*heads, *map(str, range(100, 109))))
    assert drawn.count("a name") == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Fraction(3, 2), "3/2"),
        (Fraction(4, 2), 2),
        (np.float64(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        ({"a": (1, None)}, {"a": [1, None]}),
        (Term(name="a", text="b"), {"name": "a", "text": "b"}),
        (True, True),
    ],
)
def test_plain_values(value, shown) -> None:
    assert plain(value) == shown
    assert json.loads(json.dumps(plain(value))) == shown


def test_what_has_no_plain_form_is_told() -> None:
    with pytest.raises(TypeError, match="object has no plain form"):
        plain(object())


def test_fields_keep_their_order_and_others_take_their_places() -> None:
    assert list(of_fields(Term(name="a", text="b"), name="c", more=1).items()) == [
        ("name", "c"),
        ("text", "b"),
        ("more", 1),
    ]
    assert of_fields(Term(name="a", text="b"), "text") == {"name": "a"}
