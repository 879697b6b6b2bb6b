"""What `search` is compared with on StrideBench: each takes what trainings give and says which plans it trained."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import norm

from stridewise.study.jobs import Rung, Schedule
from stridewise.study.procedure import selection

Rival = Callable[[np.ndarray, np.ndarray, np.ndarray, int, np.random.Generator], list[int]]
"""(places, costs, what a training of each plan gives, trainings, chance) -> the plans trained, in order."""

_FIRST = 3  # plans at random before a model of them means anything


def search(places: np.ndarray, costs: np.ndarray, given: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """`selection`, the code of `stridewise search`, where every training has the full length. The plans come dearest
    first, so the network as it is, which a search trains first, is the dearest within the limit."""
    schedule = Schedule(rungs=(Rung(budget=1, plans=count),), budget=1, finalists=1, seeds=1)
    steps = selection(schedule, [tuple(place) for place in places], costs.tolist())
    trained: list[int] = []
    try:
        jobs = next(steps)
        while True:
            trained += [job.plan for job in jobs]
            jobs = steps.send({job: float(given[job.plan]) for job in jobs})
    except StopIteration:
        return trained


def dearest(places: np.ndarray, costs: np.ndarray, given: np.ndarray, count: int, rng: object) -> list[int]:
    """By falling cost."""
    return np.argsort(-costs, kind="stable")[:count].tolist()


def at_random(
    places: np.ndarray, costs: np.ndarray, given: np.ndarray, count: int, rng: np.random.Generator
) -> list[int]:
    """Any plan as likely as another."""
    return rng.permutation(len(costs))[:count].tolist()


def gaussian_process(
    places: np.ndarray, costs: np.ndarray, given: np.ndarray, count: int, rng: np.random.Generator
) -> list[int]:
    """Three plans at random, then each where a Gaussian process expects the largest improvement: one squared
    exponential over the places and the cost, constant mean, reach and noise by maximum likelihood."""
    at = places - places.mean(0)
    at = at / (at.std(0) + 1e-12) / at.shape[1] ** 0.5
    apart = np.maximum((at**2).sum(1)[:, None] + (at**2).sum(1)[None] - 2 * at @ at.T, 0) if len(at) < 700 else None
    trained = rng.permutation(len(costs))[: min(_FIRST, count)].tolist()
    while len(trained) < min(count, len(costs)):
        near = apart[:, trained] if apart is not None else ((at[:, None] - at[None, trained]) ** 2).sum(-1)
        gain = _improvement(near, given[trained], trained)
        gain[trained] = -np.inf
        trained.append(int(np.argmax(gain)))
    return trained


def _improvement(near: np.ndarray, values: np.ndarray, trained: list[int]) -> np.ndarray:
    """Expected improvement of every plan under the likeliest of some reaches and noises."""
    scale = float(values.std()) or 1.0
    told = (values - values.mean()) / scale
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for reach in (0.25, 0.5, 1.0, 2.0):
        shared = np.exp(-near / (2 * reach**2))
        for noise in (1e-2, 1e-1):
            lower = np.linalg.cholesky(shared[trained] + noise * np.eye(len(trained)))
            rest, reached = np.linalg.solve(lower, told), np.linalg.solve(lower, shared.T)
            likely = -0.5 * float(rest @ rest) - float(np.log(np.diag(lower)).sum())
            if best is None or likely > best[0]:
                best = likely, reached.T @ rest, np.sqrt(np.maximum(1 - (reached**2).sum(0), 1e-12))
    assert best is not None
    _, mean, deviation = best
    above = (mean - told.max()) / deviation
    found: np.ndarray = deviation * (above * norm.cdf(above) + norm.pdf(above))
    return found


class _Levels:
    """The places as whole numbers: for each coordinate that differs which of its values a plan has."""

    def __init__(self, places: np.ndarray) -> None:
        self.values = [np.unique(column) for column in places[:, :-1].T]
        self.names = [f"x{i}" for i, values in enumerate(self.values) if len(values) > 1]
        kept = [i for i, values in enumerate(self.values) if len(values) > 1]
        self.counts = [len(self.values[i]) for i in kept]
        self.of = np.column_stack([np.searchsorted(self.values[i], places[:, i]) for i in kept])
        self.scaled = self.of / np.maximum(np.array(self.counts) - 1, 1)

    def nearest(self, levels: list[int], taken: list[int]) -> int:
        """The plan of the table nearest to what was asked for, none twice."""
        wanted = np.array(levels) / np.maximum(np.array(self.counts) - 1, 1)
        apart = ((self.scaled - wanted) ** 2).sum(1)
        apart[taken] = np.inf
        return int(np.argmin(apart))


def tpe(places: np.ndarray, costs: np.ndarray, given: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """Optuna's TPE over the coordinates, after three trainings at random; what it asks for is the nearest plan."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    levels = _Levels(places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)), n_startup_trials=_FIRST, multivariate=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        spans = {
            name: optuna.distributions.IntDistribution(0, top - 1)
            for name, top in zip(levels.names, levels.counts, strict=True)
        }
        trained: list[int] = []
        while len(trained) < min(count, len(costs)):
            asked = study.ask(spans)
            plan = levels.nearest([asked.params[name] for name in levels.names], trained)
            trained.append(plan)
            at = dict(zip(levels.names, map(int, levels.of[plan]), strict=True))
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
            study.add_trial(optuna.trial.create_trial(params=at, distributions=spans, value=float(given[plan])))
    return trained


def smac(places: np.ndarray, costs: np.ndarray, given: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """SMAC3's random forest over the coordinates, after three trainings at random; nearest plans, as for TPE."""
    from ConfigSpace import Configuration, ConfigurationSpace, Integer
    from smac import HyperparameterOptimizationFacade, Scenario
    from smac.runhistory.dataclasses import TrialInfo, TrialValue

    logging.getLogger("smac").setLevel(logging.ERROR)
    levels, seed = _Levels(places), int(rng.integers(2**31))
    space = ConfigurationSpace(seed=seed)
    space.add([Integer(n, (0, top - 1)) for n, top in zip(levels.names, levels.counts, strict=True)])
    trained: list[int] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scenario = Scenario(
            space, deterministic=True, n_trials=10 * count, seed=seed, output_directory=Path(folder), n_workers=1
        )
        first = HyperparameterOptimizationFacade.get_initial_design(scenario, n_configs=_FIRST)
        process = HyperparameterOptimizationFacade(
            scenario, lambda config, seed=0: 0.0, initial_design=first, overwrite=True, logging_level=40
        )
        while len(trained) < min(count, len(costs)):
            asked = process.ask()
            plan = levels.nearest([int(asked.config[name]) for name in levels.names], trained)
            trained.append(plan)
            at = Configuration(space, dict(zip(levels.names, map(int, levels.of[plan]), strict=True)))
            process.tell(TrialInfo(config=at, seed=asked.seed), TrialValue(cost=-float(given[plan])))
    return trained


RIVALS: dict[str, Rival] = {
    "search": search,
    "dearest": dearest,
    "random": at_random,
    "gp": gaussian_process,
    "tpe": tpe,
    "smac": smac,
}
DRAWS = frozenset({"random", "gp", "tpe", "smac"})
"""Those that begin at random: the others do the same on the same scores."""
