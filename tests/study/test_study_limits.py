"""Limits, rivals and a person's own score, as a user gives them."""

import json
from types import SimpleNamespace

import pytest
from study_nets import drawn, graph, plans

import stridewise as sw
from stridewise.errors import LoadError, PlanError, StudyError, UsageError
from stridewise.fronts import front as front_module
from stridewise.study.candidates import check_latency, fast_enough, given
from stridewise.study.interval import difference
from stridewise.study.jobs import Outcome
from stridewise.study.judge import NamedScore
from stridewise.study.racing import Contender, Noise
from stridewise.study.rivals import named, rivals_at
from stridewise.study.verdict import Question
from stridewise.study.verdict import verdict as verdict_of


def verdict(default, others, rivals=()):
    noise = Noise.of([*([default] if default else []), *others])
    return verdict_of(default, others, Question(noise=noise), rivals=rivals)


HIGH, LOW = (0.92, 0.921, 0.919), (0.85, 0.851, 0.849)


def contender(name, macs, values, within=True):
    return Contender(name=name, cost=macs, outcomes=tuple(Outcome(value=v) for v in values), within=within)


def trained_as(model, shape=(3, 32, 32), classes=10):
    """What rivals must know of a training."""
    return SimpleNamespace(
        model=model,
        weights=None,
        fitting=lambda rival: True,
        splits=SimpleNamespace(shape=shape, classes=tuple(map(str, range(classes)))),
    )


def default_of(model, shape=(3, 32, 32), **settings):
    return given(sw.trace(sw.load(model, **settings), shape), ())[0]


@pytest.mark.parametrize("share", [0.8, 0.6, 0.4])
def test_rivals_cost_what_the_plan_costs_and_no_more(share):
    default = default_of("builtin:resnet20")
    wanted = int(share * default.macs)
    found = rivals_at(trained_as("builtin:resnet20"), default, wanted)
    assert [rival.name.split()[0] for rival, _ in found] == ["input", "narrower,"]
    for rival, made in found:
        assert 0.6 * wanted <= made.macs <= wanted
        size = rival.size or (32, 32)
        model = sw.load("builtin:resnet20") if isinstance(rival.model, str) else rival.model(num_classes=10)
        assert made.macs == given(sw.trace(model, (3, *size)), ())[0].macs
    # The next larger input or width would cost more than the plan.
    height = found[0][0].size[0]
    assert default_of("builtin:resnet20", (3, height + 1, height + 1)).macs > wanted
    assert default_of("builtin:resnet20", width=found[1][0].model.value + 1).macs > wanted


def test_a_plan_as_dear_as_the_default_has_no_rival_at_its_cost():
    default = default_of("builtin:resnet20")
    assert rivals_at(trained_as("builtin:resnet20"), default, default.macs) == []


def test_a_width_that_the_factory_takes_by_another_name():
    default = default_of("torchvision:mobilenet_v2", (3, 64, 64))
    found = rivals_at(trained_as("torchvision:mobilenet_v2", (3, 64, 64), 1000), default, int(0.7 * default.macs))
    assert any("width_mult" in rival.name for rival, _ in found)


def test_rivals_of_a_file_with_depth_and_kernel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def net(num_classes=10, depth=6, kernel=5):\n"
        "    body = [nn.Conv2d(8, 8, kernel, padding=kernel // 2) for _ in range(depth)]\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(8, num_classes))\n"
    )
    default = default_of("net.py:net")
    found = rivals_at(trained_as("net.py:net"), default, int(0.7 * default.macs))
    assert [rival.name.split(",")[0] for rival, _ in found] == ["input 26x26", "shallower"]
    found = rivals_at(trained_as("net.py:net"), default, int(0.45 * default.macs))
    assert [rival.name for rival, _ in found][-1] == "smaller kernels, kernel 3"


def test_a_rival_by_name_is_costed_and_a_wrong_name_is_one_line():
    ((rival, made),) = named(trained_as("builtin:resnet20"), ["builtin:resnet20-narrow"])
    assert (rival.name, made.origin) == ("builtin:resnet20-narrow", "rival")
    assert made.macs < default_of("builtin:resnet20").macs / 3
    with pytest.raises(LoadError, match="no built-in model"):
        named(trained_as("builtin:resnet20"), ["builtin:resnet99"])


def test_what_the_rivals_say_is_said():
    default, plan = contender("default", 100, LOW), contender("A", 80, HIGH)
    found = verdict(default, [plan], rivals=[contender("input 24x24", 78, LOW), contender("wide", 90, (0.95,) * 3)])
    assert found.plan == "A"
    assert "A against the rival input 24x24 at 0.97x its multiply-adds: +7.0 points" in found.reasons[1]
    assert "surely more accurate" in found.reasons[1]
    assert "the rival is surely more accurate, but dearer" in found.reasons[2]
    beaten = verdict(default, [plan], rivals=[contender("thin", 80, (0.99,) * 3)])
    assert beaten.plan == "A"
    assert beaten.reasons[-1].endswith("take it instead.")
    few = verdict(default, [plan], rivals=[contender("thin", 80, (0.5,) * 2)])
    assert "wants 3 seeds or more" in few.reasons[-1]
    assert difference(plan.outcomes, default.outcomes).low > 0


def test_a_default_beyond_the_limits_is_not_recommended():
    default, plan = contender("default", 100, HIGH, within=False), contender("A", 70, LOW)
    found = verdict(default, [plan, contender("rule", 120, HIGH, within=False)])
    assert (found.kind, found.plan) == ("best within the limits", "A")
    assert "The default exceeds the limits" in found.reasons[0]


def test_a_study_within_a_budget_recommends_within_it(tmp_path):
    result = sw.search(graph(), score=drawn, max_macs="0.8x", budget=2, cost=3, trials=5, run=tmp_path)
    assert not result.default.candidate.within
    assert result.verdict.kind in ("best within the limits", "as good and cheaper", "better")
    assert all(row.candidate.within for row in result.rows[1:] if row.final)
    chosen = next(row for row in result.rows if row.candidate.name == result.verdict.plan)
    assert chosen.candidate.macs <= 0.8 * result.default.candidate.macs
    assert json.loads((tmp_path / "result.json").read_text())["limits"]["max_macs"] == "0.8x"


def test_a_thinned_front_is_called_so_everywhere(monkeypatch):
    whole = sw.search(graph(), score=drawn, budget=1, cost=1, seeds=1, trials=4)
    monkeypatch.setattr(front_module, "EASY_POINTS", 0)
    thin = sw.search(graph(), score=drawn, budget=1, cost=1, seeds=1, trials=4)
    assert (whole.known, thin.known) == ("exact", "within 1 %")
    for result, exact in ((whole, True), (thin, False)):
        written = result.to_json()
        assert written["front"]["known"] == result.known
        texts = (str(result), result.to_html(), " ".join(written["method"]))
        assert ["within 1 % of one on it in every cost" in text for text in texts] == [not exact] * 3
        assert ("the exact front" in texts[2]) == exact


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_macs": 10}, "the cheapest"),
        ({"max_macs": "0.9x", "max_activations": "0.01x"}, "activations"),
        ({"output_stride": 1000}, "output stride"),
        ({"min_field": 100_000}, "min_field 100000"),
        ({"pyramid": (3,)}, "pyramid"),
        ({"smallest_map": 64}, "smallest_map 64"),
        ({"max_peak_bytes": 1}, "bytes"),
    ],
)
def test_limits_that_no_plan_meets_are_one_line(limits, said):
    with pytest.raises(PlanError, match=said) as error:
        sw.search(graph(), score=drawn, **limits)
    assert "\n" not in str(error.value)


def test_latency_limits_are_read_and_name_the_fastest_where_none_is_fast_enough():
    assert check_latency("0.8x") == (0.8, True)
    assert check_latency("12ms") == (0.012, False)
    for wrong in ("fast", "0x", "-1x", "12", "12s"):
        with pytest.raises(UsageError, match="max_latency"):
            check_latency(wrong)
    chosen = given(graph(), plans()[:2])
    times = {"default": (1.0, 0.02), "plan 1": (0.7, 0.014), "plan 2": (1.2, 0.024)}
    assert fast_enough(chosen, times, "0.8x", "net") == {"plan 1"}
    assert fast_enough(chosen, times, "15ms", "net") == {"plan 1"}
    assert fast_enough(chosen, times, "0.7x", "net") == {"plan 1"}  # the limit itself is kept
    with pytest.raises(PlanError, match=r"no plan .* takes 0\.5x .*fastest, plan 1, .*0\.70x \(14\.00 ms\)"):
        fast_enough(chosen, times, "0.5x", "net")


def test_latency_and_rivals_want_a_network_to_train():
    with pytest.raises(UsageError, match="they go without score="):
        sw.search(graph(), score=drawn, plans=plans(), max_latency="0.8x")
    with pytest.raises(UsageError, match="leave rate out: with score= your own code does the training"):
        sw.search(graph(), score=drawn, plans=plans(), rate=0.1)


SCORE = """
import random
def score(plan, budget, seed, progress=None):
    if progress:
        progress(1, 1)
    with open("calls", "a") as file:
        print(hash(plan.to_toml()) % 10**6, budget, seed, file=file)
    return 0.5 + random.Random(f"{plan.to_toml()} {budget} {seed}").random() / 10
number = 3
"""


def test_a_named_score_takes_what_its_function_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SCORE)
    score = NamedScore("mine.py:score")
    assert "progress" in score.__signature__.parameters
    assert score(sw.Plan(), 1, 0) == score(sw.Plan(), 1, 0)
    with pytest.raises(LoadError, match="--score wants a function, not int"):
        _ = NamedScore("mine.py:number").function
    with pytest.raises(LoadError, match="has no 'nothing'"):
        sw.search(graph(), score="mine.py:nothing")


def test_the_command_takes_a_persons_own_score_and_resumes_it(tmp_path, monkeypatch, called):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SCORE)
    common = ("search", "builtin:resnet20-narrow", "--score", "mine.py:score", "--run", "run", "--workers", "0")
    settings = ("--trials", "5", "--budget", "3", "--cost", "2", "--max-macs", "0.9x")
    code, out, err = called(*common, *settings, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["task"], found["data"], found["state"]) == ("score", "mine.py:score", "finished")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == sum(len(row["trainings"]) for row in found["plans"])
    code, out, err = called("search", "--resume", "run", "--json", "--workers", "0")
    assert code == 0, err
    assert json.loads(out)["plans"] == found["plans"]
    assert (tmp_path / "calls").read_text().splitlines() == calls


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("builtin:resnet20", "--data", "builtin:digits", "--score", "mine.py:score"), 2, "--data"),
        (("net.py:net", "--score", "mine.py:score"), 2, "--input 3x224x224"),
        (("builtin:resnet20", "--score", "missing.py:score"), 1, "missing.py"),
        (("builtin:resnet20", "--score", "mine.py:score", "--max-macs", "1k"), 1, "the cheapest"),
        (("builtin:resnet20", "--score", "mine.py:score", "--pyramid", "4;8"), 2, "write 4,8,16,32"),
    ],
)
def test_wrong_calls_are_one_line(tmp_path, monkeypatch, refused, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SCORE)
    found, line = refused("search", *arguments)
    assert (found, said in line, line.count("error: ") + line.count("Error: ")) == (code, True, 1), line


def test_a_lost_database_is_said_and_nothing_is_trained(tmp_path):
    sw.search(graph(), score=drawn, plans=plans()[:1], budget=1, seeds=1, run=tmp_path)
    (tmp_path / "study.db").unlink()
    with pytest.raises(StudyError, match=r"holds a study whose study\.db is missing: put it back"):
        sw.search(graph(), score=lambda *_: pytest.fail("trained"), plans=plans()[:1], budget=1, run=tmp_path)
