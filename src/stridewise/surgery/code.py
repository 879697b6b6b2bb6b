"""A plan as plain PyTorch lines, for those who want to see or keep what is done without this package."""

from __future__ import annotations

from torch import nn

from stridewise.plans import Plan
from stridewise.surgery.apply import Done
from stridewise.surgery.code_steps import DEFINITIONS, IMPORTS, step_lines
from stridewise.surgery.patched import Coarse, Fit, Override, Quiet, Something
from stridewise.tracing.steps import EndPad, Phase, Reach

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
