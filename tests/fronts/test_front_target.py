"""A front under a chip's limits is what comparing the plans that keep them leaves; what cannot be is one line."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import stridewise as sw
from stridewise.analyses.fields import evaluate
from stridewise.analyses.targets import target_findings, target_of
from stridewise.errors import PlanError, UsageError
from stridewise.fronts.shortlist import shortlist
from stridewise.fronts.space import space
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.restride import restride
from stridewise.study.pool import pool
from stridewise.study.value import Study
from stridewise.tracing.trace import trace

from .brute import Cost, beats, consistent, priced
from .search_nets import Drawn, Residual, conv, graph_of, networks

LIMITS = {
    "strides": "[[limit]]\nops=['conv']\nwhat='stride'\nmax=1\nsource='me'\n",
    "pool steps": "[[limit]]\nops=['max_pool','avg_pool']\nwhat='stride'\none_of=[2]\nsource='me'\n",
    "largest": "[[limit]]\nops=['conv','max_pool']\nwhat='size'\nmax=12\nsource='me'\n",
    "least": "[[limit]]\nops=['any']\nwhat='size'\nmin=5\nsource='me'\n",
    "padding": "[[limit]]\nops=['any']\nwhat='padding'\nmax=1\nsource='me'\n",
    "memory": "memory=3000\nmemory_source='me'\n",
    "wide memory": "memory=9000\nbytes=2\nmemory_source='me'\n",
}


def file_of(folder: Path, text: str) -> str:
    path = folder / "chip.toml"
    path.write_text(f"name='chip'\nabout='a chip'\n{text}")
    return str(path)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), st.sampled_from(sorted(LIMITS)))
def test_a_front_keeps_to_every_limit(tmp_path_factory, drawn, which) -> None:
    compare(graph_of(drawn, most=4), file_of(tmp_path_factory.mktemp("t"), LIMITS[which]))


@pytest.mark.parametrize("most", [0, 1])
def test_end_padding_counts_as_padding(tmp_path, most) -> None:
    """An average pool 2x2/2 at step 1 gets one end pad, and a chip may not take that."""
    model = Drawn([Residual(conv(3, 2), nn.Sequential(nn.AvgPool2d(2, 2), conv(1))), conv(3)])
    text = f"[[limit]]\nops=['avg_pool']\nwhat='padding'\nmax={most}\nsource='me'\n"
    strides = compare(trace(model, (3, 12, 12)), file_of(tmp_path, text))
    assert (1 in strides) == bool(most)


def compare(graph: Graph, name: str) -> set[Fraction]:
    """The output strides of a front under a target, held against all plans that keep its limits."""
    chip = target_of(name)
    expected: dict[tuple[Fraction, Cost], int] = {}
    for plan, stride in consistent(graph, (1, 2)):
        costs = priced(graph, plan)
        if costs is None or list(target_findings(evaluate(restride(graph, plan).graph), chip)):
            continue
        changes = len(plan.sites) + len(plan.insert)
        expected[stride, costs] = min(changes, expected.get((stride, costs), changes))
    best = {p: n for p, n in expected.items() if not any(beats(other, p) for other in expected)}
    try:
        points = sw.front(graph, target=name).points
    except PlanError as error:
        assert not best or not space(graph).free, error
        return set()
    assert {(Fraction(p.output_stride[0]), p.cost): p.changes for p in points} == best
    return {stride for stride, _ in best}


RESNET = Drawn([Residual(nn.Sequential(conv(3, 2), conv(3)), conv(1, 2)), conv(3, 2), conv(3)])


@pytest.fixture(scope="module")
def graph():
    return trace(RESNET, (3, 32, 32))


def test_a_map_too_large_for_the_chip_is_found_and_never_offered(tmp_path, graph) -> None:
    """SW402: the network as it is reads 32 positions; no plan may, so the stem's own map forbids all."""
    name = file_of(tmp_path, "[[limit]]\nops=['conv']\nwhat='size'\nmax=16\nsource='the manual, page 3'\n")
    found = [f for f in sw.check(graph, target=name) if f.rule == "SW402"]
    assert found[0].message == "stem: size 32, and chip takes at most 16 (the manual, page 3)"
    with pytest.raises(PlanError, match="no plan keeps its maps within the sizes that chip takes"):
        sw.front(graph, target=name)
    mild = file_of(tmp_path, "[[limit]]\nops=['conv']\nwhat='size'\nmin=20\nsource='me'\n")
    assert all(
        not list(target_findings(evaluate(restride(graph, p.plan).graph), target_of(mild)))
        for p in sw.front(graph, target=mild).points
    )


def test_the_answer_says_the_target_and_what_the_network_breaks(tmp_path, graph) -> None:
    name = file_of(tmp_path, LIMITS["strides"])
    found = sw.front(graph, target=name)
    assert "every plan keeps to the limits of chip: a chip" in str(found)
    assert "as it is the network does not: parts.0.path.0: stride 2, and chip takes at most 1 (me)" in str(found)
    assert found.to_json()["target"]["name"] == found.limits["target"] == "chip"
    assert not found.holds_current
    picks = shortlist(graph, found, count=6)
    assert [p.within for p in picks if p.why == "as it is"] == [False]
    assert all(p.why == "as it is" or p.within for p in picks)


def test_a_layer_that_no_step_mends_is_named(tmp_path, graph) -> None:
    name = file_of(tmp_path, "[[limit]]\nops=['conv']\nwhat='kernel'\nmax=2\nsource='me'\n")
    with pytest.raises(PlanError, match=r"no plan keeps to chip, whatever it steps by: stem: kernel 3, and chip takes"):
        sw.front(graph, target=name)
    small = file_of(tmp_path, "memory=100\nmemory_source='me'\n")
    with pytest.raises(PlanError, match=r"no plan fits the 100 bytes of chip \(me\); the least takes [\d,]+$"):
        sw.front(graph, target=small)


@pytest.mark.parametrize(
    ("text", "words"), [("speed=3", "unknown key 'speed'"), ("[[limit]]\nops=['conv']\nwhat='x'", "what is one of")]
)
def test_a_file_that_is_no_target_is_one_line(tmp_path, graph, text, words) -> None:
    with pytest.raises(UsageError, match=words) as error:
        sw.front(graph, target=file_of(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_study_offers_no_plan_that_breaks_a_limit(tmp_path, graph) -> None:
    name = file_of(tmp_path, LIMITS["strides"].replace("max=1", "one_of=[1]"))
    study = Study.of(graph, score=lambda plan, budget, seed: 0.0, target=name, max_macs="40x")
    chosen = pool(graph, study, None).chosen
    assert len(chosen) > 1
    assert not chosen[0].within
    for one in chosen[1:]:
        assert not list(target_findings(evaluate(restride(graph, one.plan).graph), target_of(name)))
    own = Study.of(graph, score=lambda plan, budget, seed: 0.0, target=name, plans=(sw.plan(graph, {"parts.2": 2}),))
    with pytest.raises(PlanError, match=re.escape("stride 2, and chip takes one of 1 (me)")):
        pool(graph, own, None)
    assert Plan() == chosen[0].plan
