"""Trained networks as `measure` takes them: judged by their own task's evaluator, on the whole held-out split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stridewise.data import Dataset, open_dataset
from stridewise.files import is_file
from stridewise.measuring.intervals import Interval
from stridewise.measuring.variants import Ready
from stridewise.tasks.train import evaluated
from stridewise.tasks.trained import Trained, load_trained


def ready(path: str | Path, *, device: str = "cpu") -> Ready:
    """The trained network in a file or run folder. Raises: LoadError."""
    found = load_trained(path)
    found.model.to(device)
    model: Any = found.model
    scale = found.standard.white
    return Ready(
        name=str(path),
        call=model.predict if found.task.name == "detect" else model,
        model=found.model,
        input=found.data.shape,
        moments=(
            tuple(v / scale for v in found.standard.mean),
            tuple(v / scale for v in found.standard.deviation),
        ),
        metric=found.task.metric,
        judge=lambda data: _judged(path, found, data, device),
    )


def is_trained(model: str) -> bool:
    """Whether a model's name is a trained network: a run folder, or a .safetensors file."""
    path = Path(model)
    return path.suffix == ".safetensors" or is_file(path / "model.safetensors")


def _judged(path: str | Path, found: Trained, data: str | Path | Dataset, device: str) -> Interval:
    task: Any = found.task.name
    dataset = data if isinstance(data, Dataset) else open_dataset(data, task)
    score, _ = evaluated(path, found, dataset, device)
    return Interval(value=score.score, low=score.low, high=score.high)
