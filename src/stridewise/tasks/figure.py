"""Matplotlib's figures without a window: set up, and written as PNG."""

from __future__ import annotations

import io
import warnings
from typing import Any

from stridewise.errors import MissingExtraError


def figure(size: tuple[float, float], what: str) -> Any:
    """An empty figure, (width, height) inches. what: named where matplotlib is missing. Raises: MissingExtraError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "train", what) from error
    made = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(made)
    return made


def png(drawn: Any) -> bytes:
    """A figure as PNG."""
    out = io.BytesIO()
    drawn.savefig(out, format="png")
    return out.getvalue()
