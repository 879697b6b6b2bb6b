"""How every result shows itself: as text, HTML, Markdown, JSON, table and picture, all from one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stridewise.errors import MissingExtraError, UsageError
from stridewise.report import html, markdown, terminal
from stridewise.report.assets import whole_page
from stridewise.report.document import Chart, Document


class Shown:
    """A result. It says what there is to say in `document()`, and its plain values in `to_json()`."""

    __slots__ = ()

    def document(self) -> Document:
        """What the result has to say; unless said better, the lines of its own text."""
        return Document(title=type(self).__name__, lead=tuple(str(self).splitlines()), quiet=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with their schema's name."""
        raise NotImplementedError(f"{type(self).__name__} has no JSON")

    def __str__(self) -> str:
        if type(self).document is Shown.document:
            return repr(self)
        return terminal.text(self.document())

    def to_markdown(self) -> str:
        """The document as Markdown."""
        return markdown.markdown(self.document())

    def to_html(self) -> str:
        """One page that needs no other file, drawn by the same code as `stridewise serve` where the page knows it."""
        data, document = self._page(), self.document()
        return html.page(document) if data is None else whole_page(document.title, data, html.fragment(document))

    def _page(self) -> Mapping[str, Any] | None:
        """What the page's own code draws: {"kind", "report"}; None where the document is all there is."""
        return None

    def _repr_html_(self) -> str:
        return html.fragment(self.document())

    def to_svg(self) -> str:
        """The result's charts as one SVG file. Raises: UsageError where it has none."""
        from stridewise.report.chart import stacked

        charts = [part for part in self.document().parts if isinstance(part, Chart)]
        if not charts:
            raise UsageError(f"{type(self).__name__}: there is no chart of it; print it, or take to_html()")
        return stacked(charts)

    def _records(self) -> list[dict[str, Any]]:
        """The rows of `to_frame`, plain values."""
        raise UsageError(f"{type(self).__name__}: has no rows to make a frame of; to_json() says all of it")

    def to_frame(self) -> Any:
        """A pandas DataFrame of the result's rows; entries of an axis stay lists, records become columns "a.b".

        Raises: MissingExtraError without pandas, UsageError where there are no rows.
        """
        rows = self._records()
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise MissingExtraError("pandas", "frames", "to_frame") from error
        return pandas.json_normalize(rows)


def figure(result: Shown) -> Any:
    """The result's pictures as a matplotlib `Figure`: save it, or change it before.

    Raises: UsageError for what has no picture, MissingExtraError without matplotlib.

    >>> report = sw.show(sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32)))
    >>> sw.figure(report).savefig("ladder.png")
    """
    from stridewise.report.figure import drawn

    if not isinstance(result, Shown):
        given = type(result).__name__
        raise UsageError(f"figure: a result is wanted, as sw.show(...) or sw.front(...) give, not {given}")
    pictures = result.document().pictures
    if not pictures:
        raise UsageError(f"figure: a {type(result).__name__} has no picture; print it, or take to_html()")
    return drawn(pictures)
