"""What a plan promises of a live model, held against traces of it: at its own input size and at others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from stridewise.analyses.strides import is_site_window
from stridewise.errors import GeometryError, TraceError, by
from stridewise.ir import Graph, Sizes
from stridewise.ops.registry import op_named
from stridewise.rewrites.certify import UnkeptError
from stridewise.rewrites.dilate import Dilation
from stridewise.rewrites.multipliers import Multipliers
from stridewise.tracing.calls import FunctionCall, function_calls
from stridewise.tracing.inputs import Argument, InputSpec, arguments_of
from stridewise.tracing.source import Source

# Further positions of the other sizes, an entry an axis: remainders of every step of 2 and 3.
_MORE = ((1, 2, 3), (3, 5, 1))


Key: TypeAlias = tuple[str, int, str, int]
Traced: TypeAlias = tuple[Graph, tuple[FunctionCall, ...]]


def traced_again(model: nn.Module, input: InputSpec, name: str) -> Traced:
    """The graph of a changed model and its calls. Raises: UnkeptError where its forward does not take the change."""
    try:
        return function_calls(model, input, name)
    except (TraceError, GeometryError) as error:
        raise UnkeptError(f"the model's own forward does not allow this plan: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """With kept weights every map has m times its old positions, at every input size the model takes.

    times: m by site, and of the outputs (None where an output tells no positions apart). before: graphs
    and calls of the unchanged model by input.
    """

    times: Mapping[str, Multipliers]
    outputs: tuple[Multipliers | None, ...]
    before: tuple[tuple[dict[str, Argument], Traced], ...]

    @staticmethod
    def of(model: nn.Module, graph: Graph, found: Dilation, input: InputSpec) -> Promise:
        """What `found` promises of `model`, before it is changed."""
        sites = {
            n.key: found.multipliers[n.grid]
            for n in graph.nodes
            if n.site and n.grid is not None and is_site_window(graph, graph.grids[n.grid])
        }
        grids = [graph.tensors[t].grid if graph.tensors[t].volume.over else None for t in graph.outputs]
        before = []
        for more in _MORE:
            spec = larger(graph.source.input if isinstance(graph.source, Source) else input, more)
            try:
                before.append((spec, function_calls(model, spec, graph.model)))
            except (TraceError, GeometryError):
                continue  # the model takes no such size
        return Promise(
            times=sites,
            outputs=tuple(None if g is None else found.multipliers[g] for g in grids),
            before=tuple(before),
        )

    def check(self, model: nn.Module) -> frozenset[Key]:
        """The calls that take other numbers now (`renumbered`), at any of the sizes.

        Raises: UnkeptError where the changed model measures something else at another size.
        """
        found: frozenset[Key] = frozenset()
        for spec, (old, calls) in self.before:
            new, now_calls = traced_again(model, spec, old.model)
            found |= renumbered(old, calls, now_calls)
            now = {n.key: n for n in new.nodes if n.site and n.grid is not None}
            at = " and ".join(by(a.sizes) for a in spec.values() if a.sizes)
            for node in old.nodes:
                if node.key not in self.times or node.key not in now or node.grid is None:
                    continue
                m, size, there = self.times[node.key], old.grids[node.grid].sizes, now[node.key]
                shown = new.tensors[there.outputs[0]].shape[-len(size) :]
                measured = new.grids[there.grid or 0].sizes
                if len(m) == len(size) and _multiple(size, m) not in (measured, shown):
                    wanted = by(_multiple(size, m))
                    raise UnkeptError(
                        f"{node.key}: at input {at} measures {by(measured)} under the plan, and {wanted} is what its "
                        "weights need; the forward computes with sizes"
                    )
            self._check_outputs(old, new, at)
        return found

    def _check_outputs(self, old: Graph, new: Graph, at: str) -> None:
        if len(old.outputs) != len(new.outputs) or len(old.outputs) != len(self.outputs):
            return  # another way through the forward at this size
        for m, t, u in zip(self.outputs, old.outputs, new.outputs, strict=True):
            grid, shape = old.tensors[t].grid, old.tensors[t].shape
            if m is None or grid is None:
                continue
            size = old.grids[grid].sizes
            axes = len(size)
            wanted = (*shape[:-axes], *_multiple(size, m)) if len(size) == len(m) and shape[-axes:] == size else shape
            if shape[-axes:] == size and new.tensors[u].shape != wanted:
                raise UnkeptError(
                    f"the output: at input {at} measures {by(new.tensors[u].shape)} under the plan, and {by(wanted)} "
                    "is what the weights need; the forward computes with sizes"
                )


def renumbered(graph: Graph, before: Sequence[FunctionCall], after: Sequence[FunctionCall]) -> frozenset[Key]:
    """The calls of `graph` that only compute with numbers, and with others after the change: numbers that the forward
    works out from the sizes of its maps (`x / x.shape[2]`)."""
    now = {key_of(call): call.numbers for call in after}
    return frozenset(
        key_of(call)
        for call in before
        if now.get(key_of(call), call.numbers) != call.numbers and all(_computes(graph.nodes[i].op) for i in call.nodes)
    )


def _computes(name: str) -> bool:
    """Whether the numbers that an op of this name takes are values, and no sizes, shifts or places."""
    op = op_named(name)
    return op.mixes == "nothing" and op.between == "bends"


def key_of(call: FunctionCall) -> Key:
    """What names a call in every trace of a model: its module, which of its calls, the function, its number in it."""
    return call.path, call.turn, call.name, call.number


def _multiple(size: Sizes, m: Multipliers) -> Sizes:
    return tuple(n * k for n, k in zip(size, m, strict=False))


def larger(input: InputSpec, more: Sequence[int]) -> dict[str, Argument]:
    """The input with each of its axes a few positions longer."""
    return {key: argument.longer(more) for key, argument in arguments_of(input).items()}
