"""The networks that are measured beside each other: a model as it is, and copies of it under plans."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from stridewise.errors import StridewiseError, UsageError
from stridewise.ir import Graph
from stridewise.measuring.intervals import Interval
from stridewise.measuring.offsets import coarsest, made_by, steps
from stridewise.measuring.onnx_run import file_call
from stridewise.measuring.shift import Network
from stridewise.models.load import ModelSpec, default_input, load, open_graph, resolve
from stridewise.plans import Plan
from stridewise.surgery.apply import apply_to_model
from stridewise.tracing.trace import trace

AS_IT_IS = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One network to measure. call: runs a batch; model: None for an ONNX `file`; graph: its geometry."""

    name: str
    call: Any
    model: nn.Module | None
    graph: Graph
    file: str = ""

    def network(self) -> Network:
        """As the shift measures want it: what it predicts and where it steps."""
        ladder = steps(self.graph)
        sites = {after: made_by(self.graph, before, after) for before, after in pairwise(ladder)}
        return Network(predict=lambda x: first_output(self.call(x)), ladder=ladder, sites=sites)

    @property
    def coarsest(self) -> tuple[int, ...]:
        """Its coarsest step, an entry an axis."""
        return coarsest(self.graph)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ready:
    """A trained network to measure as it is, whatever it was trained for.

    call: what it says of a batch (scores, a map of scores, boxes); model: the module, for its graph and its insides;
    moments: mean and deviation of 0..1 values that its pictures are given with; judge: its score on a data set, of the
    name `metric`, at the labels' full size.
    """

    name: str
    call: Callable[[torch.Tensor], Any]
    model: nn.Module
    input: tuple[int, ...]
    moments: tuple[tuple[float, ...], tuple[float, ...]]
    metric: str
    judge: Callable[[Any], Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """The networks, the model's name, channels and sizes they take, and how their pictures are standardised.

    folder: holds the files of changed ONNX networks until `close`.
    """

    model: str
    input: tuple[int, ...]
    standard: str
    every: tuple[Variant, ...]
    folder: TemporaryDirectory[str] | None = None
    ready: tuple[Ready, ...] = ()

    def close(self) -> None:
        """Remove what was written for the measurement."""
        if self.folder is not None:
            self.folder.cleanup()


def variants(
    model: Any,
    plans: Mapping[str, Plan],
    *,
    input: Sequence[int] | None = None,
    weights: Any = None,
    trust: bool = False,
    device: str = "cpu",
    seed: int = 0,
) -> Variants:
    """A model by its name, or a live one, and one copy under each plan; the same weights in all.

    Random weights are drawn from `seed`. Raises: StridewiseError in one line, naming the plan that does not fit.
    """
    if isinstance(model, Ready):
        return _trained((model,), plans, input)
    if isinstance(model, Sequence) and not isinstance(model, str):
        return _trained(model, plans, input)
    if isinstance(model, Mapping):
        return _apart(model, plans, tuple(input or (3, 224, 224)), device)
    if isinstance(model, nn.Module):
        name, live, shape = type(model).__name__, model, tuple(input or (3, 224, 224))
        standard = "own"
    else:
        spec = resolve(str(model))
        given = input or (open_graph(spec).input if spec.kind == "onnx" else default_input(spec))
        if isinstance(given, Mapping | str):
            raise UsageError(f"{spec}: networks of several inputs are not measured; wrap it to take one")
        name, shape = str(spec), tuple(given)
        standard = standard_of(spec)
        if spec.kind == "onnx":
            return _files(name, spec.name, shape, standard, plans)
        with torch.random.fork_rng(devices=[]):  # whoever calls keeps the draws they would have had
            torch.manual_seed(seed)
            live = load(spec, trust=trust, weights=weights)
    found = [_live(AS_IT_IS, live, shape, name, device)]
    for label, plan in plans.items():
        try:
            other = copy.deepcopy(live)
            apply_to_model(other, plan, input=shape)
            found.append(_live(label, other, shape, name, device))
        except StridewiseError as error:
            raise type(error)(f"plan {label}: {error}") from error
    return Variants(model=name, input=shape, standard=standard, every=tuple(found))


def _apart(models: Mapping[str, nn.Module], plans: Mapping[str, Plan], shape: tuple[int, ...], device: str) -> Variants:
    """Modules by name beside each other. Raises: UsageError for plans, or for none at all."""
    if plans or not models:
        raise UsageError("measure: modules by name are measured as they are, one or more, without plans")
    every = tuple(_live(label, module, shape, label, device) for label, module in models.items())
    return Variants(model=" and ".join(models), input=shape, standard="own", every=every)


def _trained(found: Sequence[Ready], plans: Mapping[str, Plan], input: Sequence[int] | None) -> Variants:
    """Trained networks beside each other; each has its plan inside. Raises: UsageError where they do not compare."""
    if plans:
        raise UsageError(f"{found[0].name}: has its plan inside already: train it under the other plan too")
    for other in found:
        same = other.input == found[0].input and other.metric == found[0].metric and other.moments == found[0].moments
        if not same or (input is not None and tuple(input) != other.input):
            raise UsageError(
                f"{other.name}: was trained for another task, size or data than {found[0].name}: measure them apart"
            )
    if len({other.name for other in found}) < len(found):
        raise UsageError(f"{found[0].name}: is named twice")
    every = [
        Variant(name=f.name, call=f.call, model=f.model, graph=trace(f.model, f.input, name=f.name)) for f in found
    ]
    return Variants(
        model=found[0].name, input=found[0].input, standard="training", every=tuple(every), ready=tuple(found)
    )


def standard_of(spec: ModelSpec) -> str:
    """How a network's pictures are standardised: as its library trains, else by their own mean and deviation."""
    return "imagenet" if spec.kind in ("timm", "torchvision") else "own"


def _live(label: str, model: nn.Module, shape: tuple[int, ...], name: str, device: str) -> Variant:
    graph = trace(model, shape, name=name)
    ready = model if device == "cpu" else copy.deepcopy(model).to(device)
    ready = ready if not ready.training else copy.deepcopy(ready).eval()
    return Variant(name=label, call=ready, model=ready, graph=graph)


def _files(name: str, path: str, shape: tuple[int, ...], standard: str, plans: Mapping[str, Plan]) -> Variants:
    """An ONNX file as it is, and a changed copy of it under each plan, in a folder that goes with what is returned."""
    from stridewise.onnxfile.apply import apply_to_file

    found, folder = [_onnx(path, shape)], None
    for number, (label, plan) in enumerate(plans.items()):
        folder = folder or TemporaryDirectory(prefix="stridewise-")
        changed = Path(folder.name) / f"{number}.onnx"
        try:
            apply_to_file(path, plan, changed, input=shape)
        except StridewiseError as error:
            folder.cleanup()
            raise type(error)(f"plan {label}: {error}") from error
        found.append(replace(_onnx(str(changed), shape), name=label))
    return Variants(model=name, input=shape, standard=standard, every=tuple(found), folder=folder)


def _onnx(path: str, shape: tuple[int, ...]) -> Variant:
    """An ONNX file, run by onnxruntime on as many threads as torch."""
    from stridewise.onnxfile.read import read_onnx

    graph = read_onnx(path, input=shape)
    return Variant(name=Path(path).name, call=file_call(path, shape), model=None, graph=graph, file=path)


def first_output(out: Any) -> Any:
    """What is judged of an output: a mapping's `out`, `logits` or first entry, the first of several tensors, a list of
    boxes as it is."""
    if isinstance(out, Mapping):
        return next((out[key] for key in ("out", "logits") if key in out), next(iter(out.values())))
    if isinstance(out, list | tuple):
        return out if out and isinstance(out[0], Mapping) else first_output(out[0])
    return out


def kind_of(out: Any, axes: int) -> str:
    """classify, segment or detect, by what comes out. Raises: UsageError for anything else."""
    out = first_output(out)
    if isinstance(out, list | tuple):
        return "detect"
    dims = getattr(out, "dim", lambda: 0)()
    if dims == 2:
        return "classify"
    if dims == axes + 2:
        return "segment"
    shape = tuple(getattr(out, "shape", ()))
    raise UsageError(f"shift: an output of shape {shape} is neither scores, a map of scores, nor boxes")
