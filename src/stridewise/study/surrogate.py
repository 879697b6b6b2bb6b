"""What finished trainings say about the plans: a Gaussian process over the plans' places and the budgets.

A training is taken as the plan's final score, plus an offset that all trainings of its budget share, a part that
follows the multiply-adds, and a draw that shrinks as the budget grows. The constants were set on the published
ResNet-20 table under four models of what short trainings tell, two of them measured (benchmarks/choose.py, which also
shows what the surrogate is worth there); the posterior is that of scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stridewise.errors import MissingExtraError
from stridewise.fronts.distance import Place
from stridewise.study.jobs import SHORTEST, Job

LEAST = 4
"""Scores below which nothing is learned from them."""

# In units of the places' mean distance along a coordinate; the unit of the scores makes no difference.
_AMPLITUDE, _REACH = 3.0, 5.0  # of what neighbours share
_OWN = 0.2  # variance of what a plan shares with none
_OFFSET, _ALONG_COST = 10.0, 0.1  # variances of a lower budget's offset and of its slope along the multiply-adds
_NOISE = 0.1  # standard deviation at the full budget; it grows as full / budget


def beliefs(places: Sequence[Place], scores: Mapping[Job, float], budget: int) -> list[float]:
    """For each plan the score to expect of it at the full `budget`, up to an offset that all share.

    places: one a plan, the last coordinate follows its multiply-adds. Raises: MissingExtraError without scikit-learn.
    """
    jobs = sorted(scores)
    values = np.array([scores[job] for job in jobs])
    at = np.array(places, dtype=float)
    spread = float(at.std(axis=0).mean()) or 1.0
    at = (at - at.mean(axis=0)) / (spread * at.shape[1] ** 0.5)
    top = max(job.budget for job in jobs)
    rows = np.array([[job.plan, job.budget < top, job.budget, *at[job.plan]] for job in jobs])
    wanted = np.array([[plan, 0, top, *at[plan]] for plan in range(len(places))])
    highest = values[[job.budget == top for job in jobs]].mean()
    # Weights judged without training say no more than the shortest training does.
    noise = np.array([(_NOISE * min(budget / max(job.budget, 1e-9), SHORTEST)) ** 2 for job in jobs])
    process, kernel = _library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = process(kernel, alpha=noise, optimizer=None).fit(rows, values - highest)
        return [float(v) + float(highest) for v in fitted.predict(wanted)]


@lru_cache(maxsize=1)
def _library() -> tuple[Any, Any]:
    """scikit-learn's process and the covariance of two trainings as one of its kernels."""
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import Kernel
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "study", "a search") from error

    class Trainings(Kernel):  # type: ignore[misc]
        """Covariance of trainings; rows are plan, whether below the highest budget, budget, place."""

        def __init__(self) -> None:  # scikit-learn reads its parameters here: there are none
            pass

        def __call__(self, a: Any, b: Any = None, eval_gradient: bool = False) -> Any:
            b = a if b is None else b
            apart = ((a[:, None, 3:] - b[None, :, 3:]) ** 2).sum(-1)
            shared = _AMPLITUDE**2 * np.exp(-apart / (2 * _REACH**2))
            own = _OWN * (a[:, None, 0] == b[None, :, 0])
            one = np.outer(a[:, 1], b[:, 1]) * (a[:, None, 2] == b[None, :, 2])
            # The last coordinate has the weight of all others: their spread times the root of their number, taken out.
            cost = np.outer(a[:, -1], b[:, -1])
            return shared + own + one * (_OFFSET + _ALONG_COST * cost) + _OFFSET

        def diag(self, a: Any) -> Any:
            return np.diag(self(a))

        def is_stationary(self) -> bool:
            return False

    return GaussianProcessRegressor, Trainings()
