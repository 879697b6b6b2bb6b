"""The curves of a training as a picture: loss and score by epoch."""

from __future__ import annotations

from collections.abc import Sequence

from stridewise.tasks.figure import figure, png
from stridewise.tasks.record import Epoch

_LOSS, _SCORE = "#d55e00", "#0072b2"


def curves(curve: Sequence[Epoch], metric: str, title: str) -> bytes:
    """The plot as PNG. Raises: MissingExtraError without matplotlib."""
    drawn = figure((7.5, 4.2), "the plot of a training")
    from matplotlib.ticker import MaxNLocator

    left = drawn.subplots()
    right = left.twinx()
    epochs = range(1, len(curve) + 1)
    left.plot(epochs, [e.loss for e in curve], "o-", color=_LOSS, markersize=3)
    right.plot(epochs, [100 * e.score for e in curve], "s-", color=_SCORE, markersize=3)
    left.set_xlabel("epoch")
    left.set_ylabel("mean loss of the training pictures", color=_LOSS)
    right.set_ylabel(f"{metric} on the held-out pictures, %", color=_SCORE)
    right.set_ylim(0, 100)
    left.set_ylim(bottom=0)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.grid(alpha=0.3)
    left.set_title(title, fontsize=11)
    return png(drawn)
