"""The network a task is built on: made by its name, filled with weights, changed by the plan, its norms measured."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.errors import LoadError
from stridewise.models.load import default_input, load, resolve
from stridewise.models.weights import read_weights
from stridewise.plans import Plan
from stridewise.surgery.apply import apply_to_model
from stridewise.tasks.pictures import Pictures
from stridewise.tasks.task import Factory, Source, name_of

Prepare = Callable[[nn.Module], None]


def build(source: Source, classes: int) -> nn.Module:
    """The network with `classes` outputs, random weights, on the CPU. A factory is given `num_classes` or `classes`
    where it has such a parameter."""
    if callable(source):
        return source(**_wanted(source, classes))
    spec = resolve(source)
    if spec.kind == "builtin":
        return load(spec, classes=classes)
    if spec.kind in ("timm", "torchvision"):
        return load(spec, num_classes=classes)
    if spec.kind in ("onnx", "pt2"):
        raise LoadError(f"{spec}: is a fixed graph and cannot be trained here: name what it was exported from")
    for name in ("num_classes", "classes"):
        wanted: dict[str, Any] = {name: classes}
        try:
            return load(spec, **wanted)
        except LoadError as error:
            if not isinstance(error.__cause__, TypeError):
                raise
    return load(spec)


def input_of(source: Source) -> tuple[int, int] | None:
    """Channels and axes of the data a network reads: as its maker says, else those of its first convolution; None where
    it has none."""
    if not callable(source):
        spec = resolve(source)
        if spec.kind in ("builtin", "timm", "torchvision"):
            shape = default_input(spec)
            return (shape[0], len(shape) - 1) if not isinstance(shape, Mapping) else None
    with torch.random.fork_rng(devices=[]):
        model = build(source, 2)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return module.in_channels, len(module.kernel_size)
    return None


def backbone(
    source: Source, classes: int, plan: Plan, shape: tuple[int, ...], prepare: Prepare | None = None
) -> nn.Module:
    """The network under the plan, with `classes` outputs where it classifies; `prepare` sees it before the plan.

    shape: channels and sizes of a picture. Raises: LoadError, PlanError.
    """
    model = build(source, classes)
    if prepare is not None:
        prepare(model)
    if plan:
        apply_to_model(model, plan, input=shape)
    return model


def freeze_unreached(model: nn.Module, shape: tuple[int, ...], value: Callable[[Any], torch.Tensor]) -> nn.Module:
    """The model with the parameters that nothing of its output depends on (a classifier behind the maps) at rest, so
    that they are neither decayed nor waited for. value: a number that depends on all of the output."""
    training = model.training
    model.eval()
    value(model(torch.zeros(2, *shape))).backward()
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
    return model.train(training)


def first_answer(model: nn.Module, shape: tuple[int, ...], source: Source) -> Any:
    """What the network gives for two empty pictures. Raises: LoadError where it does not run on their size."""
    model.eval()
    with torch.no_grad():
        try:
            return model(torch.zeros(2, *shape))
        except RuntimeError as error:
            raise LoadError(
                f"{name_of(source)}: does not run on pictures of {shape}: {str(error).splitlines()[0]}"
            ) from error


def _wanted(factory: Factory, classes: int) -> dict[str, int]:
    names = inspect.signature(factory).parameters
    return next(({name: classes} for name in ("num_classes", "classes") if name in names), {})


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
