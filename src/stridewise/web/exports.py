"""A plan to take away: TOML, the lines of Python that do the same, the command line."""

from __future__ import annotations

from typing import Any

from stridewise.web.whatif import Studied

Json = dict[str, Any]


def exported(studied: Studied, asked: Json) -> Json:
    """The completed plan of a request as text in each form."""
    plan = studied.plan(asked)
    name = studied.graph.model
    changes = asked.get("changes", {})
    request = ", ".join(f"{key!r}: {_written(value)}" for key, value in changes.items())
    shape = tuple(plan.input)
    python = (
        "import stridewise as sw\n\n"
        f"model = sw.load({name!r})\n"
        f"graph = sw.trace(model, {shape})\n"
        f"plan = sw.plan(graph, {{{request}}})\n"
        "print(sw.apply(model, plan))\n"
    )
    words = " ".join(f"{key}={value}" for key, value in changes.items())
    return {"toml": plan.to_toml(), "python": python, "command": f"stridewise set {name} {words} -o plan.toml"}


def _written(value: Any) -> str:
    text = str(value)
    return text if text.isdigit() else repr(text)
