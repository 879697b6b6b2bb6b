"""What a chip or compiler takes, from data files (`targets/*.toml`), each limit with its source; rules SW401 to SW403.

A person's own file has the same keys: name, about, memory (bytes), bytes (a value), memory_source, and [[limit]] tables
with ops, what, one of (min, max), one_of or equal, axes, padded, source.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from stridewise.analyses.cost import peak_bytes
from stridewise.analyses.fields import State
from stridewise.analyses.sizes import name_of
from stridewise.axis import AxisMap, Transposed, Window
from stridewise.errors import UsageError
from stridewise.files import read_bytes
from stridewise.findings import Finding
from stridewise.ir import Graph, Node

OPS = ("conv", "depthwise", "transposed", "max_pool", "avg_pool", "any")
WHAT = ("stride", "kernel", "kernel_product", "span", "span_product", "dilation", "padding", "ceil_mode")
WHAT_SIZES = ("size", "channels")
_LIMIT_KEYS = ("ops", "what", "min", "max", "one_of", "equal", "axes", "padded", "source")
_KEYS = ("name", "about", "memory", "bytes", "memory_source", "limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit. what: of a window, an entry an axis (`WHAT`), or of the maps it reads and makes (`WHAT_SIZES`).

    low, high: the range; one_of: the only values; equal: the same on every axis; axes: those it holds for, all where it
    is empty; padded: only of windows with padding. span: the dilated kernel.
    """

    ops: tuple[str, ...]
    what: str
    source: str
    low: int | None = None
    high: int | None = None
    one_of: tuple[int, ...] = ()
    equal: bool = False
    axes: tuple[int, ...] = ()
    padded: bool = False

    def broken(self, values: Sequence[int]) -> bool:
        """Whether values, an entry an axis, break it."""
        kept = [v for a, v in enumerate(values) if not self.axes or a in self.axes]
        if self.equal and len(set(kept)) > 1:
            return True
        if self.one_of:
            return any(v not in self.one_of for v in kept)
        return any((self.low is not None and v < self.low) or (self.high is not None and v > self.high) for v in kept)

    def refusal(self, values: Sequence[int], target: str) -> str:
        """What is wrong with values that break it, with the source."""
        said = "x".join(map(str, dict.fromkeys(values) if len(set(values)) == 1 else values))
        return f"{self.what.replace('_', ' ')} {said}, and {target} takes {self} ({self.source})"

    def __str__(self) -> str:
        if self.equal:
            return "the same on every axis"
        if self.one_of:
            return f"one of {', '.join(map(str, self.one_of))}"
        return f"at most {self.high}" if self.low is None else f"from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a chip takes. memory: bytes for the maps alive at once, None where nothing is known; bytes: of a value."""

    name: str
    about: str
    limits: tuple[Limit, ...]
    memory: int | None = None
    bytes: int = 1
    memory_source: str = ""


def target_names() -> tuple[str, ...]:
    """The targets that come along."""
    return tuple(sorted(p.name.removesuffix(".toml") for p in files("stridewise").joinpath("targets").iterdir()))


def target_of(name: str) -> Target:
    """The target of a name, or of a person's own .toml file. Raises: UsageError naming the near ones, or the key."""
    if name.endswith(".toml"):
        try:
            text = read_bytes(name).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"{name}: not a readable target: {why}") from error
        return _read(name, text)
    if name not in target_names():
        near = difflib.get_close_matches(name, target_names(), n=2, cutoff=0.5)
        advice = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(target_names())}"
        raise UsageError(f"no target '{name}': {advice}; a file of your own ends in .toml")
    return _read(name, files("stridewise").joinpath("targets", f"{name}.toml").read_text(encoding="utf-8"))


def _read(name: str, text: str) -> Target:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}") from error
    _known(name, found, _KEYS)
    rows = found.get("limit", [])
    if not isinstance(rows, list) or any(not isinstance(row, Mapping) for row in rows):
        raise UsageError(f"{name}: limit: tables are wanted, as [[limit]]")
    for key in ("memory", "bytes"):
        if key in found and not _is_whole(found[key]):
            raise UsageError(f"{name}: {key}: a whole number from 1 is wanted, not {found[key]!r}")
    return Target(
        name=str(found.get("name", name)),
        about=str(found.get("about", "")),
        limits=tuple(_limit(f"{name}: limit {at}", row) for at, row in enumerate(rows, 1)),
        memory=found.get("memory"),
        bytes=found.get("bytes", 1),
        memory_source=str(found.get("memory_source", "")),
    )


def _limit(where: str, row: Mapping[str, Any]) -> Limit:
    _known(where, row, _LIMIT_KEYS)
    ops, what = row.get("ops", []), row.get("what")
    if not isinstance(ops, list) or not ops or any(op not in OPS for op in ops):
        raise UsageError(f"{where}: ops: a list of {', '.join(OPS)} is wanted, not {ops!r}")
    if what not in (*WHAT, *WHAT_SIZES):
        raise UsageError(f"{where}: what is one of {', '.join((*WHAT, *WHAT_SIZES))}, not {what!r}")
    if not row.get("source"):
        raise UsageError(f"{where}: source: where this limit is written is wanted")
    if not {"min", "max", "one_of", "equal"} & set(row):
        raise UsageError(f"{where}: limits nothing: min, max, one_of or equal is wanted")
    numbers = [*(row[k] for k in ("min", "max") if k in row), *row.get("one_of", []), *row.get("axes", [])]
    if any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in numbers):
        raise UsageError(f"{where}: whole numbers from 0 are wanted")
    return Limit(
        ops=tuple(ops),
        what=str(what),
        source=str(row["source"]),
        low=row.get("min"),
        high=row.get("max"),
        one_of=tuple(row.get("one_of", ())),
        equal=bool(row.get("equal", False)),
        axes=tuple(row.get("axes", ())),
        padded=bool(row.get("padded", False)),
    )


def _known(where: str, found: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in found:
        if key not in keys:
            raise UsageError(f"{where}: unknown key '{key}'; known are {', '.join(keys)}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def target_findings(state: State, target: Target) -> Iterator[Finding]:
    """SW401: a window the target does not take; SW402: a map too large for it; SW403: maps too many for its memory."""
    graph = state.graph
    for node in graph.nodes:
        limits = limits_on(target, node)
        if not limits or node.grid is None:
            continue
        name, windows = name_of(graph, node), state.windows(node)
        for limit in limits:
            values = values_of(limit, windows) if limit.what in WHAT else _maps(state, node, limit.what)
            if values and limit.broken(values):
                text = f"{name}: {limit.refusal(values, target.name)}"
                if limit.what in WHAT:
                    yield Finding(rule="SW401", severity="warning", key=name, message=text)
                else:
                    yield Finding(rule="SW402", severity="warning", key=name, message=text)
    if target.memory is not None:
        needed = peak_bytes(graph, state.sizes) * target.bytes // itemsize(graph)
        if needed > target.memory:
            text = (
                f"{graph.model}: {needed:,} bytes of maps are alive at once at {target.bytes} a value, "
                f"and {target.name} has {target.memory:,} ({target.memory_source}). Step earlier, or shrink the input"
            )
            yield Finding(rule="SW403", severity="warning", key="", message=text)


def limits_on(target: Target, node: Node) -> tuple[Limit, ...]:
    """The limits of a target that concern an op."""
    kind = _kind(node)
    if kind is None or not node.inputs:
        return ()
    return tuple(limit for limit in target.limits if kind in limit.ops or "any" in limit.ops)


def most_bytes(graph: Graph, target: Target) -> int | None:
    """Bytes of maps, as this network counts them, that fill the target's memory; None where nothing is known."""
    if target.memory is None:
        return None
    return ((target.memory + 1) * itemsize(graph) - 1) // target.bytes


def itemsize(graph: Graph) -> int:
    """Bytes of a value as this network counts them."""
    return max(graph.tensors[0].itemsize, 1)


def _kind(node: Node) -> str | None:
    """What a target calls an op."""
    if node.op != "conv":
        return node.op if node.op in ("max_pool", "avg_pool") else None
    if node.attrs.get("transposed"):
        return "transposed"
    groups, channels = node.attrs.get("groups", 1), node.attrs.get("channels")
    return "depthwise" if groups > 1 and channels and groups == channels[0] else "conv"


def values_of(limit: Limit, windows: Sequence[AxisMap]) -> list[int]:
    """What a limit looks at, an entry an axis; nothing where it does not concern these windows."""
    known = [w for w in windows if isinstance(w, Window | Transposed)]
    if len(known) < len(windows) or not known:
        return []
    if limit.padded and not any(w.pad_begin or w.pad_end for w in known):
        return []
    spans = [(w.kernel - 1) * w.dilation + 1 for w in known]
    by_name = {
        "stride": [w.stride for w in known],
        "kernel": [w.kernel for w in known],
        "kernel_product": [math.prod(w.kernel for w in known)],
        "span": spans,
        "span_product": [math.prod(spans)],
        "dilation": [w.dilation for w in known],
        "padding": [max(w.pad_begin, w.pad_end) for w in known],
        "ceil_mode": [int(isinstance(w, Window) and w.ceil_mode) for w in known],
    }
    return by_name[limit.what]


def channels_of(node: Node) -> list[int]:
    """The most channels that an op reads or makes; nothing where it has none of its own."""
    channels = node.attrs.get("channels")
    return [max(channels)] if channels else []


def _maps(state: State, node: Node, what: str) -> list[int]:
    """The largest size an axis, or the most channels, among what a node reads and makes."""
    if what == "channels":
        return channels_of(node)
    assert node.grid is not None
    grids = [state.sizes[node.grid], state.sizes[state.incoming(node)]]
    return [max(sizes) for sizes in zip(*grids, strict=False)]
