"""Which plan to take, and why, in plain words; what is not settled is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stridewise.study.interval import Estimate, difference
from stridewise.study.jobs import Outcome

SEEDS_TO_SAY_BETTER = 3
MARGIN = 0.01
"""A cheaper plan counts as good as the default while its loss is surely below this share (one point)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A finalist: its name, multiply-adds and full-budget trainings. within: it keeps the limits of the search."""

    name: str
    macs: int
    outcomes: tuple[Outcome, ...]
    within: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """kind: better, as good and cheaper, best within the limits, not settled, none. plan: the name to take; reasons:
    one sentence each."""

    kind: str
    plan: str
    reasons: tuple[str, ...]


def verdict(
    default: Contender | None,
    others: Sequence[Contender],
    *,
    rivals: Sequence[Contender] = (),
    unit: float = 100.0,
) -> Verdict:
    """The recommendation among finalists.

    "Better" wants equal or lower cost, at least three seeds each, and an interval of the difference above zero. Next
    comes the cheapest plan whose loss is surely below one point. Otherwise the network stays as it is, unless it breaks
    the limits: then the plan with the highest mean is the best within them. rivals: other networks, never recommended,
    each compared with what is, and with the cheaper plans that may be as good.
    """
    found = _among(default, others, unit)
    taken = next((c for c in (*others, *([default] if default else [])) if c.name == found.plan), None)
    if taken is None:
        return found
    beside = [taken, *(c for c in others if c.within and c.macs < taken.macs and _may_equal(c, taken))]
    return replace(found, reasons=(*found.reasons, *(_against(c, rival, unit) for c in beside for rival in rivals)))


def _among(default: Contender | None, others: Sequence[Contender], unit: float) -> Verdict:
    if default is None:
        return Verdict(
            kind="none",
            plan="default",
            reasons=("The network as it is has no finished training to compare with, so nothing is recommended.",),
        )
    compared = [(c, difference(c.outcomes, default.outcomes)) for c in others]
    within = [(c, d) for c, d in compared if c.macs <= default.macs and c.within]
    enough = [(c, d) for c, d in within if d.seeds >= SEEDS_TO_SAY_BETTER and d.low is not None]
    surely = [(c, d) for c, d in enough if d.low is not None and d.low > 0]
    if surely:
        best, by = max(surely, key=lambda pair: pair[1].mean)
        reasons = [f"{best.name} is better than the default: {_by(by, unit)} at {_cost(best, default)}."]
        return Verdict(kind="better", plan=best.name, reasons=(*reasons, *_rest(best, compared, default, unit)))
    close = [(c, d) for c, d in enough if c.macs < default.macs and d.low is not None and d.low > -MARGIN]
    if close:
        best, by = min(close, key=lambda pair: pair[0].macs)
        reasons = [
            f"{best.name} is as good as the default to within {MARGIN * unit:g} point and cheaper: {_by(by, unit)} at "
            f"{_cost(best, default)}."
        ]
        return Verdict(
            kind="as good and cheaper", plan=best.name, reasons=(*reasons, *_rest(best, compared, default, unit))
        )
    if not default.within and any(c.within for c in others):
        best, by = max(((c, d) for c, d in compared if c.within), key=lambda pair: pair[1].mean)
        reasons = [
            f"The default exceeds the limits. Of the plans that keep them {best.name} has the highest mean: "
            f"{_by(by, unit)} against the default at {_cost(best, default)}."
        ]
        return Verdict(
            kind="best within the limits", plan=best.name, reasons=(*reasons, *_rest(best, compared, default, unit))
        )
    reasons = ["No plan is surely better than the default at equal or lower cost, so the default stays."]
    return Verdict(kind="not settled", plan="default", reasons=(*reasons, *_rest(None, compared, default, unit)))


def _may_equal(contender: Contender, taken: Contender) -> bool:
    """Whether three seeds or more of both leave open that it is as accurate."""
    by = difference(contender.outcomes, taken.outcomes)
    return by.seeds >= SEEDS_TO_SAY_BETTER and by.high is not None and by.high >= 0


def _against(taken: Contender, rival: Contender, unit: float) -> str:
    """A sentence on a plan beside another way to save."""
    by = difference(taken.outcomes, rival.outcomes)
    said = f"{taken.name} against the rival {rival.name} at {rival.macs / taken.macs:.2f}x its multiply-adds"
    said += f": {_by(by, unit)}"
    if by.seeds < SEEDS_TO_SAY_BETTER or by.low is None or by.high is None:
        return f"{said}; not settled, since that wants {SEEDS_TO_SAY_BETTER} seeds or more of both."
    if by.high < 0:
        return f"{said}; the rival is surely more accurate" + (
            ": take it instead." if rival.macs <= taken.macs else ", but dearer."
        )
    if by.low > 0:
        return f"{said}; surely more accurate" + (", but dearer." if taken.macs > rival.macs else ".")
    return f"{said}; not settled: the interval holds zero."


def _rest(
    chosen: Contender | None, compared: Sequence[tuple[Contender, Estimate]], default: Contender, unit: float
) -> list[str]:
    """A sentence on each finalist that is not recommended."""
    out = []
    for contender, by in compared:
        if contender is chosen:
            continue
        said = f"{contender.name}: {_by(by, unit)} against the default at {_cost(contender, default)}"
        if by.seeds < SEEDS_TO_SAY_BETTER or by.low is None or by.high is None:
            out.append(f"{said}; not settled, since that wants {SEEDS_TO_SAY_BETTER} seeds or more of both.")
        elif by.high < 0:
            out.append(f"{said}; surely less accurate.")
        elif by.low > 0 and contender.macs > default.macs:
            out.append(f"{said}; more accurate, but dearer: a trade, not an improvement.")
        elif by.low > 0:
            out.append(f"{said}; better than the default too.")
        else:
            out.append(f"{said}; not settled: the interval holds zero. More seeds or longer training would tell.")
    return out


def _by(by: Estimate, unit: float) -> str:
    text = f"{_signed(by.mean * unit)} points"
    if by.low is None or by.high is None:
        return f"{text} ({by.seeds} seed{'s' if by.seeds > 1 else ''})"
    return f"{text} (95 % interval {_signed(by.low * unit)} to {_signed(by.high * unit)}, {by.seeds} seeds)"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _cost(contender: Contender, default: Contender) -> str:
    return f"{contender.macs / default.macs:.2f}x the multiply-adds"
