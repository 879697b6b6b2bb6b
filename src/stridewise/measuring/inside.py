"""The map that any node of a traced network makes, module or not: met as the ops run, in the order they were traced.

Also where its gradients begin, for those who want to follow them back to the picture.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode

from stridewise.ir import Graph
from stridewise.tracing.steps import FOLLOWING, Step

T = TypeVar("T")


def node_maps(model: nn.Module, graph: Graph, keys: Sequence[str], x: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """By layer key what the node makes of pictures x (N, channels, *sizes); what the run does not meet is left out.

    graph: the model as it is, traced at the sizes of x. A node is the n-th call of its op, there as here; where the run
    calls an op more or less often than the trace did (it depends on the numbers), its nodes are left out.
    """
    with torch.no_grad():  # inference mode would not take composed ops apart, as the trace does
        return _met(model, graph, keys, x, lambda made, _: made.detach().clone())


def node_call(model: nn.Module, graph: Graph, key: str, x: torch.Tensor) -> tuple[Any, ...] | None:
    """What a node's op is given on pictures x, tensors as copies and everything else as it is, and last what it makes.

    As `node_maps`; None where the run does not meet the node.
    """

    def copies(made: torch.Tensor, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(v.detach().clone() if isinstance(v, torch.Tensor) else v for v in (*given, made))

    with torch.no_grad():
        return _met(model, graph, [key], x, copies).get(key)


def node_edges(
    model: nn.Module, graph: Graph, keys: Sequence[str], x: torch.Tensor
) -> Mapping[str, tuple[GradientEdge, torch.Size]]:
    """By layer key where the gradients of a node's map begin, and the map's shape; x wants gradients.

    As `node_maps`; a map that does not depend on x, or is made without gradients, is left out too.
    """
    with torch.enable_grad():
        take = lambda made, _: (get_gradient_edge(made), made.shape) if made.grad_fn else None  # noqa: E731
        return _met(model, graph, keys, x, take)


def _met(
    model: nn.Module, graph: Graph, keys: Sequence[str], x: torch.Tensor, take: Callable[[torch.Tensor, Any], T | None]
) -> dict[str, T]:
    wanted: dict[tuple[str, int], str] = {}
    calls: Counter[str] = Counter()
    for node in graph.nodes:
        if node.key in keys:
            wanted[node.target, calls[node.target]] = node.key
        calls[node.target] += 1
    mode = _Meeting(wanted, take)
    with mode.steps(), mode:
        model(x)
    mode.settle()
    return {key: made for (target, _), (key, made) in mode.found.items() if mode.calls[target] == calls[target]}


class _Meeting(TorchDispatchMode):
    """Counts the calls of every op and takes the outputs of those that are wanted; an inserted step is one op."""

    def __init__(self, wanted: Mapping[tuple[str, int], str], take: Callable[..., Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wanted, self.take = wanted, take
        self.found = dict[tuple[str, int], tuple[str, Any]]()
        self.met: tuple[tuple[str, int], torch.Tensor, tuple[Any, ...]] | None = None
        self.calls: Counter[str] = Counter()
        self.in_step = False
        self.thread = threading.get_ident()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.settle()
        out = func(*args, **(kwargs or {}))
        if not self.in_step:
            self._meet(str(func), out, args)
        return out

    def _meet(self, target: str, out: Any, given: tuple[Any, ...]) -> None:
        at = target, self.calls[target]
        self.calls[target] += 1
        made = out[0] if isinstance(out, tuple | list) and out else out
        if at in self.wanted and isinstance(made, torch.Tensor):
            self.met = at, made, given

    def settle(self) -> None:
        """Take what was met last: its gradient is known once its op is over, and the next op may write over it."""
        if self.met is not None:
            (at, made, given), self.met = self.met, None
            taken = self.take(made, given)
            if taken is not None:
                self.found[at] = self.wanted[at], taken

    @contextmanager
    def steps(self) -> Iterator[None]:
        """While it lasts, steps inserted into the model are met whole, as they were traced."""
        follow: Callable[[Step, torch.Tensor], torch.Tensor | None] = self._step
        FOLLOWING.append(follow)
        try:
            yield
        finally:
            FOLLOWING.remove(follow)

    def _step(self, step: Step, x: torch.Tensor) -> torch.Tensor | None:
        if self.in_step or threading.get_ident() != self.thread or all(s == 1 for s in step.stride):
            return None
        self.in_step = True
        try:
            out = step.on(x)
        finally:
            self.in_step = False
        self._meet(f"stridewise.{step.kind}", out, (x,))
        return out
