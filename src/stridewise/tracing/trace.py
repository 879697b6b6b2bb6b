"""Tracing a PyTorch model: one forward on the meta device under a dispatch mode, on a structural copy in eval mode."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn

from stridewise.building.builder import Builder, frontier
from stridewise.building.recorded import with_slots
from stridewise.errors import StridewiseError, TraceError, by, staying
from stridewise.ir import End, Graph
from stridewise.ops.registry import op_named
from stridewise.tracing.clone import Cloner
from stridewise.tracing.constants import ended_at
from stridewise.tracing.hints import hint, part_hint
from stridewise.tracing.inputs import Argument, arguments_of, called, with_layout
from stridewise.tracing.inputs import InputSpec as InputSpec
from stridewise.tracing.layouts import Looking, Misread
from stridewise.tracing.settled import settled
from stridewise.tracing.source import Source, refused_again
from stridewise.tracing.steps import FOLLOWING
from stridewise.tracing.targets import forget_targets
from stridewise.tracing.tracer import Tracer

Arguments: TypeAlias = Mapping[str, Argument]
Beside: TypeAlias = Callable[[Tracer], AbstractContextManager[Any]]

_NO_DOUBTS: Mapping[int, str] = {}

_LONG = 200  # what torch says beyond, whole sentences, tells its own developers what to do


def trace(
    model: nn.Module,
    input: InputSpec = (3, 224, 224),
    *,
    name: str = "",
    opaque: Sequence[str] = (),
    layout: str | Mapping[str, str] = "",
) -> Graph:
    """The graph of `model` at these input shapes (without the batch; batch 1).

    input: channels and sizes, or a mapping from argument name to them; "77:int64" for whole numbers, a number or
    "=text" for what is no tensor. layout: a letter a dimension, as "NHWC" (N the batch, C the channels), where it is
    not to be read from the first window; by name for several inputs. opaque: paths of modules (or names of ops) whose
    ops without a rule are unknown without being reported. The model is left as it was, also after an error: the
    forward runs on a copy of its structure whose weights are shapes alone.
    Raises: TraceError naming the layer where the forward failed.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> graph
    Graph of ResNet20: input 3x32x32; 75 ops, 23 sites, 9 slots
    >>> [node.key for node in graph.sites][:2]
    ['layers.0.0', 'layers.1.conv1']
    """
    if not isinstance(model, nn.Module):
        raise TraceError(f"trace: a torch.nn.Module is wanted, not {type(model).__name__}")
    shapes: Arguments = arguments_of(with_layout(input, layout))
    # Inference mode would show composite ops to the tracer instead of their parts.
    with _no_collection(), torch.inference_mode(False):
        once = partial(_trace_once, model, name=name, opaque=opaque)
        try:
            shapes, graph = _read(model, shapes, name, opaque)
        except TraceError as error:
            found = hint(model, shapes, lambda other: _read(model, other, name, opaque)[1])
            found = found or part_hint(model, lambda part: _read(part, shapes, name, opaque)[1])
            raise TraceError(f"{error}; {found}" if found else str(error)) from error
        graph = settled(model, graph, once if graph.source is None else refused_again(once, graph.source), shapes)
    if not any(op.site for op in graph.nodes):
        where = name or type(model).__name__
        if graph.end is not None:
            raise TraceError(f"{where}: {graph.end}: there is no map yet")
        if graph.unknown:
            raise TraceError(f"{where}: nothing is known of its strides: {graph.unknown[0].message}")
        if any(op_named(op.op).site for op in graph.nodes):
            raise TraceError(f"{where}: its convolutions and pools meet one position each: it has no strides to show")
        raise TraceError(f"{where}: no convolution or pooling was met: it has no strides to show")
    return graph


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection meanwhile: a trace makes many small objects, of which all are kept."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(
    model: nn.Module, shapes: Arguments, name: str, opaque: Sequence[str], beside: Beside | None = None
) -> tuple[Arguments, Graph]:
    """The arguments with their positions where the first window meets them, and the graph."""
    asked = frozenset(key or "input" for key, a in shapes.items() if a.readings() and a.is_float)
    try:
        return shapes, _trace_once(model, shapes, name, opaque, beside, looking=Looking(asked) if asked else None)
    except Misread as misread:
        key = misread.name if misread.name in shapes else ""
        looking = frozenset((misread.name,))
    for positions in shapes[key].readings():
        other = {**shapes, key: shapes[key].read_as(positions)}
        with suppress(Misread):
            return other, _trace_once(model, other, name, opaque, beside, looking=Looking(looking, first=False))
    return shapes, _trace_once(model, shapes, name, opaque, beside)


def _trace_once(
    model: nn.Module,
    shapes: Arguments,
    name: str,
    opaque: Sequence[str] = (),
    beside: Beside | None = None,
    doubts: Mapping[int, str] = _NO_DOUBTS,
    looking: Looking | None = None,
    told: bool = False,
) -> Graph:
    """The graph at these shapes alone; `beside` is entered around the forward, to watch it too.

    doubts: by node the reason why its geometry is not to be followed. told: numbers that the forward works out from
    sizes are followed (`tracing.provenance`). Raises: Misread where `looking` sees an input
    read otherwise.
    """
    forget_targets()
    builder = Builder(opaque=tuple(opaque), doubts=doubts)
    tracer = Tracer(builder, looking)
    tracer.holds_picks |= beside is not None
    cloner = Cloner(tracer.wrap, tracer.known)
    copy = cloner.module(model)
    params = sum(p.numel() for p in cloner.parameters.values())
    tracer.learned = cloner.learned
    tracer.constants.originals = cloner.originals
    dtype = next((p.dtype for p in cloner.parameters.values() if p.is_floating_point()), torch.float32)
    arguments: dict[str, Any] = {}
    # The input with most axes comes first: the network's strides are told along them.
    for key, argument in sorted(shapes.items(), key=lambda pair: -len(pair[1].positions)):
        if argument.is_plain:
            arguments[key] = argument.value
            continue
        tensor = torch.empty(argument.shape, dtype=argument.dtype or dtype, device="meta")
        value = builder.input(key or "input", argument.shape, tensor.element_size(), argument.positions)
        tracer.watch(tensor, value)
        arguments[key] = tensor
    FOLLOWING.append(tracer.step)
    end, out = None, None
    try:
        with beside(tracer) if beside else nullcontext(), tracer.asking() if told else nullcontext():
            out = _run(copy, model.forward, tracer, arguments, shapes, name or type(model).__name__)
    except _Left as left:
        end = left.end
    finally:
        FOLLOWING.remove(tracer.step)
        cloner.release()
    if end is None:
        made = [v.index for v in (tracer.values.get(id(t)) for t in _tensors(out)) if v is not None]
        outputs = [index for index in made if index is not None]
    else:
        outputs = frontier(builder)
    if not outputs and end is not None:
        raise TraceError(f"{name or type(model).__name__}: {end}: there is none yet")
    if not outputs:
        raise TraceError(f"{name or type(model).__name__}: its forward returns no tensor made from the input")
    builder.withhold_turned([call.output for call in tracer.calls if call.output is not None])
    graph = builder.graph(
        name or type(model).__name__,
        outputs,
        params,
        end=end,
        given=tuple((key or "input", a.text) for key, a in shapes.items() if a.text),
        declared=tuple(_declared(model, cloner.stated)),
    )
    return replace(with_slots(graph, builder.layouts, tracer.calls), source=Source(copy, shapes))


class _Left(Exception):  # noqa: N818
    """The forward was left where it asked for a value."""

    def __init__(self, end: End) -> None:
        super().__init__(str(end))
        self.end = end


def _run(
    copy: nn.Module,
    forward: Callable[..., Any],
    tracer: Tracer,
    arguments: Mapping[str, Any],
    shapes: Arguments,
    name: str,
) -> Any:
    try:
        with warnings.catch_warnings(), torch.no_grad(), tracer, staying():
            warnings.simplefilter("ignore")  # about speed or deprecations, and not about the shapes
            args, named = called(forward, arguments)
            return copy(*args, **named)
    except (StridewiseError, Misread):
        raise
    except Exception as error:
        where = getattr(error, "stridewise_where", "")
        error.stridewise_at_door = not tracer.builder.nodes  # type: ignore[attr-defined]
        ended = ended_at(error)
        if ended is not None:
            raise _Left(End(why=ended.why, where=ended.where, path=where, stored=ended.stored)) from error
        given = ", ".join(f"{k + '=' if k else ''}{a.text or by(a.sizes)}" for k, a in shapes.items())
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if len(said) > _LONG:
            said = said[:_LONG].rpartition(". ")[0] or said
        raise TraceError(
            f"{name}: the forward failed at input {given} in '{where or 'the model itself'}': {said}"
        ) from error


def _tensors(out: Any) -> list[torch.Tensor]:
    """The tensors of an output, containers flattened in order."""
    if isinstance(out, torch.Tensor):
        return [out]
    if isinstance(out, Mapping):
        return [t for v in out.values() for t in _tensors(v)]
    if isinstance(out, list | tuple):
        return [t for v in out for t in _tensors(v)]
    if hasattr(out, "__dict__") and not isinstance(out, nn.Module | type):
        return [t for v in vars(out).values() for t in _tensors(v)]
    return []


def _declared(model: nn.Module, stated: Sequence[tuple[str, torch.Tensor]]) -> list[tuple[str, Any]]:
    """Strides the model states about itself: timm's `feature_info`, a YOLO-style `stride`; `stated` by its modules."""
    found: list[tuple[str, Any]] = []
    info = getattr(model, "feature_info", None)
    rows = getattr(info, "info", info)
    if isinstance(rows, list | tuple) and all(isinstance(r, Mapping) and "reduction" in r for r in rows):
        found.extend((str(r.get("module", "")), _whole(r["reduction"])) for r in rows)
    stride = getattr(model, "stride", None)
    if (
        model._modules
        and isinstance(stride, list | tuple)
        and stride
        and all(isinstance(s, int | float) for s in stride)
    ):
        found.append(("stride", tuple(int(s) for s in stride)))
    steps = getattr(getattr(model, "anchor_generator", None), "steps", None)  # torchvision's SSD
    if isinstance(steps, list | tuple) and steps and all(isinstance(s, int) for s in steps):
        found.append(("anchor_generator.steps", tuple(steps)))
    for name, held in stated:
        if held.dim() == 1 and held.device.type != "meta":
            found.append((name, tuple(int(s) for s in held.tolist())))
    return found


def _whole(stride: Any) -> Any:
    """A declared stride: one number, or one an axis where they differ."""
    return tuple(int(s) for s in stride) if isinstance(stride, list | tuple) else int(stride)
