"""Pictures against strides: the share of a picture's spectral energy below the Nyquist frequency of a step."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt

from stridewise.data.picture import Size
from stridewise.data.records import Values
from stridewise.datafit.boxes import mean_positions
from stridewise.datafit.figures import EnergyFigures, SpectrumRow
from stridewise.datafit.strides import Stride

Floats = npt.NDArray[np.float64]


def energy_kept(picture: Values, strides: Sequence[Stride]) -> Floats | None:
    """Share of the energy in the band |f| < 1 / (2 s) on all axes, one entry a stride; None for a flat picture.

    `picture` is (*sizes[, channels]), as many sizes as a stride has; channels are averaged. The mean is
    removed and a Hann window applied, so that neither brightness nor the picture's borders count as frequencies.
    At stride 1 the share is 1.
    """
    axes = len(strides[0]) if strides else 2
    grey = picture.mean(axis=-1, dtype=np.float64) if picture.ndim > axes else np.asarray(picture, np.float64)
    window = reduce(np.multiply.outer, (np.hanning(extent + 2)[1:-1] for extent in grey.shape))
    centred = (grey - (grey * window).sum() / window.sum()) * window
    power = np.abs(np.fft.rfftn(centred)) ** 2
    power[..., 1 : (grey.shape[-1] + 1) // 2] *= 2  # the columns whose mirror image rfftn leaves out
    power[(0,) * axes] = 0.0
    total = float(power.sum())
    if total <= 1e-12 * max(1.0, float((grey**2).sum())):
        return None
    frequencies = [*(np.abs(np.fft.fftfreq(n)) for n in grey.shape[:-1]), np.fft.rfftfreq(grey.shape[-1])]
    kept = []
    for stride in strides:
        bands = [f < 0.5 / s if s > 1 else f <= 0.5 for f, s in zip(frequencies, stride, strict=True)]
        kept.append(float(power[np.ix_(*bands)].sum()) / total)
    return np.array(kept)


class SpectrumTotals:
    """Shares over pictures, one at a time. `rows` gives the figures; `flat` counts pictures without any detail."""

    def __init__(self, strides: Sequence[Stride], classes: Sequence[str]) -> None:
        self._strides, self._classes = tuple(strides), tuple(classes)
        self._kept: list[Floats] = []
        self._labels: list[int] = []
        self._sizes: list[Size] = []
        self.flat = 0

    def add(self, label: int, picture: Values) -> None:
        """Count one picture of a class, (*sizes, channels)."""
        kept = energy_kept(picture, self._strides)
        self._sizes.append(picture.shape[:-1])
        if kept is None:
            self.flat += 1
        else:
            self._kept.append(kept)
            self._labels.append(label)

    def rows(self) -> tuple[SpectrumRow, ...]:
        """The figures of every stride, in the order given."""
        table, labels = np.array(self._kept).reshape(-1, len(self._strides)), np.array(self._labels)
        return tuple(
            SpectrumRow(
                strides=(stride,),
                positions=mean_positions(self._sizes, (stride,)),
                overall=_figures("all", table[:, place]),
                classes=tuple(_figures(name, table[labels == k, place]) for k, name in enumerate(self._classes)),
            )
            for place, stride in enumerate(self._strides)
        )


def _figures(name: str, kept: Floats) -> EnergyFigures:
    if not len(kept):
        return EnergyFigures(name=name, pictures=0, kept=None, kept_p5=None)
    return EnergyFigures(name=name, pictures=len(kept), kept=float(kept.mean()), kept_p5=float(np.percentile(kept, 5)))
