"""Charts and images as one matplotlib figure, which is loaded only here; and as PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

from stridewise.errors import MissingExtraError
from stridewise.report.document import Chart, Image, Scale, Series

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKS = {"strong": "*", "base": "s", "plain": "o", "pale": "."}
_WIDE, _ROW, _TALL = 8.5, 0.33, 3.6  # inches
_LARGE = 1e4  # numbers from here on are written as 10 k, 3 M


def drawn(pictures: Sequence[Chart | Image]) -> Any:
    """A matplotlib `Figure` with one plot a picture, below each other; no window is opened.

    Raises: MissingExtraError without matplotlib.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "train", "a figure") from error
    heights = [_height(picture) for picture in pictures]
    made = Figure(figsize=(_WIDE, sum(heights)), dpi=110, layout="constrained")
    FigureCanvasAgg(made)
    plots = made.subplots(len(pictures), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, picture in zip(plots, pictures, strict=True):
        axes.set_title(picture.title, fontsize=11)
        if isinstance(picture, Image):
            from matplotlib.image import imread

            axes.imshow(imread(io.BytesIO(picture.png()), format="png"))
            axes.set_axis_off()
        else:
            _chart(axes, picture)
    return made


def png(pictures: Sequence[Chart | Image]) -> bytes:
    """The figure as PNG. Raises: MissingExtraError without matplotlib."""
    out = io.BytesIO()
    drawn(pictures).savefig(out, format="png")
    return out.getvalue()


def _height(picture: Chart | Image) -> float:
    if isinstance(picture, Image):
        return 6.0
    return max(1.2 + _ROW * len(picture.y.ticks), 2.0) if picture.y.ticks else _TALL


def _chart(axes: Any, chart: Chart) -> None:
    for at, series in enumerate(chart.series):
        _series(axes, series, _COLOURS[at % len(_COLOURS)])
    for scale, which in ((chart.x, "x"), (chart.y, "y")):
        _scale(axes, scale, which)
    axes.grid(alpha=0.25)
    if sum(bool(s.name) for s in chart.series) > 1:
        axes.legend(fontsize=8.5)


def _series(axes: Any, series: Series, colour: str) -> None:
    if not series.points:
        return
    xs, ys = zip(*series.points, strict=True)
    faint = {"color": colour, "alpha": 0.45 if series.level == "pale" else 1.0}
    name = series.name or None
    if series.kind == "bars":
        axes.barh(ys, xs, height=0.6, label=name, **faint)
    elif series.kind == "steps":
        axes.plot(xs, ys, drawstyle="steps-post", linewidth=1.8, label=name, **faint)
    else:
        line = {"linestyle": "-" if series.kind == "line" else "", "marker": _MARKS[series.level]}
        axes.plot(xs, ys, label=name, markersize=9 if series.level in ("strong", "base") else 4, **line, **faint)
    for spread, x, y in zip(series.spread, xs, ys, strict=False):
        if spread is not None:
            axes.errorbar([x], [y], yerr=[[y - spread[0]], [spread[1] - y]], color=colour, capsize=3, alpha=0.8)
    for said, x, y in zip(series.labels, xs, ys, strict=False):
        if said and series.kind != "bars":
            axes.annotate(said, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8.5)


def _scale(axes: Any, scale: Scale, which: str) -> None:
    getattr(axes, f"set_{which}label")(scale.label)
    axis = getattr(axes, f"{which}axis")
    if scale.ticks:
        values, names = zip(*scale.ticks, strict=True)
        axis.set_ticks(values, names, fontsize=8.5)
        getattr(axes, f"set_{which}lim")(min(values) - 0.6, max(values) + 0.6)
    elif scale.zero:
        getattr(axes, f"set_{which}lim")(0, 1.0 if scale.share else None)
    if scale.share or (not scale.ticks and max(map(abs, getattr(axes, f"get_{which}lim")())) >= _LARGE):
        from matplotlib.ticker import EngFormatter, PercentFormatter

        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %") if scale.share else EngFormatter())
    if scale.reverse:
        axis.set_inverted(True)
