"""Weights from a file into a backbone, and batch norms brought up to date with a plan and the data."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from stridewise.errors import LoadError
from stridewise.models.weights import read_weights
from stridewise.tasks.pictures import Pictures

_INNER = "features.model."  # where a segmenter or detector of a run folder keeps its backbone

_ELASTIC = ("model.", "statistics.")  # where an elastic one keeps itself, and what its norms hold under each plan


def fill(model: nn.Module, path: str | Path, *, trust: bool = False) -> str:
    """Fill a backbone with the weights of a file; what was left as it is, in words, or an empty text.

    The one layer that names the classes may be missing or of another size: it stays random. Raises: LoadError where
    anything else does not fit; the model is as it was then.
    """
    given = read_weights(path, trust=trust)
    wanted = model.state_dict()
    if all(key.startswith(_ELASTIC) for key in given) and not wanted.keys() & given.keys():
        given = {key.removeprefix("model."): value for key, value in given.items() if key.startswith("model.")}
    if any(key.startswith(_INNER) for key in given):
        given = {key.removeprefix(_INNER): value for key, value in given.items() if key.startswith(_INNER)}
    fits = {key for key, value in wanted.items() if key in given and given[key].shape == value.shape}
    odd = sorted(set(wanted) - fits)
    layers = {key.rpartition(".")[0] for key in odd}
    if not fits or len(layers) > 1:
        told = ", ".join(odd[:3]) + (", ..." if len(odd) > 3 else "")
        raise LoadError(
            f"{path}: does not fit the network: {len(odd)} of {len(wanted)} entries are missing or of another shape "
            f"({told}); only the layer that names the classes may be"
        )
    model.load_state_dict({key: given[key] if key in fits else value for key, value in wanted.items()})
    return f"{next(iter(layers))} does not fit and stays random" if layers else ""


def recalibrate(model: nn.Module, pictures: Pictures, *, batch: int = 64, batches: int = 16) -> int:
    """Measure the batch norms' means and deviations anew on training pictures; how many norms there were.

    A plan changes what reaches them, most of all near borders. The weights stay.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    before = [norm.momentum for norm in norms]
    training, device = model.training, norms[0].running_mean.device if norms[0].running_mean is not None else "cpu"
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    try:
        with torch.no_grad():
            for number, (x, _) in enumerate(pictures.batches(min(batch, len(pictures)))):
                if number >= batches:
                    break
                if len(x) > 1:
                    model(x.to(device))
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        model.train(training)
    return len(norms)
