"""SW301: what a data set has to say about the output strides of a network."""

from collections.abc import Sequence

from stridewise.datafit.figures import BoxRow, Limits, MaskRow
from stridewise.datafit.result import FitResult
from stridewise.datafit.strides import StrideSet, Wanted, stride_set, written
from stridewise.datafit.tables import percent
from stridewise.errors import UsageError
from stridewise.findings import Finding


def findings(result: FitResult, strides: str | Sequence[Wanted]) -> tuple[Finding, ...]:
    """SW301 for a network whose outputs have these strides, from a fit that looked at them.

    A warning when all outputs together lose more than `result.limits` allow. When they do not, but the coarsest alone
    does, an info: a finer output catches what it misses. Nothing for classification.
    Raises: UsageError when the fit did not look at these strides.

    Boxes: objects without a cell, or with too few. Masks: mean IoU of labels rounded to the finest stride.
    """
    wanted = stride_set(strides)
    if result.task == "classify":
        return ()
    every = _row(result, wanted if result.task == "detect" else wanted[:1])
    if not every.passes(result.limits):
        text = f"{_loss(every, result.limits)} at every output stride ({written(wanted)})"
        return (_finding("warning", wanted, text),)
    coarsest = _row(result, wanted[-1:])
    if not coarsest.passes(result.limits):
        loss = _loss(coarsest, result.limits)
        text = f"{loss} at the coarsest output stride, {written(wanted[-1:])}; a finer one keeps them"
        return (_finding("info", wanted, text),)
    return ()


def _row(result: FitResult, strides: StrideSet) -> BoxRow | MaskRow:
    row = result.row(strides)
    if not isinstance(row, BoxRow | MaskRow):
        raise UsageError(
            f"the fit of {result.data} did not look at {written(strides)}: pass strides='{written(strides)}'"
        )
    return row


def _loss(row: BoxRow | MaskRow, limits: Limits) -> str:
    if isinstance(row, MaskRow):
        return f"rounded labels keep a mean IoU of {percent(row.miou)} ({percent(limits.miou, 0)} wanted)"
    figures = row.overall
    reachable = figures.reachable or 0.0
    if reachable < limits.reachable:
        allowed = percent(1 - limits.reachable)
        return f"{percent(1 - reachable)} of {figures.objects:,} objects contain no cell centre ({allowed} allowed)"
    few = f"{figures.cells_p5 or 0:g} cell centre{'' if figures.cells_p5 == 1 else 's'} or fewer"
    return f"the smallest 5 % of {figures.objects:,} objects contain {few} ({limits.cells} wanted)"


def _finding(severity: str, strides: StrideSet, message: str) -> Finding:
    return Finding(rule="SW301", severity=severity, key=f"strides {written(strides)}", message=message)
