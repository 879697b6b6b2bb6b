"""Calls as they came, and the names they get: by the module that ran them, once it is known what else ran in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stridewise.ir import Node
from stridewise.ops.draft import Reading
from stridewise.ops.registry import op_named


@dataclass(slots=True)
class ModuleCall:
    """One call of a module: its path, which call of it this is, and what ran directly in it."""

    path: str
    number: int
    parent: ModuleCall | None
    leaf: bool
    direct: int = 0
    below: bool = False
    output: int | None = None
    inserted: tuple[str, tuple[int, ...], int | None] | None = None


class Seen(NamedTuple):
    """One call as it came: a node but for its name, which only the whole of its module tells."""

    op: str
    target: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: int
    reading: Reading
    owner: ModuleCall | None


def node_of(index: int, seen: Seen, key: str) -> Node:
    """The node that a call has become."""
    op, target, inputs, outputs, params, reading, owner = seen
    return Node(
        index=index,
        op=op,
        target=target,
        path=owner.path if owner else "",
        key=key,
        inputs=inputs,
        outputs=outputs,
        grid=reading.grid,
        site=reading.site,
        counted=reading.counted,
        macs=reading.macs,
        params=params,
        attrs=reading.attrs,
        keeps=reading.keeps,
        call=owner.number if owner else 1,
    )


def keys_of(nodes: Sequence[Seen], names: Mapping[int, str]) -> list[str]:
    """A unique name for every site and every op with multiply-adds; names: those that are given."""
    keys: list[str] = []
    used: dict[str, int] = {}
    for index, seen in enumerate(nodes):
        if not (seen.reading.site or seen.reading.counted):
            keys.append("")
            continue
        owner = seen.owner
        if index in names:
            base = names[index]
        elif owner is not None and owner.path and owner.direct == 1 and not owner.below:
            base = owner.path
        else:
            name = op_named(seen.op).named(seen.target, seen.reading.attrs, seen.params > 0)
            base = f"{owner.path}/{name}" if owner is not None and owner.path else name
        used[base] = used.get(base, 0) + 1
        keys.append(base if used[base] == 1 else f"{base}#{used[base]}")
    return keys
