"""Plans as the library offers them: `sw.plan` completes a request, `sw.apply` carries a plan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from stridewise.errors import PlanError
from stridewise.ir import Graph, check_graph
from stridewise.plans import Plan
from stridewise.rewrites.completion import make_plan

if TYPE_CHECKING:
    from stridewise.onnxfile.apply import Rewritten
    from stridewise.surgery.apply import Done


def plan(
    graph: Graph,
    request: Mapping[str, Any] | None = None,
    *,
    output_stride: int | Sequence[int] | None = None,
    keep_weights: bool = False,
    means: str = "dense",
) -> Plan:
    """The consistent plan of the smallest change that gives what is asked for.

    request: site, module or "+slot" -> a stride: 1, (1, 2), or text as on the command line ("2:blur:3").
    output_stride: the most any map may step, one number or one an axis. keep_weights: steps that go become dilation.
    means: "dense", or "grid" to take means on the coarse grid. Raises: PlanError naming what forbids it.
    """
    check_graph(graph, "plan")
    made = make_plan(graph, request, output_stride=output_stride, keep_weights=keep_weights, means=means)
    if graph.source is not None:  # of a live model; a file's graph has all there is to know
        from stridewise.surgery.rehearse import rehearse

        rehearse(graph, made)
    return made


@overload
def apply(model: str | Path, plan: Plan, *, input: Any = None, out: str | Path | None = None) -> Rewritten: ...


@overload
def apply(model: Any, plan: Plan, *, input: Any = None, out: str | Path | None = None) -> Done: ...


def apply(model: Any, plan: Plan, *, input: Any = None, out: str | Path | None = None) -> Done | Rewritten:
    """Carry `plan` out on a live model, in place; what it returns says what was done and takes it back (`undo()`).

    An ONNX file (its path) stays as it is, and the changed network is written to `out`. input: the input to check sizes
    at, where it is not the plan's. Raises: PlanError in one line, the model left as it was, nothing written.
    """
    if not isinstance(plan, Plan):
        raise PlanError(
            f"apply: a Plan is wanted, of sw.plan(graph, ...) or sw.Plan.read(file), not {type(plan).__name__}"
        )
    if isinstance(model, str | Path):
        if out is None:
            raise PlanError(
                f"{model}: a file is not changed in place; name the new one: out='{Path(model).stem}-new.onnx'"
            )
        from stridewise.onnxfile.apply import apply_to_file

        return apply_to_file(str(model).removeprefix("onnx:"), plan, out, input=input)
    if out is not None:
        raise PlanError("out: names the file an ONNX model is written to; a live model is changed in place")
    from stridewise.surgery.apply import apply_to_model

    return apply_to_model(model, plan, input=input)
