"""What is hung on a live model: a step behind or before a module, a forward that stands in for its own for a while
(some networks call `forward` and never reach a hook). State dict keys stay as they are.

What a step computes is written with torch's dispatcher ops: an override around it counts calls of torch's functions
(`override.py`), and these are not among the calls it counts.
"""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stridewise.axis import Window
from stridewise.ops.step import Inserted

Run = Callable[..., Any]
_MISSING: Any = object()


@contextmanager
def standing_in(modules: Mapping[str, nn.Module], make: Callable[[str, nn.Module, Run], Run]) -> Iterator[None]:
    """While it lasts, `make(name, module, forward)` is each module's forward; afterwards all is as it was."""
    before: list[tuple[nn.Module, Any]] = []
    try:
        for name, module in modules.items():
            own = module.__dict__.get("forward", _MISSING)
            before.append((module, own))
            module.__dict__["forward"] = make(name, module, module.forward)
        yield
    finally:
        for module, own in reversed(before):
            if own is _MISSING:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own


class PatchedForward:
    """An instance's own forward (or another `method`): in place of the class's, or of one set there before."""

    def __init__(self, module: nn.Module, method: str = "forward") -> None:
        self.module = module
        self.method = method
        self.inner = module.__dict__.get(method)

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """What was there before."""
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return getattr(type(self.module), self.method)(self.module, *args, **kwargs)

    def on(self, module: nn.Module, copied: Callable[[Any], Any]) -> PatchedForward:
        """The same for a copy of the module; `copied` gives the copy of what else this holds."""
        twin = type(self).__new__(type(self))
        copied_state = {k: copied(v) if isinstance(v, PatchedForward) else v for k, v in self.__dict__.items()}
        twin.__dict__.update({**copied_state, "module": module})
        return twin

    @property
    def __code__(self) -> Any:
        """torch.export reports where a forward was written."""
        return getattr(type(self.module), self.method).__code__

    @property
    def __signature__(self) -> inspect.Signature:
        """The arguments are the class's."""
        return inspect.signature(getattr(type(self.module), self.method).__get__(self.module))


# While a model is traced, what follows it; asked first, so that a step is one op of the graph and not several.
FOLLOWING: list[Callable[[Step, torch.Tensor], torch.Tensor | None]] = []
_aten: Any = torch.ops.aten


@dataclass(slots=True)
class Phase:
    """The phase that parallel paths share: chosen by the first to run, forgotten after the last of `readers`."""

    readers: int = 0
    left: int = 0
    chosen: torch.Tensor | None = None


class Step:
    """Makes a step of what a module takes or gives out, as `made` says.

    key: its name in graphs. phase, leads: a polyphase's share in the phase of its group.
    """

    def __init__(self, made: Inserted, key: str, phase: Phase | None = None, leads: bool = True) -> None:
        self.made = made
        self.key = key
        self.phase = phase
        self.leads = leads

    @staticmethod
    def at_slot(kind: str, stride: tuple[int, ...], path: str) -> Step:
        """A step behind the module at `path`, as plans insert it at a slot."""
        return Step(Inserted(kind=kind, stride=stride, slot=True), f"+{path}")

    @property
    def stride(self) -> tuple[int, ...]:
        """One entry an axis."""
        return self.made.stride

    @property
    def kind(self) -> str:
        """blur, polyphase, mean or max."""
        return self.made.kind

    def __call__(self, module: nn.Module, args: Any, *output: Any) -> Any:
        """As a hook behind a module (with its output) or before it (without)."""
        return self.on(output[0]) if output else (self.on(args[0]), *args[1:])

    def on(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *sizes) -> (N, C, *smaller)."""
        for follow in FOLLOWING:
            found = follow(self, x)
            if found is not None:
                return found
        if all(s == 1 for s in self.stride):
            return x
        if self.kind == "polyphase":
            return self._phase_of(x)
        return blurred(x, self.made) if self.kind == "blur" else pooled(x, self.made)

    def _phase_of(self, x: torch.Tensor) -> torch.Tensor:
        parts = in_phases(x, self.made)
        shared = self.phase
        if shared is None:
            return pick(parts, largest(parts))
        if self.leads:
            shared.chosen, shared.left = largest(parts), shared.readers
        assert shared.chosen is not None, "the paths of a group run in the order they were traced"
        chosen = shared.chosen
        if not self.leads:
            shared.left -= 1
        if shared.left == 0:
            shared.chosen = None
        return pick(parts, chosen)

    def __repr__(self) -> str:
        return f"Step({self.key!r}, {self.made})"


def sizes_of(x: torch.Tensor) -> tuple[int, ...]:
    """Channels and sizes as whole numbers, also while torch.jit traces (for ONNX), which would have them computed."""
    if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return tuple(x.shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a size is now a constant of the file
        return tuple(int(n) for n in x.shape[1:])


def blurred(x: torch.Tensor, made: Inserted) -> torch.Tensor:
    """The binomial low-pass of every channel, stepping. Source: Zhang 2019, sections 3.2 and 4."""
    windows = made.windows
    taps = [[math.comb(w.kernel - 1, i) / 2 ** (w.kernel - 1) for i in range(w.kernel)] for w in windows]
    kernel = [math.prod(each) for each in itertools.product(*taps)]
    channels, *_ = sizes_of(x)
    weight = x.new_tensor(kernel).view(1, 1, *(w.kernel for w in windows)).expand(channels, 1, *(-1 for _ in windows))
    padding = [0 if made.pads else w.pad_begin for w in windows]
    if made.pads:
        x = continued(x, [(w.pad_begin, w.pad_end) for w in windows], made.border)
    convolve = getattr(_aten, f"conv{len(windows)}d")
    out: torch.Tensor = convolve(x, weight, None, made.stride, padding, [1] * len(windows), channels)
    return out


def continued(x: torch.Tensor, rows: Sequence[tuple[int, int]], border: str) -> torch.Tensor:
    """The map with rows added at both ends of each axis: mirrored, zeros, or from the other end."""
    if not any(begin or end for begin, end in rows):
        return x
    flat = [n for pair in reversed(rows) for n in pair]
    out: torch.Tensor = _aten.pad(x, flat, "constant" if border == "zero" else border)
    return out


def pooled(x: torch.Tensor, made: Inserted) -> torch.Tensor:
    """The mean or maximum of every block; at a site the last one may be a part (its own positions count)."""
    ceil = any(w.ceil_mode for w in made.windows)
    pool = getattr(_aten, f"{'max' if made.kind == 'max' else 'avg'}_pool{len(made.stride)}d")
    # A block larger than a map is the map: torch's avg_pool3d refuses such a window, also with ceil_mode.
    sizes = sizes_of(x)[-len(made.stride) :] if ceil else made.stride
    kernel = [min(n, s) for n, s in zip(sizes, made.stride, strict=True)]
    zeros = [0] * len(made.stride)
    last = ([1] * len(made.stride), ceil) if made.kind == "max" else (ceil,)
    out: torch.Tensor = pool(x, kernel, made.stride, zeros, *last)
    return out


def in_phases(x: torch.Tensor, made: Inserted) -> torch.Tensor:
    """(N, C, n, m) -> (N, C, n / s, s, m / t, t): the map in blocks, continued where they do not divide it."""
    channels, *sizes = sizes_of(x)
    x = continued(x, [(0, -n % s) for n, s in zip(sizes, made.stride, strict=True)], made.border)
    blocks = [part for n, s in zip(sizes, made.stride, strict=True) for part in (-(-n // s), s)]
    return x.reshape(x.shape[0], channels, *blocks)


def largest(parts: torch.Tensor) -> torch.Tensor:
    """(N,) which phase of the blocks has the largest norm over channels and positions.

    Source: Chaman and Dokmanic 2021, "Truly shift-invariant convolutional neural networks", section 4.
    """
    within = [d for d in range(parts.dim()) if d > 0 and (d == 1 or d % 2 == 0)]
    norms = torch.linalg.vector_norm(parts.detach(), dim=within)
    chosen: torch.Tensor = norms.flatten(1).argmax(1)
    return chosen


def pick(parts: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    """(N, C, n / s, m / t): of every picture's blocks the positions of its phase."""
    steps = sizes_of(parts)[2::2]
    at: list[torch.Tensor] = []
    for step in reversed(steps):
        at.insert(0, phase % step)
        phase = torch.div(phase, step, rounding_mode="floor")
    for axis, index in reversed(list(enumerate(at))):
        dim = 3 + 2 * axis
        shape = [1 if d else -1 for d in range(parts.dim())]
        wanted = [1 if d == dim else n for d, n in enumerate((parts.shape[0], *sizes_of(parts)))]
        parts = parts.gather(dim, index.view(shape).expand(wanted)).squeeze(dim)
    return parts


def step_of(module: nn.Module) -> Step | None:
    """The step inserted behind a module, None where there is none."""
    return next((h for h in module._forward_hooks.values() if isinstance(h, Step)), None)


class EndPad:
    """Pads what a module takes at the end of its axes, by (begin, end) pairs as torch's pad wants them.

    Keeps a window that falls one short of a parallel path in step with it: the edge is repeated, so that an average
    is not darkened. Or gives a convolution the zeros that padding="same" has at the end alone (`mode` constant).
    """

    def __init__(self, rows: tuple[int, ...], mode: str = "replicate") -> None:
        self.rows = rows
        self.mode = mode

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        pad = [n for rows in reversed(self.rows) for n in (0, rows)]
        return (_aten.pad(args[0], pad, self.mode), *args[1:])


class Reach:
    """Adds the zeros that a grown convolution needs beyond its own padding, which is the same at both ends.

    old: its windows before they grew; grown: after, one an axis. Works at every input size.
    """

    def __init__(self, old: tuple[Window, ...], grown: tuple[Window, ...]) -> None:
        self.old = old
        self.grown = grown

    @property
    def own(self) -> tuple[int, ...]:
        """The convolution's own padding: never more than it may have at its end, where it could make a position."""
        return tuple(min(w.pad_begin, w.pad_end) for w in self.grown)

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        rows = []
        for n, old, new, own in zip(sizes_of(x)[1:], self.old, self.grown, self.own, strict=True):
            last = (old.out_size(n) - 1) * new.stride + new.kernel
            rows.append((new.pad_begin - own, max(last - n - new.pad_begin - own, 0)))
        return (continued(x, rows, "zero"), *args[1:])
