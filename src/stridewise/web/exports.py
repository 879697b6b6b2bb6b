"""A plan to take away: TOML, the lines of Python that do the same, the command line, a report of everything."""

from __future__ import annotations

import shlex
from typing import Any

from stridewise.errors import UsageError
from stridewise.showing.show import show
from stridewise.web.whatif import Studied
from stridewise.web.workbench import Opened

Json = dict[str, Any]
_MOST_PLANS = 8


def exported(opened: Opened, asked: Json) -> Json:
    """The completed plan of a request as text in each form. Raises: PlanError where the model cannot carry it out."""
    studied = opened.wait()
    plan, name = studied.plan(asked), opened.name
    studied.certified(plan)
    changes = asked.get("changes", {})
    request = ", ".join(f"{key!r}: {_written(value)}" for key, value in changes.items())
    keep = f", keep_weights=True, means={plan.means!r}" if plan.keep_weights else ""
    python = _lines(opened, plan.input, f"{{{request}}}{keep}")
    words = ["stridewise", "set", name, *(f"{key}={value}" for key, value in changes.items())]
    words += ["--keep-weights", "--means", plan.means] if plan.keep_weights else []
    return {"toml": plan.to_toml(), "python": python, "command": shlex.join([*words, "-o", "plan.toml"])}


def _lines(opened: Opened, shape: object, request: str) -> str:
    """The Python that carries a plan out. request: what `sw.plan` is asked for."""
    if opened.is_file:
        file = opened.name.removeprefix("onnx:")
        return (
            "import stridewise as sw\n\n"
            f"graph = sw.read_onnx({file!r}, input={shape})\n"
            f"plan = sw.plan(graph, {request})\n"
            f'print(sw.apply({file!r}, plan, out="changed.onnx"))\n'
        )
    weights = f", weights={opened.weights!r}" if opened.weights else ""
    return (
        "import stridewise as sw\n\n"
        f"model = sw.load({opened.name!r}{weights})\n"
        f"graph = sw.trace(model, {shape})\n"
        f"plan = sw.plan(graph, {request})\n"
        "print(sw.apply(model, plan))\n"
    )


def reported(studied: Studied, asked: Json) -> Json:
    """The self-contained report of the network and plans. asked: plans, each with a name and its request."""
    plans = asked.get("plans", [])
    if not isinstance(plans, list) or len(plans) > _MOST_PLANS or any(not isinstance(p, dict) for p in plans):
        raise UsageError(f"plans: at most {_MOST_PLANS} plans fit into a report")
    made = {str(each.get("name", ""))[:40] or f"plan {n}": studied.plan(each) for n, each in enumerate(plans, 1)}
    return {"html": show(studied.graph, made).to_html()}


def _written(value: Any) -> str:
    text = str(value)
    return text if text.isdigit() else repr(text)
