"""Seeds go where the answer hangs, under a bound that holds at every look; the curve of what each cost buys."""

import numpy as np
import pytest
from scipy import stats

from stridewise.study.curve import curve, knee
from stridewise.study.jobs import Outcome
from stridewise.study.procedure import finalists
from stridewise.study.racing import FIRST, Contender, Noise, above, levels, next_pair


def contender(name, cost, *values, **more):
    return Contender(name=name, cost=cost, outcomes=tuple(Outcome(value=v) for v in values), **more)


def test_the_seeds_variance_is_pooled_over_all_finalists():
    groups = [(0.8, 0.83, 0.9), (0.7, 0.71), (0.6, 0.66, 0.61, 0.6)]
    found = Noise.of([contender(str(i), 1, *g) for i, g in enumerate(groups)])
    assert found.degrees == 2 + 1 + 3
    # One-way analysis of variance has the same denominator.
    within = sum(((np.array(g) - np.mean(g)) ** 2).sum() for g in groups) / 6
    assert found.variance == pytest.approx(within)


def test_where_two_plans_are_as_noisy_the_interval_is_the_pooled_t_interval():
    a, b = (0.9, 0.95, 0.91), (0.8, 0.84, 0.85)
    assert np.var(a) == pytest.approx(np.var(b))
    noise = Noise.of([contender("default", 1, *b), contender("A", 1, *a)], trainings=6)
    found = noise.difference(*(contender("", 1, *v).outcomes for v in (a, b)))
    expected = stats.ttest_ind(a, b).confidence_interval(0.973)  # some of the 5 % is kept back
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("reach", "error"), [(3, 0.05), (4, 0.02), (8, 0.05), (20, 0.03)])
def test_the_looks_of_a_pair_together_spend_its_error(reach, error):
    found = levels(reach, error)
    assert len(found) == reach - 2
    assert list(found) == sorted(found)
    # Sums of normal draws, looked at from the third on: how often any look leaves its bound.
    sums = np.random.default_rng(0).normal(size=(100_000, reach)).cumsum(axis=1)[:, 2:]
    deviations = np.abs(sums) / np.sqrt(np.arange(3, reach + 1))
    wrong = (deviations > stats.norm.isf(np.array(found) / 2)).any(axis=1).mean()
    assert wrong == pytest.approx(error, abs=3 * (error / 100_000) ** 0.5)


def test_one_look_has_all_of_the_error_and_later_seeds_have_the_last_ones():
    assert levels(3, 0.05) == (0.05,)
    noise = Noise.of([contender("default", 1, 1.0, 2.0), contender("A", 1, 1.0, 2.0)], trainings=16)
    assert noise.reach == 8
    assert noise.level(3) < noise.level(8) == noise.level(9) <= 0.027


def test_nothing_is_settled_with_fewer_than_three_seeds():
    two = contender("default", 1, 0.5, 0.5001), contender("A", 1, 0.9, 0.9001)
    by = Noise.of(two).difference(two[1].outcomes, two[0].outcomes)
    assert by.low > 0
    assert above(by, 0.0) is None


def test_the_next_seeds_go_to_the_pair_on_which_the_answer_hangs():
    default = contender("default", 10, 0.80, 0.82)
    near, far = contender("near", 5, 0.81, 0.83), contender("far", 5, 0.40, 0.41)
    assert next_pair([default, near, far], 15) == [0, 1]
    behind = contender("near", 5, 0.81, 0.83, 0.82)
    assert next_pair([default, behind, far], 15) == [0]  # whichever has fewer seeds
    assert next_pair([default, near, far], 7) == [0]  # the last training that there is
    assert next_pair([default, near, far], 6) == []
    sure = contender("sure", 5, 0.95, 0.951, 0.952)
    assert next_pair([contender("default", 10, 0.8, 0.801, 0.802), sure, far], 15) == []


def test_the_cheapest_is_asked_for_until_no_cheaper_one_is_open():
    default = contender("default", 10, 0.80, 0.801, 0.802)
    good, open_ = contender("good", 8, 0.80, 0.801, 0.802), contender("open", 5, 0.79, 0.792)
    assert next_pair([default, good, open_], 15, line=-0.01, aim="cheapest") == [2]
    dear = contender("dear", 9, 0.79, 0.792)
    assert next_pair([default, good, dear], 15, line=-0.01, aim="cheapest") == []


def test_a_raced_study_is_wrong_in_no_more_than_a_twentieth():
    """Two finalists as good as the network as it is: any that is called better is called so wrongly."""
    wrong = 0
    for study in range(300):
        rng = np.random.default_rng(study)
        values = [list(rng.normal(size=FIRST)) for _ in range(3)]
        while pair := next_pair([contender(str(i), 1, *v) for i, v in enumerate(values)], 15):
            for i in pair:
                values[i].append(rng.normal())
        last = [contender(str(i), 1, *v) for i, v in enumerate(values)]
        noise = Noise.of(last, 15)
        wrong += any(above(noise.difference(c.outcomes, last[0].outcomes), 0.0) for c in last[1:])
    assert wrong <= 0.05 * 300 + 6  # and two deviations of such a count


def test_the_curve_has_the_best_plan_at_each_cost():
    default = contender("default", 100, 0.80, 0.801, 0.799)
    found = [
        default,
        contender("half", 50, 0.70, 0.701, 0.702),
        contender("worse", 40, 0.60, 0.601, 0.602),
        contender("close", 74, 0.797, 0.80, 0.801),
        contender("dear", 190, 0.90, 0.901, 0.902),
        contender("over", 60, 0.99, 0.99, 0.99, within=False),
        contender("rival", 50, 0.99, 0.99, 0.99, rival=True),
    ]
    made = curve(found, Noise.of(found), most=3.0)
    assert [(m.mark, m.plan) for m in made] == [
        (0.5, "half"),
        (0.75, "close"),
        (1.0, "default"),
        (1.5, "default"),
        (2.0, "dear"),
        (3.0, "dear"),
    ]
    assert [m.settled for m in made] == [True, False, True, True, True, True]
    assert made[0].against.high < 0 < made[4].against.low
    assert [m.beyond for m in curve(found, Noise.of(found), most=1.0)] == [False, False, False, True, True]
    assert knee(found) == "close"
    assert knee(found[:2]) == ""


@pytest.mark.parametrize(
    ("aim", "chosen"),
    [("best", [0, 7, 6]), ("curve", [0, 7, 3]), ("cheapest", [0, 3, 5])],
)
def test_finalists_are_those_that_the_aim_asks_about(aim, chosen):
    ranked, costs = [7, 6, 5, 0, 3, 1], {0: 100, 7: 98, 6: 95, 5: 74, 3: 48, 1: 20}
    assert finalists(ranked, costs, {0, 1, 3, 5, 6, 7}, aim=aim, count=3, today=100) == chosen
    # The network as it is beyond the limits is compared with, and takes no place.
    assert len(finalists(ranked, costs, {1, 3, 5}, aim=aim, count=3, today=100)) == 4


def test_a_noisy_plan_does_not_widen_the_interval_of_two_quiet_ones():
    rng = np.random.default_rng(0)
    quiet = [contender(str(i), 1, *rng.normal(size=3)) for i in range(2)]
    noisy = contender("early", 1, *(9 * rng.normal(size=3)))

    def width(one, every):
        by = Noise.of(every, trainings=9).difference(one.outcomes, every[0].outcomes)
        return by.high - by.low

    every = [*quiet, noisy]
    pooled = np.mean([np.var([o.value for o in c.outcomes], ddof=1) for c in every]) * 2 / 3
    assert width(quiet[1], every) < 0.8 * 2 * stats.t.isf(Noise.of(every).level(3) / 2, 6) * pooled**0.5
    assert width(noisy, every) > width(quiet[1], every)
    two = Noise.of(quiet, trainings=6)
    assert two._of_mean(quiet[0].outcomes)[1] == 4
