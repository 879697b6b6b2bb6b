"""Networks drawn by seed, 1-D to 3-D with unequal axes: every way that a forward moves, mixes or makes positions.

`network(seed)` is a plain function, so that tests draw seeds (`seeds()`) and `benchmarks/truth.py` counts through
thousands. Every layer of a drawn network gives out a map (1, channels, *positions); nothing is asked of Stridewise.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Function = Callable[..., Tensor]
CHANNELS = 4
_MODES = {1: ("nearest", "linear"), 2: ("nearest", "bilinear", "bicubic", "nearest-exact"), 3: ("nearest", "trilinear")}
_PADDED = ("constant", "reflect", "replicate", "circular")


class Step(nn.Module):
    """One layer of a drawn network: a function of the map and of what the step holds (layers, parameters)."""

    def __init__(self, kind: str, function: Function, *parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.kind = kind
        self.function = function
        self.wraps = self.picks = False
        self.parts = nn.ModuleList(p for p in parts if isinstance(p, nn.Module))
        self.tables = nn.ParameterList(p for p in parts if isinstance(p, nn.Parameter))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts, *self.tables)

    def marked(self, *, wraps: bool = False, picks: bool = False) -> Step:
        """wraps: its border holds positions from elsewhere on the map. picks: gradients reach some of what it reads."""
        self.wraps, self.picks = wraps, picks
        return self


class Network(nn.Module):
    """Steps one after the other; a name of each step is `steps.<number>`."""

    def __init__(self, steps: list[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A network in float64 and eval, the shape it was drawn for (channels and sizes), and the kinds of its steps."""

    seed: int
    model: Network
    shape: tuple[int, ...]
    kinds: tuple[str, ...]


def seeds() -> st.SearchStrategy[int]:
    """Seeds of drawn networks, for hypothesis."""
    return st.integers(0, 2**31 - 1)


def network(seed: int, kinds: tuple[str, ...] = ()) -> Drawn:
    """The drawn network of a seed. kinds: draw its odd steps from these alone (names of `KINDS`)."""
    rng = random.Random(seed)
    axes = rng.choice((1, 2, 2, 2, 3))
    low, high = {1: (12, 40), 2: (8, 25), 3: (5, 11)}[axes]
    shape = (rng.choice((1, 3)), *(rng.randint(low, high) for _ in range(axes)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        x = torch.rand(1, *shape, dtype=torch.float64)
        steps: list[nn.Module] = []
        if rng.random() < 0.85:
            x = _add(steps, x, rng, ("conv",)) if rng.random() < 0.8 else _add(steps, x, rng, kinds)
        for _ in range(rng.randint(1, 5)):
            x = _add(steps, x, rng, ("conv", "pool") if rng.random() < 0.35 else kinds)
        if not any(isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) for s in steps for m in s.modules()):
            _add(steps, x, rng, ("conv",))
    model = Network(steps).double().eval()
    return Drawn(seed=seed, model=model, shape=shape, kinds=tuple(getattr(s, "kind", "") for s in steps))


def _add(steps: list[nn.Module], x: Tensor, rng: random.Random, kinds: tuple[str, ...] = ()) -> Tensor:
    """Append a drawn step that runs on `x`; what it gives out."""
    for _ in range(60):
        kind = rng.choice(kinds or tuple(KINDS))
        try:
            step = KINDS[kind](x, rng)
            step.kind = kind
            with torch.no_grad():
                y = step.double().eval()(x)
        except (RuntimeError, ValueError, IndexError, AssertionError):
            continue  # does not fit here
        positions = y[0, 0].numel() if y.dim() > 2 else 0
        if y.dim() == x.dim() and 0 < positions <= 4000 and y.shape[1] <= 48 and torch.isfinite(y).all():
            steps.append(step)
            return y
    return x


# -- what is drawn ----------------------------------------------------------------------------------------------------


def _axes(x: Tensor) -> int:
    return x.dim() - 2


def _conv(x: Tensor, rng: random.Random, out: int = CHANNELS) -> nn.Module:
    axes = _axes(x)
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    groups = x.shape[1] if out == x.shape[1] and rng.random() < 0.2 else 1
    kernel = tuple(rng.randint(1, 4) for _ in range(axes))
    mode = rng.choice(("zeros", "zeros", "zeros", "reflect", "circular", "replicate"))
    if rng.random() < 0.15:
        return layer(x.shape[1], out, kernel, 1, "same", rng.randint(1, 2), groups, padding_mode="zeros")
    stride = tuple(rng.choice((1, 1, 2, 3)) for _ in range(axes))
    pad = tuple(rng.randint(0, k // 2 + (rng.random() < 0.15)) for k in kernel)
    return layer(x.shape[1], out, kernel, stride, pad, rng.choice((1, 1, 1, 2)), groups, padding_mode=mode)


def _conv_step(x: Tensor, rng: random.Random) -> Step:
    layer = _conv(x, rng)
    return Step("conv", lambda x, layer: layer(x), layer).marked(wraps=layer.padding_mode != "zeros")


def _transposed(x: Tensor, rng: random.Random) -> Step:
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[_axes(x) - 1]
    kernel, stride = rng.randint(1, 4), rng.randint(1, 3)
    made = layer(x.shape[1], CHANNELS, kernel, stride, rng.randint(0, kernel // 2), rng.randint(0, stride - 1))
    return Step("transposed", lambda x, layer: layer(x), made)


def _pool(x: Tensor, rng: random.Random) -> Step:
    axes = _axes(x)
    kernel = tuple(rng.randint(1, 3) for _ in range(axes))
    stride = tuple(rng.randint(1, 3) for _ in range(axes))
    pad, ceil = tuple(rng.randint(0, k // 2) for k in kernel), rng.random() < 0.4
    picks = rng.random() < 0.5
    if picks:
        layer = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1](kernel, stride, pad, ceil_mode=ceil)
    else:
        layer = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[axes - 1](kernel, stride, pad, ceil, rng.random() < 0.5)
    return Step("pool", lambda x, layer: layer(x), layer).marked(picks=picks)


def _adaptive(x: Tensor, rng: random.Random) -> Step:
    pool = rng.choice(((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d), _ADAPTIVE_MAX))
    to = tuple(rng.randint(1, max(n // 2, 1)) for n in x.shape[2:])
    return Step("adaptive", lambda x: pool[_axes(x) - 1](x, to)).marked(picks=True)


_ADAPTIVE_MAX = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)


def _resize(x: Tensor, rng: random.Random) -> Step:
    mode = rng.choice(_MODES[_axes(x)])
    align = rng.choice((None, False, True)) if "linear" in mode or mode == "bicubic" else None
    way = rng.choice(("factor", "sizes", "double", "half"))
    if way == "factor":
        factors = tuple(rng.choice((2, 3, 0.5, 1.5, 2.5)) for _ in range(_axes(x)))
        return Step("resize", lambda x: F.interpolate(x, scale_factor=factors, mode=mode, align_corners=align))
    if way == "sizes":
        to = tuple(rng.randint(2, 2 * n) for n in x.shape[2:])
        return Step("resize", lambda x: F.interpolate(x, to, mode=mode, align_corners=align))
    scale = (lambda n: 2 * n) if way == "double" else (lambda n: (n + 1) // 2)
    return Step("resize", lambda x: F.interpolate(x, [scale(n) for n in x.shape[2:]], mode=mode, align_corners=align))


def _pad(x: Tensor, rng: random.Random) -> Step:
    mode = rng.choice(_PADDED)
    low = -2 if mode == "constant" else 0
    rows = [rng.randint(low, 2) for _ in range(2 * _axes(x))]
    return Step("pad", lambda x: F.pad(x, rows, mode=mode)).marked(wraps=mode != "constant")


def _at(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def _crop(x: Tensor, rng: random.Random) -> Step:
    axis, n = 2 + rng.randrange(_axes(x)), rng.randint(1, 3)
    every = (*(slice(None),) * 2, *(slice(n, -n),) * _axes(x))
    ways: dict[str, Function] = {
        "front": lambda x: x[_at(axis, slice(n, None))],
        "back": lambda x: x[_at(axis, slice(None, -n))],
        "first": lambda x: x.narrow(axis, 0, 2 * n),
        "last": lambda x: x[_at(axis, slice(-2 * n, None))],
        "half": lambda x: x[_at(axis, slice(None, x.shape[axis] // 2))],
        "second half": lambda x: x[_at(axis, slice(x.shape[axis] // 2, None))],
        "steps": lambda x: x[_at(axis, slice(n - 1, None, n))],
        "centre": lambda x: x[_at(axis, slice(x.shape[axis] // 4, x.shape[axis] // 4 + x.shape[axis] // 2))],
        "chunk": lambda x: x.chunk(2, axis)[1],
        "split": lambda x: x.split(2 * n, axis)[0],
        "fixed": lambda x: x.narrow(axis, n, 3),
        "all round": lambda x: x[every],
    }
    return Step("crop", rng.choice(list(ways.values())))


def _crop_join(x: Tensor, rng: random.Random) -> Step:
    """A branch without padding, beside a crop of what came in (U-Net) or of both to the smaller one."""
    layer = _conv(x, rng, x.shape[1])

    def to_size(x: Tensor, layer: nn.Module) -> Tensor:
        y = layer(x)
        return y + x[(..., *(slice(0, n) for n in y.shape[2:]))]

    def centred(x: Tensor, layer: nn.Module) -> Tensor:
        y = layer(x)
        begin = [(n - m) // 2 for n, m in zip(x.shape[2:], y.shape[2:], strict=True)]
        return torch.cat([y, x[(..., *(slice(b, b + m) for b, m in zip(begin, y.shape[2:], strict=True)))]], 1)

    def resized(x: Tensor, layer: nn.Module) -> Tensor:
        return x + F.interpolate(layer(x), x.shape[2:], mode="nearest")

    step = Step("crop join", rng.choice((to_size, centred, resized)), layer)
    return step.marked(wraps=layer.padding_mode != "zeros", picks=True)


def _along(x: Tensor, rng: random.Random) -> Step:
    """What mixes positions along one axis and leaves the size."""
    axis = 2 + rng.randrange(_axes(x))
    ways: list[Function] = [
        lambda x: x.softmax(axis),
        lambda x: F.log_softmax(x, axis),
        lambda x: x.cumsum(axis),
        lambda x: (0.1 * x.clamp(-1, 1) + 1).cumprod(axis),
        lambda x: x.logcumsumexp(axis),
        lambda x: x.cummax(axis)[0],
        lambda x: x.flip(axis),
        lambda x: x.roll(rng_shift, axis),
        lambda x: x.sort(axis)[0],
        lambda x: x - x.mean(axis, keepdim=True),
        lambda x: x / (1 + x.abs().amax(axis, keepdim=True)),
        lambda x: x - x.median(axis, keepdim=True)[0],
        lambda x: F.normalize(x, dim=axis),
        lambda x: x * x.std(axis, keepdim=True),
        lambda x: torch.fft.fft(x, dim=axis).abs() + x,
    ]
    rng_shift = rng.choice((1, 2, -1))
    return Step("along", rng.choice(ways)).marked(wraps=True, picks=True)


def _from_size(x: Tensor, rng: random.Random) -> Step:
    """Values made from the map's own size: coordinates, ranges, masks, triangles."""
    axis = 2 + rng.randrange(_axes(x))

    def line(x: Tensor, values: Tensor) -> Tensor:
        return values.to(x).view(*(-1 if i == axis else 1 for i in range(x.dim())))

    ways: list[Function] = [
        lambda x: torch.cat([x, line(x, torch.linspace(-1, 1, x.shape[axis])).expand(1, 1, *x.shape[2:])], 1),
        lambda x: x + line(x, torch.arange(x.shape[axis])),
        lambda x: x * line(x, torch.arange(x.shape[axis]) > 1),
        lambda x: x * line(x, torch.arange(x.shape[axis]) / x.shape[axis]).sin(),
        lambda x: x * torch.ones(x.shape[2:]).to(x).cumsum(axis - 2),
        lambda x: x.tril() if x.dim() > 3 else x * 2,
        lambda x: x.masked_fill(line(x, torch.arange(x.shape[axis]) % 2 == 0) > 0, 0.5),
        lambda x: x / x.shape[axis],
    ]
    return Step("from size", rng.choice(ways)).marked(picks=True)


def _product(x: Tensor, rng: random.Random) -> Step:
    """A product along a position axis, or along channels (which moves nothing)."""
    axes, size, first = _axes(x), x.shape[-1], x.shape[2]
    to = rng.choice((size, max(size // 2, 1), size + 3))
    letters = "hwd"[:axes]
    square = nn.Parameter(torch.rand(first, first) / first)
    wide = nn.Parameter(torch.rand(size, to) / size)
    channels = nn.Parameter(torch.rand(CHANNELS, x.shape[1]) / 4)
    ways: list[tuple[Function, tuple[nn.Module | nn.Parameter, ...]]] = [
        (lambda x, layer: layer(x), (nn.Linear(size, to),)),
        (lambda x, w: x @ w, (wide,)),
        (lambda x, w: torch.einsum(f"ih,bc{letters}->bc{letters.replace('h', 'i')}", w, x), (square,)),
        (lambda x, w: torch.einsum(f"oc,bc{letters}->bo{letters}", w, x), (channels,)),
        (lambda x, layer: layer(x.movedim(1, -1)).movedim(-1, 1), (nn.Linear(x.shape[1], CHANNELS),)),
        (lambda x, layer: layer(x.flatten(2)).view_as(x) + x, (nn.Linear(x[0, 0].numel(), x[0, 0].numel()),)),
    ]
    if axes > 1:
        tall = nn.Parameter(torch.rand(x.shape[-2], x.shape[-2]) / x.shape[-2])
        ways += [
            (lambda x, w: w @ x, (tall,)),
            (lambda x, layer: layer(x.transpose(-1, -2)).transpose(-1, -2), (nn.Linear(x.shape[-2], x.shape[-2]),)),
            (lambda x: (x @ x.transpose(-1, -2)).softmax(-1) @ x, ()),
        ]
    function, parts = rng.choice(ways)
    return Step("product", function, *parts).marked(picks=True)


def _enlarge(x: Tensor, rng: random.Random) -> Step:
    """Positions repeated, by calls and by views."""
    axis, times = 2 + rng.randrange(_axes(x)), rng.randint(2, 3)

    def spread(x: Tensor) -> Tensor:
        for at in range(2, x.dim()):
            x = x.unsqueeze(at + 1).expand(*x.shape[: at + 1], times, *x.shape[at + 1 :]).flatten(at, at + 1)
        return x

    ways: list[Function] = [
        lambda x: x.repeat_interleave(times, axis),
        spread,
        lambda x: x.repeat(1, times, *(1,) * (x.dim() - 2)),
        lambda x: torch.tile(x, (1, *(times if i == axis else 1 for i in range(1, x.dim())))),
        lambda x: torch.stack([x, x + 1], axis + 1).flatten(axis, axis + 1),
        lambda x: torch.cat([x, x], axis),
        lambda x: torch.cat([x, x.flip(axis)], axis),
        lambda x: x.mean(axis, keepdim=True).expand_as(x) + x,
    ]
    return Step("enlarge", rng.choice(ways)).marked(picks=True)


def _rearrange(x: Tensor, rng: random.Random) -> Step:
    """Positions into channels and back, by calls and by views."""
    axes, axis = _axes(x), 2 + rng.randrange(_axes(x))

    def shuffle(x: Tensor) -> Tensor:
        n, c, *s = x.shape
        x = x.view(n, c // 2**axes, *(2,) * axes, *s)
        order = [0, 1, *(i for a in range(axes) for i in (2 + axes + a, 2 + a))]
        return x.permute(order).reshape(n, c // 2**axes, *(2 * m for m in s))

    def to_depth(x: Tensor) -> Tensor:
        n, c, *s = x.shape
        x = x.view(n, c, *(m for size in s for m in (size // 2, 2)))
        order = [0, 1, *(3 + 2 * a for a in range(axes)), *(2 + 2 * a for a in range(axes))]
        return x.permute(order).reshape(n, c * 2**axes, *(m // 2 for m in s))

    def channels(x: Tensor) -> Tensor:
        return x.view(x.shape[0], 2, x.shape[1] // 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)

    def focus(x: Tensor) -> Tensor:
        return torch.cat([x[_at(axis, slice(i, None, 2))] for i in range(2)], 1)

    def merge(x: Tensor) -> Tensor:
        return x.unfold(axis, 2, 2).amax(-1)

    def windows(x: Tensor) -> Tensor:
        return x.unfold(axis, 3, 1).mean(-1)

    ways: list[Function] = [shuffle, to_depth, channels, focus, merge, windows]
    if axes == 2:
        ways += [
            lambda x: F.pixel_shuffle(x, 2),
            lambda x: F.pixel_unshuffle(x, 2),
            lambda x: F.unfold(x, 2, stride=2).view(
                x.shape[0], -1, (x.shape[2] - 2) // 2 + 1, (x.shape[3] - 2) // 2 + 1
            ),
            lambda x: F.unfold(x, 3, padding=1).view(x.shape[0], -1, *x.shape[2:]),
            lambda x: F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1),
            lambda x: x.transpose(2, 3),
            lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False) + x,
            lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=x.shape[2:]),
        ]
    return Step("rearrange", rng.choice(ways)).marked(picks=True)


def _norm(x: Tensor, rng: random.Random) -> Step:
    c, axes, last = x.shape[1], _axes(x), x.shape[-1]
    layers: list[Function] = [
        lambda: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1](c),
        lambda: (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[axes - 1](c),
        lambda: nn.GroupNorm(1, c),
        lambda: nn.GroupNorm(c, c),
        lambda: nn.LocalResponseNorm(3),
        lambda: nn.LayerNorm(last),
        lambda: nn.LayerNorm(list(x.shape[2:])),
    ]
    if rng.random() < 0.2:
        return Step("norm", lambda x, layer: layer(x.movedim(1, -1)).movedim(-1, 1), nn.LayerNorm(c))
    return Step("norm", lambda x, layer: layer(x), rng.choice(layers)())


def _attention(x: Tensor, rng: random.Random) -> Step:
    c = x.shape[1]
    embed = nn.Linear(c, 3 * c)

    def heads(t: Tensor, layer: nn.Module) -> Tensor:
        q, k, v = layer(t).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)

    def tokens(x: Tensor, layer: nn.Module) -> Tensor:
        return heads(x.flatten(2).transpose(1, 2), layer).transpose(1, 2).reshape(x.shape)

    def axial(x: Tensor, layer: nn.Module) -> Tensor:
        t = x.movedim(1, -1)
        return heads(t, layer).movedim(-1, 1)

    def windowed(x: Tensor, layer: nn.Module) -> Tensor:
        t = x.movedim(1, -1).unflatten(1, (x.shape[2] // 2, 2)).movedim(2, -2)
        return heads(t, layer).movedim(-2, 2).flatten(1, 2).movedim(-1, 1)

    def gate(x: Tensor, layer: nn.Module) -> Tensor:
        g = layer(x.flatten(2).mean(2)).chunk(3, -1)[0].sigmoid()
        return x * g.view(*g.shape, *(1,) * (x.dim() - 2))

    def place(x: Tensor, layer: nn.Module) -> Tensor:
        return x * x.flatten(2).softmax(2).view_as(x)

    return Step("attention", rng.choice((tokens, axial, windowed, gate, place)), embed)


def _folded(x: Tensor, rng: random.Random) -> Step:
    """A convolution along the last axis with the others in the batch; tables and activations."""
    c = x.shape[1]
    layer = nn.Conv1d(c, c, 3, rng.choice((1, 2)), rng.choice((0, 1)))

    def rows(x: Tensor, layer: nn.Module) -> Tensor:
        t = x.movedim(1, -2)
        y = layer(t.reshape(-1, *t.shape[-2:]))
        return y.view(*t.shape[:-2], *y.shape[-2:]).movedim(-2, 1)

    return Step("folded", rows, layer)


def _pointwise(x: Tensor, rng: random.Random) -> Step:
    table = nn.Parameter(torch.rand(1, x.shape[1], *x.shape[2:]))
    line = nn.Parameter(torch.rand(x.shape[-1]))
    ways: list[tuple[Function, tuple[nn.Parameter, ...]]] = [
        (lambda x: F.gelu(x), ()),
        (lambda x: x.tanh() * x.sigmoid(), ()),
        (lambda x: F.silu(x) + 1, ()),
        (lambda x: x[:, [0] * CHANNELS], ()),
        (lambda x, table: x + table, (table,)),
        (lambda x, line: x * line, (line,)),
    ]
    function, parts = rng.choice(ways)
    return Step("pointwise", function, *parts)


def _branches(x: Tensor, rng: random.Random) -> Step:
    """Two short paths that end in maps of one size, added or put end to end."""
    lists: list[nn.Module] = []
    ends: list[Tensor] = []
    for _ in range(2):
        steps: list[nn.Module] = []
        y = x
        for _ in range(rng.randint(1, 2)):
            y = _add(steps, y, rng, rng.choice((("conv", "pool"), ())))
        lists.append(nn.Sequential(*steps))
        ends.append(y)
    if ends[0].shape[2:] != ends[1].shape[2:]:
        raise ValueError("paths of different sizes")
    add = ends[0].shape == ends[1].shape and rng.random() < 0.5

    def run(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        return a(x) + b(x) if add else torch.cat([a(x), b(x)], 1)

    inner = [m for steps in lists for m in steps]
    return Step("branches", run, *lists).marked(wraps=any(m.wraps for m in inner), picks=any(m.picks for m in inner))


KINDS: dict[str, Callable[[Tensor, random.Random], Step]] = {
    "conv": _conv_step,
    "transposed": _transposed,
    "pool": _pool,
    "adaptive": _adaptive,
    "resize": _resize,
    "pad": _pad,
    "crop": _crop,
    "crop join": _crop_join,
    "along": _along,
    "from size": _from_size,
    "product": _product,
    "enlarge": _enlarge,
    "rearrange": _rearrange,
    "norm": _norm,
    "attention": _attention,
    "folded": _folded,
    "pointwise": _pointwise,
    "branches": _branches,
}
