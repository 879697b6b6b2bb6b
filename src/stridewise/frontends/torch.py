"""Tracing a PyTorch model: one forward on the meta device under a dispatch mode, on a structural copy in eval mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stridewise.errors import StridewiseError, TraceError
from stridewise.frontends.build import Builder, ModuleCall, with_links, with_slots
from stridewise.frontends.clone import Cloner
from stridewise.frontends.step import step_of
from stridewise.ir import Graph
from stridewise.ops import find_torch
from stridewise.ops.call import Value
from stridewise.ops.registry import Op

InputSpec: TypeAlias = Sequence[int] | Mapping[str, Sequence[int]]


class _Target:
    """What is known of a dispatcher function, looked up once."""

    __slots__ = ("alias", "batch_norm", "in_place", "name", "op", "pointwise", "unsafe_view")

    def __init__(self, func: Any) -> None:
        self.name = str(func)
        self.op: Op | None = find_torch(self.name)
        returns, arguments = func._schema.returns, func._schema.arguments
        info = returns[0].alias_info if returns else None
        self.alias = -1
        if info is not None:
            shared = [i for i, a in enumerate(arguments) if a.alias_info and a.alias_info.before_set & info.before_set]
            self.alias = shared[0] if shared else 0
        self.in_place = bool(info is not None and info.is_write)
        self.pointwise = self.op is not None and self.op.pointwise and len(returns) == 1
        self.batch_norm = self.op is not None and self.op.name == "batch_norm"
        self.unsafe_view = "_unsafe_view" in self.name


_TARGETS: dict[Any, _Target] = {}


class _Tracer(TorchDispatchMode):
    """Feeds every dispatched call to a Builder; answers pointwise ops and batch norm without running them."""

    def __init__(self, builder: Builder, weights: Mapping[int, Value]) -> None:
        super().__init__()
        self.builder = builder
        self.values: dict[int, Value] = {}
        self.weights = dict(weights)
        self.alive: list[Any] = []
        self.owner: ModuleCall | None = None
        self.calls: list[ModuleCall] = []
        self.counts: dict[str, int] = {}

    def watch(self, tensor: torch.Tensor, value: Value) -> None:
        """Follow a tensor by its identity; it is kept alive so that the identity stays its own."""
        self.values[id(tensor)] = value
        self.alive.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        target = _TARGETS.get(func)
        if target is None or target.op is None:
            target = _TARGETS[func] = _Target(func)
        operands: list[Value] = []
        plain = [self._plain(a, operands) for a in args]
        named = {k: self._plain(v, operands) for k, v in kwargs.items()} if kwargs else {}
        first = args[0] if args else None
        if target.pointwise and isinstance(first, torch.Tensor) and first.is_floating_point():
            out = first if target.in_place else torch.empty_like(first)
        elif target.batch_norm and plain[5] is False:
            none = first.new_empty(0)
            out = (torch.empty_like(first), none, none)
        else:
            out = func(*args, **(kwargs or {}))
        if not any(v.index is not None for v in operands):
            self._constant(out, operands)
            return out
        outs = [out] if isinstance(out, torch.Tensor) else [o for o in out or () if isinstance(o, torch.Tensor)]
        if not outs:
            return out
        alias = None
        if target.alias >= 0 or target.unsafe_view:
            shared = plain[max(target.alias, 0)] if plain else None
            alias = shared.index if isinstance(shared, Value) else None
        specs = [(tuple(t.shape), t.element_size(), alias) for t in outs]
        values = self.builder.add(target.op, target.name, plain, named, specs, self.owner, operands)
        for tensor, value in zip(outs, values, strict=True):
            self.watch(tensor, value)
        return out

    def _plain(self, arg: Any, operands: list[Value]) -> Any:
        if isinstance(arg, torch.Tensor):
            value = self.values.get(id(arg)) or self.weights.get(id(arg)) or self._stranger(arg)
            operands.append(value)
            return value
        if type(arg) in (list, tuple) and arg and not isinstance(arg[0], int | float):
            return [self._plain(a, operands) for a in arg]
        return arg

    def _stranger(self, tensor: torch.Tensor) -> Value:
        """A tensor that is neither data nor a parameter: a constant the forward got from elsewhere."""
        value = Value(tuple(tensor.shape), tuple((s,) for s in tensor.shape), None, None, "weight")
        self.weights[id(tensor)] = value
        self.alive.append(tensor)
        return value

    def _constant(self, out: Any, operands: list[Value]) -> None:
        """What is made from weights is a weight; what is made from nothing is made here."""
        origin: Any = "weight" if any(v.origin == "weight" for v in operands) else "made"
        weights = sum(v.weights for v in {id(v): v for v in operands}.values())
        for tensor in [out] if isinstance(out, torch.Tensor) else out or ():
            if isinstance(tensor, torch.Tensor):
                shape = tuple(tensor.shape)
                self.weights[id(tensor)] = Value(shape, tuple((s,) for s in shape), None, None, origin, False, weights)
                self.alive.append(tensor)

    def wrap(self, copy: nn.Module, path: str, forward: Callable[..., Any], leaf: bool) -> Callable[..., Any]:
        """The copy's forward, telling the tracer which module runs; a step inserted behind it runs as part of it."""
        step = step_of(copy)
        if step is not None:
            copy._forward_hooks = type(copy._forward_hooks)(
                (k, h) for k, h in copy._forward_hooks.items() if h is not step
            )

        def run(*args: Any, **kwargs: Any) -> Any:
            above = self.owner
            number = self.counts[path] = self.counts.get(path, 0) + 1
            call = ModuleCall(path, number, above, leaf)
            self.owner = call
            try:
                out = forward(*args, **kwargs)
                if step is not None:
                    before = len(self.builder.nodes)
                    out = step(copy, args, out)
                    made = len(self.builder.nodes) > before
                    call.inserted = (step.kind, step.stride, before if made else None)
            except Exception as error:
                if not hasattr(error, "stridewise_where"):
                    error.stridewise_where = path  # type: ignore[attr-defined]
                raise
            finally:
                self.owner = above
            if isinstance(out, torch.Tensor):
                value = self.values.get(id(out))
                call.output = value.index if value is not None else None
                self.calls.append(call)
            return out

        return run


def trace(model: nn.Module, input: InputSpec = (3, 224, 224), *, name: str = "", opaque: Sequence[str] = ()) -> Graph:
    """The graph of `model` at these input shapes (without the batch; batch 1).

    input: channels and sizes, or a mapping from argument name to them. The model is left as it was, also after an
    error: the forward runs on a copy of its structure whose weights are shapes alone.
    Raises: TraceError naming the layer where the forward failed.
    """
    if not isinstance(model, nn.Module):
        raise TraceError(f"trace: a torch.nn.Module is wanted, not {type(model).__name__}")
    shapes = _shapes(input)
    graph, inputs_follow = _trace_once(model, shapes, name)
    from stridewise.frontends.build import _adaptive_link

    if any(g.kind == "fixed" or _adaptive_link(g, graph) for g in graph.grids):
        graph = with_links(graph, _second(model, shapes, name))
    if not any(op.site for op in graph.nodes):
        raise TraceError(
            f"{name or type(model).__name__}: no convolution or pooling was met: it has no strides to show"
        )
    return graph


def _second(model: nn.Module, shapes: Mapping[str, tuple[int, ...]], name: str) -> Graph | None:
    """The graph at a larger input, None when the network takes no other size."""
    for grow in (lambda n: n + 64, lambda n: 2 * n):
        larger = {k: (*s[:1], *(grow(n) for n in s[1:])) for k, s in shapes.items()}
        try:
            return _trace_once(model, larger, name)[0]
        except StridewiseError:
            continue
    return None


def _shapes(spec: InputSpec) -> dict[str, tuple[int, ...]]:
    named = spec if isinstance(spec, Mapping) else {"": spec}
    shapes = {}
    for key, shape in named.items():
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in shape):
            raise TraceError(
                f"input {key or ''}: sizes are whole numbers from 1, not {tuple(shape)}".replace("  ", " ")
            )
        shapes[key] = tuple(shape)
    return shapes


def _trace_once(
    model: nn.Module,
    shapes: Mapping[str, tuple[int, ...]],
    name: str,
    beside: Callable[[_Tracer], AbstractContextManager[Any]] | None = None,
) -> tuple[Graph, bool]:
    """The graph at these shapes alone; `beside` is entered around the forward, to watch it too."""
    builder = Builder()
    tracer = _Tracer(builder, {})
    cloner = Cloner(tracer.wrap)
    copy = cloner.module(model)
    params = 0
    seen: set[int] = set()
    for tensor in model.parameters():
        params += tensor.numel() if id(tensor) not in seen else 0
        seen.add(id(tensor))
    for original in cloner.keep:
        meta = cloner.memo[id(original)]
        shape = tuple(meta.shape)
        count = original.numel() if isinstance(original, nn.Parameter) else 0
        tracer.weights[id(meta)] = Value(shape, tuple((s,) for s in shape), None, None, "weight", False, count)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    arguments: dict[str, torch.Tensor] = {}
    for key, shape in shapes.items():
        tensor = torch.empty((1, *shape), dtype=dtype, device="meta")
        value = builder.input(key or "input", (1, *shape), tensor.element_size())
        tracer.watch(tensor, value)
        arguments[key] = tensor
    with beside(tracer) if beside else nullcontext():
        out = _run(copy, tracer, arguments, shapes, name or type(model).__name__)
    outputs = [tracer.values[id(t)].index for t in _tensors(out) if id(t) in tracer.values]
    if not outputs:
        raise TraceError(f"{name or type(model).__name__}: its forward returns no tensor made from the input")
    graph = builder.graph(
        name or type(model).__name__,
        [i for i in outputs if i is not None],
        params,
        declared=tuple(_declared(model)),
    )
    return with_slots(graph, builder, tracer.calls), True


def _run(
    copy: nn.Module,
    tracer: _Tracer,
    arguments: Mapping[str, torch.Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    name: str,
) -> Any:
    try:
        with torch.no_grad(), torch.device("meta"), tracer:
            if list(arguments) == [""]:
                return copy(arguments[""])
            return copy(**arguments)
    except StridewiseError:
        raise
    except Exception as error:
        where = getattr(error, "stridewise_where", "")
        given = ", ".join(f"{k + '=' if k else ''}{'x'.join(map(str, s))}" for k, s in shapes.items())
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
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


def _declared(model: nn.Module) -> list[tuple[str, Any]]:
    """Strides the model states about itself: timm's `feature_info`, a YOLO-style `stride`."""
    found: list[tuple[str, Any]] = []
    info = getattr(model, "feature_info", None)
    rows = getattr(info, "info", info)
    if isinstance(rows, list | tuple) and all(isinstance(r, Mapping) and "reduction" in r for r in rows):
        found.extend((str(r.get("module", "")), int(r["reduction"])) for r in rows)
    stride = getattr(model, "stride", None)
    if isinstance(stride, torch.Tensor) and stride.dim() == 1 and stride.device.type != "meta":
        found.append(("stride", tuple(int(s) for s in stride.tolist())))
    elif isinstance(stride, list | tuple) and stride and all(isinstance(s, int | float) for s in stride):
        found.append(("stride", tuple(int(s) for s in stride)))
    return found
