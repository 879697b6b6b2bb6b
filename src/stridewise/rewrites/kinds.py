"""Ways to downsample other than by an op's own stride: what is allowed, and what the op becomes.

A kind makes the op step by 1 and inserts a step (`places.py`). Space-to-depth inserts nothing: the kernel grows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from stridewise.analyses.strides import site_grids
from stridewise.axis import AxisMap, Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Node
from stridewise.ops.registry import op_named
from stridewise.ops.step import STEPS, Inserted
from stridewise.plans import BORDERS, KINDS, Plan, Setting
from stridewise.rewrites.places import spread_out

SPACE = "space-to-depth"


def steps_now(graph: Graph, node: Node) -> tuple[int, ...]:
    """The step of a site along every axis of its grid."""
    assert node.grid is not None
    return tuple(m.stride if isinstance(m, Window) else 1 for m in graph.grids[node.grid].maps)


def filled(graph: Graph, plan: Plan) -> Plan:
    """The plan with the stride of every setting that names a kind alone: as it is now, and what is said of a shared
    module said of each of its calls. Unknown sites are left."""
    sites = {}
    for key, setting in spread_out(graph, plan.sites).items():
        node = graph.node_named(key)
        if not setting.stride and node is not None and node.grid is not None:
            now = steps_now(graph, node)
            setting = replace(setting, stride=now, was=setting.was or now)
        sites[key] = setting
    return replace(plan, sites=sites)


def made_by(setting: Setting, slot: bool = False) -> Inserted | None:
    """The step a setting inserts, None where the op steps itself."""
    if setting.downsample not in STEPS:
        return None
    return Inserted(
        kind=setting.downsample,
        stride=setting.stride,
        filter=setting.filter or 3,
        border=setting.border,
        slot=slot,
    )


def check_kinds(graph: Graph, plan: Plan) -> None:
    """Refuse what a kind cannot do, in one line. Strides are filled in; unknown sites are another's concern."""
    for key, setting in [*plan.sites.items(), *((f"+{k}", s) for k, s in plan.insert.items())]:
        _check_setting(key, setting)
    for key, setting in plan.sites.items():
        kind, node = setting.downsample, graph.node_named(key)
        if kind == "stride" or node is None or node.index not in site_grids(graph):
            continue
        if plan.keep_weights:
            raise PlanError(f"{key}: downsampling by '{kind}' changes values; plan without --keep-weights")
        if all(s == 1 for s in setting.stride):
            raise PlanError(f"{key}: steps by 1, so '{kind}' would change nothing; write {key}=2:{kind}")
        if kind == SPACE:
            _check_growth(graph, key, node)


def kinds_at(graph: Graph, site: Node | None) -> tuple[str, ...]:
    """The ways to step at a site, or at a slot (None), the usual one first."""
    if site is None:
        return ("max", *(kind for kind in STEPS if kind != "max"))
    try:
        _check_growth(graph, site.key, site)
    except PlanError:
        return ("stride", *STEPS)
    return ("stride", *STEPS, SPACE)


def _check_setting(key: str, setting: Setting) -> None:
    kind = setting.downsample
    if kind not in KINDS:
        raise PlanError(f"{key}: downsample '{kind}' is none of {', '.join(KINDS)}")
    if key.startswith("+") and kind not in STEPS:
        raise PlanError(f"{key}: a step is inserted as {', '.join(STEPS[:-1])} or {STEPS[-1]}, not '{kind}'")
    if setting.filter is not None and kind != "blur":
        raise PlanError(f"{key}: a filter is for blur, and this steps by '{kind}'")
    if setting.filter is not None and not 2 <= setting.filter <= 7:
        raise PlanError(f"{key}: a blur's filter has 2 to 7 taps, not {setting.filter}")
    if setting.border not in BORDERS:
        raise PlanError(f"{key}: border '{setting.border}' is none of {', '.join(BORDERS)}")
    if setting.border != "reflect" and kind not in ("blur", "polyphase"):
        raise PlanError(f"{key}: a border is for blur and polyphase, and this steps by '{kind}'")


def _check_growth(graph: Graph, key: str, node: Node) -> None:
    if not op_named(node.op).convolves:
        raise PlanError(f"{key}: {SPACE} grows a kernel, and a pool has none; use blur, polyphase, mean or max")
    assert node.grid is not None
    maps = graph.grids[node.grid].maps
    if any(not isinstance(m, Window) or m.dilation > 1 for m in maps) or len(maps) != len(node.attrs["maps"]):
        raise PlanError(f"{key}: {SPACE} gathers neighbours, and this convolution is dilated or spans other axes too")
    if any(isinstance(m, Window) and m.same for m in maps):
        raise PlanError(f"{key}: {SPACE} needs a padding of its own, and this one follows the input's size (SAME)")


def own_windows(setting: Setting, maps: Sequence[AxisMap]) -> tuple[AxisMap, ...]:
    """The windows of a site's op under its setting: stepping, at step 1 beside an inserted step, or grown."""
    out: list[AxisMap] = []
    for m, s in zip(maps, setting.stride, strict=True):
        if not isinstance(m, Window):
            out.append(m)
        elif setting.downsample == SPACE:
            out.append(grown(replace(m, stride=s)))
        else:
            out.append(replace(m, stride=1 if setting.downsample in STEPS else s))
    return tuple(out)


def grown(window: Window) -> Window:
    """The window that covers the same blocks as space-to-depth followed by `window` at step 1: `stride` times as wide.

    Its padding begins with whole blocks and ends where as many positions come out as before, at every size.
    """
    if window.stride == 1:
        return window
    wide, begin = window.kernel * window.stride, window.pad_begin + shift_of(window)
    if window.pad_begin == window.pad_end and 2 * window.pad_begin == window.kernel - 1:
        return replace(window, kernel=wide, pad_begin=begin, pad_end=begin, ceil_mode=True)
    end = wide - window.kernel + window.pad_begin + window.pad_end - begin
    return replace(window, kernel=wide, pad_begin=begin, pad_end=end)


def shift_of(window: Window) -> int:
    """Where the old kernel lies in the grown one, so that with zeros around it the op says what it said.

    The grown padding is the number of whole blocks that leaves its centre nearest to the old one.
    """
    blocks = Fraction(2 * window.pad_begin + window.kernel * (window.stride - 1), 2 * window.stride)
    return window.stride * math.ceil(blocks - Fraction(1, 2)) - window.pad_begin


def with_growth(graph: Graph, key: str, setting: Setting) -> Graph:
    """The graph whose site `key` has its grown kernel's weights and multiply-adds."""
    node = graph.node_named(key)
    assert node is not None and node.grid is not None
    times = math.prod(setting.stride)
    given, taken = node.attrs["channels"]
    more = (times - 1) * math.prod(node.attrs["kernel"]) * taken * (given // node.attrs["groups"])
    maps = own_windows(setting, graph.grids[node.grid].maps)
    kernel = tuple(m.kernel for m in maps if isinstance(m, Window))
    changed = replace(
        node,
        macs=node.macs.scaled(times),
        params=node.params + more,
        attrs={**node.attrs, "kernel": kernel, "maps": maps},
    )
    nodes = tuple(changed if n.index == node.index else n for n in graph.nodes)
    return replace(graph, nodes=nodes, params=graph.params + more)
