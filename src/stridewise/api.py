"""Plans as library and command line offer them: made, previewed, carried out, verified, written as code or ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from stridewise.errors import PlanError
from stridewise.ir import Graph, check_graph
from stridewise.plans import Plan
from stridewise.rewrites.certify import Certificate, certify
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.instead import planned_or_instead
from stridewise.rewrites.preview import Preview

if TYPE_CHECKING:
    from stridewise.onnxfile.apply import Rewritten
    from stridewise.onnxfile.verify import FileVerification
    from stridewise.surgery.apply import Done
    from stridewise.surgery.verify import Verification


def plan(
    graph: Graph,
    request: Mapping[str, Any] | Sequence[str] | None = None,
    *,
    output_stride: int | Sequence[int] | None = None,
    keep_weights: bool = False,
    means: str = "dense",
) -> Plan:
    """The consistent plan of the smallest change that gives what is asked for.

    request: site, module or "+slot" -> a stride: 1, (1, 2), or text as on the command line ("2:blur:3");
    or such texts whole, ["conv1=1", "+layer1=2:max"].
    output_stride: the most any map may step, one number or one an axis. keep_weights: steps that go become dilation.
    means: "dense", or "grid" to take means on the coarse grid. Raises: PlanError naming what forbids it; its
    `instead` holds the nearest requests that do work.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> plan = sw.plan(graph, output_stride=2)
    >>> {slot: (setting.was, setting.stride) for slot, setting in plan.insert.items()}
    {'layers.6': ((2, 2), (1, 1))}
    """
    check_graph(graph, "plan")
    if request is not None and not isinstance(request, Mapping):
        request = _requests([request] if isinstance(request, str) else request)
    return planned_or_instead(graph, request or {}, output_stride, keep_weights, means, rehearsed)[0]


def _requests(texts: Sequence[str]) -> dict[str, str]:
    """SITE=STRIDE by its site."""
    parted = [text.rpartition("=") for text in texts if isinstance(text, str)]
    wrong = next((text for text, (site, _, _) in zip(texts, parted, strict=False) if not site), None)
    if wrong is not None or len(parted) < len(texts):
        raise PlanError(f"plan: a request is SITE=STRIDE, as conv1=1, or a mapping; not {wrong or list(texts)!r}")
    return {site: setting for site, _, setting in parted}


def rehearsed(graph: Graph, made: Plan) -> Certificate | None:
    """What stays the same under a plan that keeps weights, tried on the structure of the live model behind `graph`.

    Raises: PlanError where that cannot carry it out.
    """
    found = None
    if graph.source is not None:  # of a live model; a file's graph has all there is to know
        from stridewise.surgery.apply import rehearse

        found = rehearse(graph, made)
    return found or (certify(dilation(graph, made)) if made.keep_weights else None)


@overload
def apply(model: str | Path, plan: Plan, *, input: Any = None, out: str | Path | None = None) -> Rewritten: ...


@overload
def apply(model: Any, plan: Plan, *, input: Any = None, out: str | Path | None = None) -> Done: ...


def apply(model: Any, plan: Plan, *, input: Any = None, out: str | Path | None = None) -> Done | Rewritten:
    """Carry `plan` out on a live model, in place; what it returns says what was done and takes it back (`undo()`).

    An ONNX file (its path) stays as it is, and the changed network is written to `out`. input: the input to check sizes
    at, where it is not the plan's. Raises: PlanError in one line, the model left as it was, nothing written.

    >>> model = sw.load("builtin:resnet20-narrow")
    >>> plan = sw.plan(sw.trace(model, (3, 32, 32)), {"+layers.3": 1})
    >>> done = sw.apply(model, plan)
    >>> print(done)
    +layers.3: no step
    >>> done.undo()
    """
    _check_plan(plan, "apply")
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


def preview(graph: Graph, plan: Plan) -> Preview:
    """What `plan` does to the network: each change with the sizes before and after it, costs, added padding.

    `.graph` is the network under the plan, which `sw.show` and `sw.check` take.
    Raises: PlanError where it does not fit.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> seen = sw.preview(graph, sw.plan(graph, {"+layers.3": 1}))
    >>> [float(s) for s in sw.show(seen.graph).totals.output_stride]
    [2.0, 2.0]
    """
    from stridewise.rewrites import preview as room

    check_graph(graph, "preview")
    _check_plan(plan, "preview")
    return room.preview(graph, plan)


def verify(
    model: Any,
    plan: Plan,
    *,
    input: Any = None,
    sizes: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> Verification | FileVerification:
    """Carry `plan` out on a copy and look at the result again: sizes, and with kept weights the numbers.

    model: a live model, or the path of an ONNX file. sizes: input sizes to compare at besides `input`, an entry an
    axis; where none are given two with remainders. `.holds` is None where nothing could have shown the contrary.
    Raises: PlanError where the plan cannot be carried out.

    >>> model = sw.load("builtin:resnet20-narrow")
    >>> plan = sw.plan(sw.trace(model, (3, 16, 16)), {"+layers.3": 1})
    >>> sw.verify(model, plan).holds
    True
    """
    _check_plan(plan, "verify")
    if isinstance(model, str | Path):
        from stridewise.onnxfile.verify import verify_file

        return verify_file(str(model).removeprefix("onnx:"), plan, input=input, seed=seed)
    from stridewise.surgery.verify import verify_model

    return verify_model(model, plan, input=input, sizes=sizes, seed=seed)


def code(model: Any, plan: Plan, *, input: Any = None) -> str:
    """The plain PyTorch lines that do to `model` what `plan` says; the model stays as it is. Raises: PlanError.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Conv2d(4, 4, 3))
    >>> plan = sw.plan(sw.trace(net, (3, 33, 33)), {"0": 1}, keep_weights=True)
    >>> lines = sw.code(net, plan)
    >>> [line for line in lines.splitlines() if line.endswith("(2, 2)")]
    ['at("1").dilation = (2, 2)']
    >>> before = net(torch.ones(1, 3, 33, 33))
    >>> exec(lines, {"model": net})
    >>> torch.allclose(net(torch.ones(1, 3, 33, 33))[..., ::2, ::2], before, atol=1e-6)
    True
    """
    import copy

    from stridewise.surgery.apply import apply_to_model
    from stridewise.surgery.code import code_of

    _check_plan(plan, "code")
    changed = copy.deepcopy(model)
    return code_of(model, changed, plan, apply_to_model(changed, plan, input=input))


def export(
    model: Any, path: str | Path, *, plan: Plan | None = None, input: Any = None, open_sizes: bool = False
) -> float:
    """Write `model`, under `plan` where one is given, as an ONNX file; the largest relative difference of its outputs
    in onnxruntime. The model stays as it is.

    input: channels and sizes the file is made for, those of the plan where none are given. open_sizes: the file takes
    inputs of other sizes too, with its paddings computed when it runs; it was run at five of them beside the model.
    Raises: PlanError, also where no file equals the model at every size.

    >>> model = sw.load("builtin:resnet20-narrow")
    >>> sw.export(model, "net.onnx", input=(3, 16, 16)) < 1e-5  # the largest relative difference
    True
    """
    from stridewise.surgery.apply import apply_to_model
    from stridewise.surgery.export import export_onnx, export_open

    spec = input or (plan.input if plan is not None else None) or (3, 224, 224)
    modes = [(m, m.training) for m in model.modules()]
    if plan is not None:
        _check_plan(plan, "export")

    @contextmanager
    def changed() -> Iterator[None]:
        done = None if plan is None else apply_to_model(model, plan, input=spec)
        try:
            yield
        finally:
            if done is not None:
                done.undo()

    try:
        if open_sizes:
            return export_open(
                model, changed, lambda before, after: _carried(before, after, plan, spec), spec, Path(path)
            )
        with changed():
            return export_onnx(model, spec, Path(path))
    finally:
        for module, was in modes:
            module.training = was


def _carried(before: Path, after: Path, plan: Plan | None, spec: Any) -> None:
    """Carry a plan for a live model out on the file that was exported from it."""
    from stridewise.onnxfile.apply import apply_to_file
    from stridewise.tracing.inputs import arguments_of

    if plan is None:
        before.replace(after)
        return
    shapes = {key: argument.sizes for key, argument in arguments_of(spec).items() if not argument.is_plain}
    apply_to_file(before, plan, after, input=shapes)


def _check_plan(found: object, asker: str) -> None:
    if not isinstance(found, Plan):
        raise PlanError(
            f"{asker}: a Plan is wanted, of sw.plan(graph, ...) or sw.Plan.read(file), not {type(found).__name__}"
        )
