"""Which plan to take, and why, in plain words; what is not settled is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stridewise.study.interval import Estimate
from stridewise.study.racing import SURE, Contender, Noise, above

MARGIN = 0.01
"""A cheaper plan counts as good as the default while its loss is surely below this share (one point)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """kind: better; as good and cheaper; cheapest; more accurate, dearer; best within the limits; the default, surely;
    not settled; none. plan: the name to take; reasons: one sentence each."""

    kind: str
    plan: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """In which words and by which bound plans are compared. aim, margin: as a study's, the margin in the score's own
    unit; times, unit: how a score is written, as 100 and "points"; cost: what the cost is, in words."""

    noise: Noise
    aim: str = "curve"
    margin: float = MARGIN
    times: float = 100.0
    unit: str = "points"
    cost: str = "multiply-adds"

    def by(self, ours: Contender, theirs: Contender) -> Estimate:
        """The difference of two, with its interval."""
        return self.noise.difference(ours.outcomes, theirs.outcomes)

    def said(self, by: Estimate) -> str:
        """A difference in words."""
        text = f"{_signed(by.mean * self.times)} {self.unit}"
        if by.low is None or by.high is None:
            return f"{text} ({by.seeds} seed{'s' if by.seeds > 1 else ''})"
        low, high = _signed(by.low * self.times), _signed(by.high * self.times)
        return f"{text} (95 % interval {low} to {high}, {by.seeds} seeds)"

    def at(self, contender: Contender, default: Contender) -> str:
        """What a plan costs, in words."""
        return f"{contender.cost / default.cost:.2f}x the {self.cost}"


def verdict(
    default: Contender | None, others: Sequence[Contender], ask: Question, *, rivals: Sequence[Contender] = ()
) -> Verdict:
    """The recommendation among finalists.

    "Better" wants equal or lower cost, at least three seeds each, and an interval of the difference above zero. Next
    comes the cheapest plan whose loss is surely below the margin, for the aim "cheapest" before all. Then one surely
    better at a higher cost that the limits allow. Otherwise the network stays as it is, unless it breaks the limits:
    then the plan with the highest mean is the best within them. rivals: other networks, never recommended, each
    compared with what is, and with the cheaper plans that may be as good.
    """
    found = _among(default, others, ask)
    taken = next((c for c in (*others, *([default] if default else [])) if c.name == found.plan), None)
    if taken is None:
        return found
    beside = [taken, *(c for c in others if c.within and c.cost < taken.cost and _may_equal(c, taken, ask))]
    return replace(found, reasons=(*found.reasons, *(_against(c, rival, ask) for c in beside for rival in rivals)))


def _among(default: Contender | None, others: Sequence[Contender], ask: Question) -> Verdict:
    if default is None:
        return Verdict(
            kind="none",
            plan="default",
            reasons=("The network as it is has no finished training to compare with, so nothing is recommended.",),
        )
    compared = [(c, ask.by(c, default)) for c in others]
    within = [(c, d) for c, d in compared if c.within]
    better = [(c, d) for c, d in within if above(d, 0.0) and c.cost <= default.cost]
    close = [(c, d) for c, d in within if above(d, -ask.margin) and c.cost < default.cost]
    dearer = [(c, d) for c, d in within if above(d, 0.0) and c.cost > default.cost]
    loses = f"{ask.margin * ask.times:g} {ask.unit.removesuffix('s') if ask.margin * ask.times == 1 else ask.unit}"

    def take(kind: str, best: Contender, said: str) -> Verdict:
        return Verdict(kind=kind, plan=best.name, reasons=(said, *_rest(best, compared, default, ask)))

    if better and ask.aim != "cheapest":
        best, by = max(better, key=lambda pair: pair[1].mean)
        return take(
            "better", best, f"{best.name} is better than the default: {ask.said(by)} at {ask.at(best, default)}."
        )
    if close and not (ask.aim == "best" and dearer):
        best, by = min(close, key=lambda pair: pair[0].cost)
        if ask.aim == "cheapest":
            said = f"{best.name} is the cheapest that surely loses less than {loses}: {ask.said(by)} at "
            return take("cheapest", best, f"{said}{ask.at(best, default)}.")
        said = f"{best.name} is as good as the default to within {loses} and cheaper: {ask.said(by)} at "
        return take("as good and cheaper", best, f"{said}{ask.at(best, default)}.")
    if dearer and ask.aim != "cheapest":
        best, by = max(dearer, key=lambda pair: pair[1].mean)
        said = f"{best.name} is surely more accurate and dearer, within the limits: {ask.said(by)} at "
        return take("more accurate, dearer", best, f"{said}{ask.at(best, default)}.")
    if not default.within and within:
        best, by = max(within, key=lambda pair: pair[1].mean)
        said = f"The default exceeds the limits. Of the plans that keep them {best.name} has the highest mean: "
        return take(
            "best within the limits", best, f"{said}{ask.said(by)} against the default at {ask.at(best, default)}."
        )
    if not default.within:
        return Verdict(
            kind="none",
            plan="default",
            reasons=("The default exceeds the limits, and no plan that keeps them has a finished training.",),
        )
    worse = bool(within) and all(above(d, 0.0) is False for _, d in within)
    if worse and ask.aim != "cheapest":
        said = "Every plan that was compared is surely less accurate than the default, which stays."
        return Verdict(kind="the default, surely", plan="default", reasons=(said, *_rest(None, compared, default, ask)))
    saving = [d for c, d in within if c.cost < default.cost]
    if ask.aim == "cheapest" and saving and all(above(d, -ask.margin) is False for d in saving):
        said = f"Every cheaper plan that was compared surely loses more than {loses}: the default is the cheapest."
        return Verdict(kind="the default, surely", plan="default", reasons=(said, *_rest(None, compared, default, ask)))
    reason = (
        f"No cheaper plan surely loses less than {loses}, so the default stays."
        if ask.aim == "cheapest"
        else "No plan is surely better than the default at equal or lower cost, so the default stays."
    )
    return Verdict(kind="not settled", plan="default", reasons=(reason, *_rest(None, compared, default, ask)))


def _may_equal(contender: Contender, taken: Contender, ask: Question) -> bool:
    """Whether three seeds or more of both leave open that it is as accurate."""
    by = ask.by(contender, taken)
    return by.seeds >= SURE and by.high is not None and by.high >= 0


def _against(taken: Contender, rival: Contender, ask: Question) -> str:
    """A sentence on a plan beside another way to save."""
    by = ask.by(taken, rival)
    said = f"{taken.name} against the rival {rival.name} at {rival.cost / taken.cost:.2f}x its {ask.cost}"
    said += f": {ask.said(by)}"
    if by.seeds < SURE or by.low is None or by.high is None:
        return f"{said}; not settled, since that wants {SURE} seeds or more of both."
    if by.high < 0:
        return f"{said}; the rival is surely more accurate" + (
            ": take it instead." if rival.cost <= taken.cost else ", but dearer."
        )
    if by.low > 0:
        return f"{said}; surely more accurate" + (", but dearer." if taken.cost > rival.cost else ".")
    return f"{said}; not settled: the interval holds zero."


def _rest(
    chosen: Contender | None, compared: Sequence[tuple[Contender, Estimate]], default: Contender, ask: Question
) -> list[str]:
    """A sentence on each finalist that is not recommended."""
    out = []
    for contender, by in compared:
        if contender is chosen:
            continue
        said = f"{contender.name}: {ask.said(by)} against the default at {ask.at(contender, default)}"
        if by.seeds < SURE or by.low is None or by.high is None:
            out.append(f"{said}; not settled, since that wants {SURE} seeds or more of both.")
        elif by.high < 0:
            out.append(f"{said}; surely less accurate.")
        elif by.low > 0 and contender.cost > default.cost:
            out.append(f"{said}; more accurate, but dearer: a trade, not an improvement.")
        elif by.low > 0:
            out.append(f"{said}; better than the default too.")
        else:
            out.append(f"{said}; not settled: the interval holds zero. More seeds or longer training would tell.")
    return out


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
