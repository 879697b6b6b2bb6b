"""A plan as plain PyTorch lines, for those who want to see or keep what is done without this package."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from stridewise.plans import Plan
from stridewise.rewrites.kinds import shift_of
from stridewise.surgery.apply import Done
from stridewise.surgery.patched import Coarse, Fit, Override, Quiet, Something
from stridewise.tracing.steps import EndPad, Phase, Reach, Step

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


_HEAD = ["import torch.nn.functional as F", "", "at = model.get_submodule"]
_FIT = '''
def end(size, kernel, stride, dilation, pad, m_in, m_out, ceil):
    """Padding behind an operand with `m_in` times its old positions, so that the output gets `m_out` times its own."""
    span, size = dilation * (kernel - 1) + 1, size // m_in
    old = (size + 2 * pad - span + (stride - 1 if ceil else 0)) // stride + 1
    old -= ceil and (old - 1) * stride >= size + pad
    reach = (m_out * old - 1) * stride * m_in // m_out + m_in * (span - 1) + 1
    return max(reach - m_in * (size + 2 * pad), 0)
'''
_ATTRIBUTES = ("stride", "dilation", "padding", "ceil_mode")


def code_of(before: nn.Module, after: nn.Module, plan: Plan, done: Done) -> str:
    """The lines that turn `before` into `after`, which `plan` was applied to (two copies of one model)."""
    old = dict(before.named_modules())
    lines: list[str] = []
    own = False
    needed: dict[str, None] = {}
    groups: list[Phase] = []
    for path, module in after.named_modules():
        at = f'at("{path}")'
        grown = any(isinstance(hook, Reach) for hook in module._forward_pre_hooks.values())
        for name in () if grown else _ATTRIBUTES:
            value = getattr(module, name, None)
            if name in vars(module) and value != getattr(old[path], name, None):
                lines.append(f"{at}.{name} = {value!r}")
        known = {type(h) for h in old[path]._forward_pre_hooks.values()}
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, Fit) and Fit not in known:
                own = True
                lines.append(f"{at}.register_forward_pre_hook(lambda m, a: (F.pad(a[0], {_ends(hook)}), *a[1:]))")
            elif isinstance(hook, EndPad):
                pad = [n for rows in reversed(hook.rows) for n in (0, rows)]
                lines.append(f'{at}.register_forward_pre_hook(lambda m, a: (F.pad(a[0], {pad}, "{hook.mode}"),))')
            elif isinstance(hook, Coarse):
                index = ", ".join(f"::{m}" for m in hook.multipliers)
                lines.append(f"{at}.register_forward_pre_hook(lambda m, a: (a[0][..., {index}], *a[1:]))")
        for after_hook in module._forward_hooks.values():
            if isinstance(after_hook, Something):
                empty = 'y.masked_fill(y == float("-inf"), 0)'
                lines.append(f"{at}.register_forward_hook(lambda m, a, y: {empty})")
        for kind, line in step_lines(path, old[path], module, groups):
            needed[kind] = None
            lines.append(line)
        forward = vars(module).get("forward")
        while isinstance(forward, Quiet):
            forward = forward.inner
        if isinstance(forward, Override):
            names = ", ".join(forward.swaps)
            lines.append(f"# {path or 'the model'}: its {names} calls change; no attribute does that, sw.apply does")
    imports = [IMPORTS[kind] for kind in needed if kind in IMPORTS]
    defined = [DEFINITIONS[kind] for kind in needed if kind in DEFINITIONS]
    phases = [f"group{number} = {{}}" for number, _ in enumerate(groups, 1)]
    head = [*imports, *(["import torch"] if defined else []), *_HEAD[:1], *defined, *_HEAD[1:]]
    return "\n".join([*head, *([_FIT] if own else []), *phases, *lines])


def _ends(hook: Fit) -> str:
    """The argument of F.pad, last axis first."""
    parts = []
    for back, (w, m_in, m_out) in enumerate(
        zip(reversed(hook.old), reversed(hook.action.m_in), reversed(hook.action.m_out), strict=True), 1
    ):
        facts = (w.kernel, w.stride, w.dilation, w.pad_begin, m_in, m_out, w.ceil_mode)
        parts.append(f"0, end(a[0].shape[-{back}], {', '.join(map(str, facts))})")
    value = "" if hook.value == 0 else ', value=float("-inf")'
    return f"({', '.join(parts)}){value}"
