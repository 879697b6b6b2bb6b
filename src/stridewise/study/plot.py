"""Accuracy against cost as a picture: the shortlist with intervals, the default and the recommended plan marked."""

from __future__ import annotations

from typing import Any

from stridewise.study.result import Row, SearchResult
from stridewise.tasks.figure import figure, png

_DEFAULT, _CHOSEN, _FINAL, _EARLY, _FRONT, _RIVAL = "#d55e00", "#009e73", "#0072b2", "#999999", "#56b4e9", "#cc79a7"


def picture(result: SearchResult) -> bytes:
    """The plot as PNG. Raises: MissingExtraError without matplotlib."""
    drawn = figure((8.5, 7.2), "the plot of a search")
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _accuracies(above, result)
    _front(below, result)
    return png(drawn)


def _accuracies(axes: Any, result: SearchResult) -> None:
    drawn: set[str] = set()
    for row in result.rows:
        if row.accuracy is None:
            continue
        colour, label, marker = _look(row, result)
        x, y = row.candidate.macs / 1e6, 100 * row.accuracy.mean
        if row.accuracy.low is not None and row.accuracy.high is not None:
            spread = [[y - 100 * row.accuracy.low], [100 * row.accuracy.high - y]]
            axes.errorbar([x], [y], yerr=spread, color=colour, capsize=3, linewidth=1.3, alpha=0.8)
        axes.plot([x], [y], marker, color=colour, markersize=9, label=None if label in drawn else label, linestyle="")
        axes.annotate(row.candidate.name, (x, y), xytext=(8, 5), textcoords="offset points", fontsize=9)
        drawn.add(label)
    axes.axvline(result.default.candidate.macs / 1e6, color=_DEFAULT, linewidth=1, linestyle=":")
    axes.set_ylabel(f"{result.metric}, % (measured, 95 % interval)")
    axes.set_title(f"{result.model} on {result.data}: {result.metric} against cost", fontsize=12, pad=40)
    axes.margins(x=0.09, y=0.1)
    axes.grid(alpha=0.25)
    if drawn:
        axes.legend(fontsize=8.5, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    else:
        axes.text(0.5, 0.5, "no finished training yet", transform=axes.transAxes, ha="center")


def _look(row: Row, result: SearchResult) -> tuple[str, str, str]:
    """Colour, legend text and marker of a plan."""
    budget = result.schedule.budget
    if row is result.default:
        return _DEFAULT, "default: the network as it is", "s"
    if row.candidate.rival:
        return _RIVAL, "rival: another network at this cost", "D"
    if row.candidate.name == result.verdict.plan:
        return _CHOSEN, f"recommended ({result.verdict.kind})", "*"
    if row.final:
        return _FINAL, f"finalist: {budget} epochs, {result.schedule.seeds} seeds", "o"
    return _EARLY, "left early: fewer epochs or one seed", "o"


def _front(axes: Any, result: SearchResult) -> None:
    axes.plot(
        [macs / 1e6 for macs, _, _ in result.front],
        [made / 1e3 for _, made, _ in result.front],
        ".",
        color=_FRONT,
        label="all plans on the exact front",
    )
    for row in result.rows:
        colour, _, marker = _look(row, result)
        axes.plot([row.candidate.macs / 1e6], [row.candidate.activations / 1e3], marker, color=colour, markersize=7)
    axes.set_xlabel("multiply-adds of one picture, millions (exact)")
    axes.set_ylabel("activations,\nthousands (exact)")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, loc="lower right")
