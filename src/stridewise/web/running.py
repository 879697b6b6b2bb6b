"""What of a network can be run here, and running it: the plans that a job compares, each as something to call."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stridewise.errors import MissingExtraError, UsageError
from stridewise.plans import Plan
from stridewise.web.jobs import Report
from stridewise.web.workbench import Opened

if TYPE_CHECKING:
    from stridewise.measuring.variants import Variant

Json = dict[str, Any]
ORIGINAL = "original"
_MOST_PLANS, _MOST_NAME = 3, 40
_MOST_MACS = 200e9


def refusals(opened: Opened) -> dict[str, str]:
    """By kind of job why it cannot be done with this network at all; nothing for those that can.

    "filter": taking a layer's own filter for the one convolution.
    """
    graph = opened.wait().graph
    channels, *sizes = opened.shape()
    out: dict[str, str] = {}
    if opened.is_file:
        out["field"] = (
            "an ONNX file gives no gradients: the dashed box is the exact field; "
            "open the PyTorch model it was made from for the measured one"
        )
    if len(sizes) == 2 and channels != 3:
        out["shift"] = f"pictures of three channels are moved, and this network reads {channels}"
    if len(sizes) != 2:
        out |= dict.fromkeys(("maps", "field", "shift", "filter"), f"a picture has two axes, not {len(sizes)}")
    if len(graph.inputs) != 1:
        reason = f"it reads {len(graph.inputs)} inputs, and one picture cannot serve them all"
        out |= dict.fromkeys(("maps", "field", "latency", "shift"), reason)
    lacks = [] if not opened.is_file or importlib.util.find_spec("onnxruntime") else ["onnxruntime"]
    if importlib.util.find_spec("torch") is None:
        lacks.append("torch")
    for library in lacks:
        missing = str(MissingExtraError(library, "onnx" if library == "onnxruntime" else "torch", "running it"))
        out |= dict.fromkeys(("maps", "field", "latency", "shift", "filter"), missing)
    return out


def kinds_here(opened: Opened) -> Json:
    """By place the ways to step that can be carried out: an ONNX file takes fewer than a model."""
    found: Json = opened.wait().original["kinds"]
    if not opened.is_file:
        return found
    from stridewise.onnxfile.steps import IN_FILES, POOLS

    out = {key: [kind for kind in kinds if kind in IN_FILES] for key, kinds in found.items()}
    standing = [slot.key for slot in opened.wait().graph.slots if slot.node is not None]
    return out | {f"+{key}": [kind for kind in out["+"] if kind in POOLS] for key in standing}


def check(opened: Opened, kind: str, report: Report) -> None:
    """Refuse what cannot be run here, and build what can. Raises: UsageError."""
    reason = refusals(opened).get(kind)
    if reason:
        raise UsageError(f"{opened.name}: {reason}")
    macs = opened.wait().original["totals"]["macs"]
    if macs > _MOST_MACS:
        raise UsageError(
            f"{opened.name}: {macs / 1e9:.0f} G multiply-adds are too many to run on this page; its geometry works on. "
            "Start with a smaller --input, or run `stridewise measure` in a terminal"
        )
    report(0.05, f"building {opened.name}")
    if not opened.is_file:
        opened.model()


def compared(opened: Opened, asked: Json) -> Mapping[str, Plan | None]:
    """By name the plans that a job is about, in order; None is the network as it came.

    asked["plans"]: one to three requests, each with a name. Raises: UsageError, PlanError.
    """
    rows = asked.get("plans", [{"name": ORIGINAL}])
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_PLANS or any(not isinstance(r, dict) for r in rows):
        raise UsageError(f"plans: one to {_MOST_PLANS} are compared, each with a name and its changes")
    out: dict[str, Plan | None] = {}
    for row in rows:
        name = row.get("name")
        taken = {_label(other) for other in out}
        if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME or _label(name) in taken:
            raise UsageError(f"plans: each wants a name of its own, of at most {_MOST_NAME} letters")
        plan = opened.wait().plan(row)
        out[name] = plan or None
    return out


def _label(name: str) -> str:
    """A plan's name in messages that begin with "plan"."""
    return name.removeprefix("plan ")


@contextmanager
def running(opened: Opened, asked: Json) -> Iterator[list[tuple[str, Plan | None, Variant]]]:
    """(name, plan, what runs) for each plan that is compared; what was written for it goes afterwards."""
    from stridewise.measuring.variants import variants

    plans = compared(opened, asked)
    source = opened.name if opened.is_file else opened.model()
    changed = {_label(name): plan for name, plan in plans.items() if plan is not None}
    found = variants(source, changed, input=opened.shape())
    try:
        by_name = {variant.name: variant for variant in found.every[1:]}
        yield [(name, plan, found.every[0] if plan is None else by_name[_label(name)]) for name, plan in plans.items()]
    finally:
        found.close()
