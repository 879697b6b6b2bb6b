"""Tables as HTML: every tag closed, every cell escaped, rows stressed where they are to be."""

from html.parser import HTMLParser

from stridewise.report.tables import Table, fragment

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
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_fragment_is_whole_and_escaped() -> None:
    table = Table(
        title=NASTY, head=("a", NASTY), rows=((NASTY, "1"), ("b", "2")), notes=(NASTY,), strong=frozenset({1})
    )
    text = fragment(NASTY, [NASTY], [table, Table(title="", head=(), rows=())], [NASTY])
    found = Checker()
    found.feed(text)
    assert not found.open
    assert "script" not in found.seen
    assert found.text.count(NASTY) == 7
    assert text.count("class=strong") == 1
    assert table.to_json()["strong"] == [1]
