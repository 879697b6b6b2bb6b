"""A trained network in one file: its weights as safetensors, and what it takes to build it again and to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.errors import LoadError, MissingExtraError
from stridewise.files import whole
from stridewise.plans import Plan
from stridewise.switching.elastic import Elastic
from stridewise.tasks.elastic import elastic_network, plans_of
from stridewise.tasks.pictures import Splits, Standard
from stridewise.tasks.run import task_of
from stridewise.tasks.task import Source, Task, name_of

_KEY = "stridewise"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Described:
    """What a network is built for: the data's name, its classes, channels and sizes of a picture."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained network, ready to be used: the module in eval mode on the CPU, and how pictures are given to it.

    elastic: what switches the module from plan to plan, the dearest first; None of a network under one plan.
    """

    model: nn.Module
    task: Task
    source: str
    plan: Plan
    data: Described
    standard: Standard
    elastic: Elastic | None = None


def save_trained(path: Path, model: nn.Module, task: Task, source: Source, plan: Plan, splits: Splits) -> None:
    """Write the file whole or not at all. Raises: StridewiseError where it cannot be written."""
    from safetensors.torch import save_file

    told: dict[str, Any] = {
        "format": _FORMAT,
        "task": task.name,
        "options": dict(task.options),
        "model": name_of(source),
        "plan": plan.to_toml(),
        **({"plans": {n: p.to_toml() for n, p in model.plans.items()}} if isinstance(model, Elastic) else {}),
        "data": splits.name,
        "classes": list(splits.classes),
        "shape": list(splits.shape),
        "mean": list(splits.train.standard.mean),
        "deviation": list(splits.train.standard.deviation),
        "white": splits.train.standard.white,
    }
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    with whole(path, "the network") as temporary:
        save_file(weights, temporary, metadata={_KEY: json.dumps(told)})


def load_trained(path: str | Path, source: Source | None = None) -> Trained:
    """The trained network in a file, or in a run folder. source: its network, where that was made by a function.

    Raises: LoadError where the file is not one of these, or does not fit its network any more.

    >>> import numpy as np
    >>> np.savez("tiny.npz", x=np.zeros((24, 8, 8), np.uint8), y=np.arange(24) % 2)
    >>> _ = sw.train("classify", "builtin:resnet20-narrow", data="tiny.npz", epochs=1, batch=8, run="run")
    >>> trained = sw.load_trained("run")
    >>> trained.task.name, trained.data.classes, trained.data.shape
    ('classify', ('0', '1'), (3, 8, 8))
    """
    path = Path(path)
    path = path / "model.safetensors" if path.is_dir() else path
    told, weights = _read(path)
    if source is not None and name_of(source) != told["model"]:
        raise LoadError(f"{path}: is of network {told['model']}, not of {name_of(source)}")
    try:
        task = task_of(told["task"], **told["options"])
        plan, plans = Plan.from_toml(told["plan"]), plans_of(told.get("plans", {}))
        data = Described(name=told["data"], classes=tuple(told["classes"]), shape=tuple(told["shape"]))
        standard = Standard(
            mean=tuple(told["mean"]), deviation=tuple(told["deviation"]), white=told.get("white", 255.0)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{path}: its description is broken ({type(error).__name__}: {error})") from error
    elastic = elastic_network(task, source or told["model"], plans, data) if plans else None
    model = elastic or task.network(source or told["model"], plan, data)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:160]
        raise LoadError(f"{path}: does not fit {told['model']} under its plan: {line}") from error
    model.eval()
    return Trained(
        model=model if elastic is None else elastic.model,
        task=task,
        source=told["model"],
        plan=plan if elastic is None else elastic.plans[elastic.active],
        data=data,
        standard=standard,
        elastic=elastic,
    )


def check_same(path: str | Path, found: Trained, task: str, source: str, plan: Plan | None) -> None:
    """Raises: LoadError where a trained network is not the one that was named."""
    if found.task.name != task:
        raise LoadError(f"{path}: was trained to {found.task.name}, not to {task}")
    if found.source != source:
        raise LoadError(f"{path}: is of network {found.source}, not of {source}")
    if plan is not None and plan.to_toml() != found.plan.to_toml():
        raise LoadError(f"{path}: was trained under another plan: leave --plan out to use its own")


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise LoadError(f"{path}: no such file: give the model.safetensors of a run folder, or the folder")
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise MissingExtraError("safetensors", "torch", "reading a trained network") from error
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {}).get(_KEY, "null"))
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, ValueError, OSError) as error:
        raise LoadError(f"{path}: not a safetensors file ({str(error).splitlines()[0]})") from error
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise LoadError(f"{path}: was not written by `stridewise train`: it says nothing of its task; use --weights")
    return told, weights
