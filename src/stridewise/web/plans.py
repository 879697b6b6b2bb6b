"""Plans that come to the page and leave it: run folders of `search`, the exact front, exports and the report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stridewise.errors import UsageError
from stridewise.showing.show import show
from stridewise.web.areas import scale_of
from stridewise.web.whatif import Studied, wishes
from stridewise.web.workbench import Opened

Json = dict[str, Any]
RESULT, SCHEMA = "result.json", "stridewise.search/1"
_MOST_BYTES = 64 << 20
_DRAWN = 40  # points an output stride
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
    return {"html": show(studied.graph, made, scale=scale_of(studied, asked)).to_html()}


def _written(value: Any) -> str:
    text = str(value)
    return text if text.isdigit() else repr(text)


def drawn_front(studied: Studied) -> Json:
    """The front by output stride, at most 40 points each, evenly taken, the first and last among them."""
    found = studied.front
    groups: dict[tuple[Any, ...], list[int]] = {}
    for at, point in enumerate(found.points):
        groups.setdefault(point.output_stride, []).append(at)
    rows = []
    for indices in groups.values():
        thin = (
            indices
            if len(indices) <= _DRAWN
            else [indices[i * (len(indices) - 1) // (_DRAWN - 1)] for i in range(_DRAWN)]
        )
        rows += [{"index": i} | found.points[i].to_json(False) for i in thin]
    return {
        "all": len(found.points),
        "points": rows,
        "current": found.current.to_json(False) | {"on_front": found.holds_current},
    }


def front_changes(studied: Studied, asked: Json) -> Json:
    """What the plan behind a point changes, as the page writes wishes. Raises: UsageError."""
    found, index = studied.front, asked.get("index")
    if not isinstance(index, int) or not 0 <= index < len(found.points):
        raise UsageError("index: a point of the front is wanted")
    return {"changes": wishes(found.points[index].plan)}


@dataclass(frozen=True, slots=True)
class Runs:
    """The run folders of one start."""

    folders: Sequence[Path] = ()

    def read(self) -> list[Json]:
        """One entry a folder: its name with its result, or with the reason that there is none and what to do."""
        return [{"name": folder.name, **_read(folder)} for folder in self.folders]


def _read(folder: Path) -> Json:
    path = folder / RESULT
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {"error": f"{folder}: {RESULT} is larger than {_MOST_BYTES >> 20} MiB: not a study's"}
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"error": f"{folder}: holds no {RESULT} yet: it is written when `stridewise search` ends or is stopped"}
    except (OSError, ValueError) as error:
        return {"error": f"{path}: cannot be read ({error}): run the same `stridewise search` again"}
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return {"error": f"{path}: is not a study's result (schema {SCHEMA}): name a folder of `stridewise search`"}
    return {"result": found}
