"""Inserted steps and grown kernels as plain PyTorch lines (`lines.py`)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from stridewise.rewrites.kinds import shift_of
from stridewise.tracing.steps import Phase, Reach, Step

DEFINITIONS = {
    "blur": '''
def blur(x, taps, stride, border):
    """A binomial low-pass of every channel, stepping; taps and stride have an entry an axis."""
    kernel = torch.ones([1] * (len(taps) + 2)).to(x)
    for axis, n in enumerate(taps):
        row = torch.tensor([math.comb(n - 1, i) / 2 ** (n - 1) for i in range(n)]).to(x)
        kernel = kernel * row.view([-1 if d == axis + 2 else 1 for d in range(len(taps) + 2)])
    x = F.pad(x, [rows for n in reversed(taps) for rows in ((n - 1) // 2, n // 2)], border)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(taps) - 1]
    return convolve(x, kernel.expand(x.shape[1], 1, *taps), stride=stride, groups=x.shape[1])
''',
    "polyphase": '''
def polyphase(x, stride, border, group, leads):
    """Of every picture the phase of largest norm; the paths of a group take the phase that the first of them chose."""
    x = F.pad(x, [rows for n, s in zip(x.shape[:1:-1], stride[::-1]) for rows in (0, -n % s)], border)
    starts = itertools.product(*map(range, stride))
    parts = torch.stack([x[(..., *(slice(b, None, s) for b, s in zip(begin, stride)))] for begin in starts], 1)
    group["phase"] = parts.flatten(2).norm(dim=2).argmax(1) if leads else group["phase"]
    return parts[torch.arange(len(x)), group["phase"]]
''',
    "grow": '''
def grow(conv, stride, padding, kernel, place):
    """A kernel as large as space-to-depth and the old one together; the old weights at `place`, zeros around them."""
    old = conv.weight.detach()
    wide = torch.zeros(*old.shape[:2], *kernel).to(old)
    wide[(..., *(slice(b, b + n) for b, n in zip(place, old.shape[2:])))] = old
    conv.weight, conv.kernel_size, conv.stride, conv.padding = torch.nn.Parameter(wide), kernel, stride, padding
''',
    "missing": '''
def missing(size, kernel, pad, stride, wide, there):
    """Zeros behind `size` positions, so that the grown kernel gives as many as the old one did."""
    return max((size + 2 * pad - kernel) // stride * stride + wide - size - there, 0)
''',
}
IMPORTS = {"blur": "import math", "polyphase": "import itertools"}


def step_lines(path: str, before: nn.Module, after: nn.Module, groups: list[Phase]) -> Iterator[tuple[str, str]]:
    """(The definition it needs, line) for every step and grown kernel that `after` has and `before` has not."""
    at = f'at("{path}")'
    here = {*map(repr, before._forward_hooks.values()), *map(repr, before._forward_pre_hooks.values())}
    for reach in after._forward_pre_hooks.values():
        if isinstance(reach, Reach):
            yield from _growth(at, reach)
    for hook in after._forward_pre_hooks.values():
        if isinstance(hook, Step) and repr(hook) not in here:
            call = _call("a[0]", hook, groups)
            yield hook.kind, f"{at}.register_forward_pre_hook(lambda m, a: ({call}, *a[1:]))"
    for hook in after._forward_hooks.values():
        if isinstance(hook, Step) and repr(hook) not in here:
            yield hook.kind, f"{at}.register_forward_hook(lambda m, a, y: {_call('y', hook, groups)})"


def _call(x: str, step: Step, groups: list[Phase]) -> str:
    made, border = step.made, "constant" if step.made.border == "zero" else step.made.border
    if made.kind == "blur":
        return f"blur({x}, {tuple(w.kernel for w in made.windows)}, {made.stride}, {border!r})"
    if made.kind == "polyphase":
        if step.phase is not None and not any(step.phase is known for known in groups):
            groups.append(step.phase)
        number = next((i for i, known in enumerate(groups, 1) if known is step.phase), 0)
        return f"polyphase({x}, {made.stride}, {border!r}, {f'group{number}' if number else '{}'}, {step.leads})"
    ceil = any(w.ceil_mode for w in made.windows)
    pool = f"{'max' if made.kind == 'max' else 'avg'}_pool{len(made.stride)}d"
    if ceil and pool == "avg_pool3d":  # which refuses a window larger than the map
        return f"F.{pool}({x}, tuple(map(min, {x}.shape[-3:], {made.stride})), {made.stride}, ceil_mode=True)"
    return f"F.{pool}({x}, {made.stride}{', ceil_mode=True' if ceil else ''})"


def _growth(at: str, reach: Reach) -> Iterator[tuple[str, str]]:
    axes = list(zip(reach.old, reach.grown, reach.own, strict=True))
    facts = [(w.stride, own, g.kernel, shift_of(w)) for w, g, own in axes]
    yield "grow", f"grow({at}, {', '.join(str(tuple(column)) for column in zip(*facts, strict=True))})"
    rows = [
        f"{g.pad_begin - own}, "
        f"missing(a[0].shape[-{back}], {w.kernel}, {w.pad_begin}, {w.stride}, {g.kernel}, {g.pad_begin + own})"
        for back, (w, g, own) in enumerate(reversed(axes), 1)
    ]
    yield "missing", f"{at}.register_forward_pre_hook(lambda m, a: (F.pad(a[0], ({', '.join(rows)})), *a[1:]))"
