"""The answer: intervals, what may be called better, the files, the page, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from study_nets import drawn, graph, plans

import stridewise as sw
from stridewise.data import digit_scenes
from stridewise.errors import UsageError
from stridewise.plans import Plan, Setting
from stridewise.study.candidates import shortlisted
from stridewise.study.interval import difference, estimate
from stridewise.study.jobs import Outcome
from stridewise.study.plot import plan_axes
from stridewise.study.racing import Contender, Noise
from stridewise.study.settings import stored_study
from stridewise.study.training import TrainScore
from stridewise.study.verdict import Question
from stridewise.study.verdict import verdict as verdict_of

BETTER, WORSE = (0.92, 0.921, 0.919), (0.85, 0.851, 0.849)


def outcomes(*values, pictures=0, seed=0):
    """One outcome a value; with pictures, that share of them right."""
    rng = np.random.default_rng(seed)
    right = [tuple(bool(b) for b in rng.permutation(np.arange(pictures) < round(v * pictures))) for v in values]
    return tuple(Outcome(value=v, correct=r) for v, r in zip(values, right, strict=True))


def contender(name, macs, values):
    return Contender(name=name, cost=macs, outcomes=outcomes(*values))


def verdict(default, others, *, rivals=(), **question):
    noise = Noise.of([*([default] if default else []), *others])
    return verdict_of(default, others, Question(noise=noise, **question), rivals=rivals)


def test_the_interval_over_seeds_is_students():
    values = (0.8, 0.83, 0.9, 0.81)
    found = estimate(outcomes(*values))
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_difference_over_seeds_is_welchs():
    ours, theirs = (0.9, 0.95, 0.91), (0.8, 0.84, 0.78, 0.81)
    found = difference(outcomes(*ours), outcomes(*theirs))
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.seeds == 3


def test_pictures_widen_an_interval_and_pairing_narrows_a_difference():
    values = (0.8, 0.81, 0.79)
    alone, judged = estimate(outcomes(*values)), estimate(outcomes(*values, pictures=200))
    assert judged.high - judged.low > alone.high - alone.low
    ours = outcomes(*values, pictures=200, seed=1)
    paired = difference(ours, tuple(reversed(ours)))
    unpaired = difference(ours, outcomes(*values, pictures=200, seed=2))
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_one_training_has_its_own_interval_and_no_difference():
    assert estimate(outcomes(0.9, pictures=100)).low == pytest.approx(0.825, abs=0.003)
    assert estimate(outcomes(0.9)).low is None
    assert difference(outcomes(0.9), outcomes(0.8)).low is None


@pytest.mark.parametrize(
    ("macs", "values", "kind", "chosen"),
    [
        (100, BETTER, "better", "A"),
        (99, BETTER, "better", "A"),
        (101, BETTER, "more accurate, dearer", "A"),  # dearer: never "better"
        (99, BETTER[:2], "not settled", "default"),  # two seeds: not enough
        (99, WORSE, "as good and cheaper", "A"),
        (100, WORSE, "not settled", "default"),
        (50, (0.83, 0.831, 0.829), "the default, surely", "default"),
        (50, (0.8, 0.9, 0.85), "not settled", "default"),
    ],
)
def test_better_is_said_only_at_equal_or_lower_cost_with_three_seeds(macs, values, kind, chosen):
    found = verdict(contender("default", 100, WORSE), [contender("A", macs, values)])
    assert (found.kind, found.plan) == (kind, chosen)
    text = " ".join(found.reasons)
    assert ("A is better" in text) == (kind == "better")
    if macs > 100:
        assert "surely more accurate and dearer, within the limits" in text
    if len(values) < 3:
        assert "wants 3 seeds or more" in text


def test_what_is_not_settled_is_said():
    found = verdict(contender("default", 100, (0.8, 0.9, 0.85)), [contender("A", 90, (0.81, 0.93, 0.84))])
    assert any("not settled: the interval holds zero" in reason for reason in found.reasons)
    assert verdict(None, [contender("A", 90, BETTER)]).kind == "none"


@pytest.mark.parametrize(
    ("cheap", "kind"),
    [((0.5, 0.51, 0.49), "the default, surely"), ((0.82, 0.83, 0.81), "not settled"), (WORSE, "cheapest")],
)
def test_the_cheapest_is_the_default_where_every_cheaper_plan_surely_loses_more(cheap, kind):
    others = [contender("A", 50, cheap), contender("dear", 200, (0.846, 0.854, 0.85))]
    found = verdict(contender("default", 100, WORSE), others, aim="cheapest", margin=0.02)
    assert (found.kind, found.plan) == (kind, "A" if kind == "cheapest" else "default")
    if kind == "the default, surely":
        assert found.reasons[0].endswith("surely loses more than 2 points: the default is the cheapest.")
        assert "not settled" in found.reasons[2]  # what is dearer is open still


def test_a_cheaper_plan_that_may_be_as_good_is_compared_with_the_rivals_too():
    default, rival = contender("default", 100, (0.8, 0.9, 0.85)), contender("input 8x8", 50, (0.5, 0.51, 0.49))
    others = [
        contender("A", 55, (0.81, 0.93, 0.84)),
        contender("B", 55, (0.4, 0.41, 0.39)),
        contender("C", 105, BETTER),
    ]
    found = verdict(default, others, rivals=[rival])
    assert found.plan == "default"
    said = [reason for reason in found.reasons if "against the rival" in reason]
    assert [reason.split()[0] for reason in said] == ["default", "A"]
    assert "A against the rival input 8x8 at 0.91x its multiply-adds: +36.0 points" in said[1]
    assert said[1].endswith("surely more accurate, but dearer.")


def test_the_files_hold_the_answer(tmp_path):
    def score(plan, budget, seed):
        return (0.9 if plan == plans()[0] else 0.8) + drawn(plan, budget, seed) / 1000

    result = sw.search(graph(), score=score, plans=plans(), budget=1, run=tmp_path)
    assert result.verdict.kind == "better"
    kept = json.loads((tmp_path / "result.json").read_text())
    assert kept == json.loads(json.dumps(result.to_json()))
    assert (kept["schema"], kept["state"], kept["input"]) == ("stridewise.search/1", "finished", [1, 3, 32, 32])
    assert set(kept) == {
        *("schema", "model", "input", "task", "data", "state", "limits", "schedule", "recommended", "plans", "front"),
        *("axes", "notes", "method", "times", "metric", "weights", "aim", "cost", "unit", "curve", "knee"),
    }
    for row in kept["plans"]:
        assert row["macs"]["kind"] == row["activations"]["kind"] == "exact"
        assert row["peak_activation_bytes"]["kind"] == "estimated"
        assert (row["accuracy"] or {"kind": "measured"})["kind"] == "measured"
        assert bool(row["accuracy"]) == bool(row["trainings"])
    assert sw.Plan.read(tmp_path / "plan.toml") == plans()[0]
    picture = Image.open(tmp_path / "front.png")
    assert picture.size[0] == 935
    assert len(picture.convert("RGB").getcolors(10**6)) > 50
    page = (tmp_path / "report.html").read_text()
    assert page == result.to_html()
    assert "Plan 1 is more accurate" not in page  # the page says it itself, from the data; see tests/web
    assert "Recommended: plan 1 (better)" in result._repr_html_()


def test_the_axes_hold_each_plan_s_step_at_each_place_where_plans_differ():
    def at(**steps):
        sites = {key.replace("_", "."): Setting(stride=(s, s), was=(1, 1)) for key, s in steps.items()}
        return Plan(sites=sites, insert={"mid": Setting(stride=(1, 2), was=(2, 2), downsample="max")} if steps else {})

    found = plan_axes([Plan(), at(layer10_a=2, layer2_b=2, layer2_c=2), at(layer10_a=3)])
    assert [(axis["name"], axis["sites"], axis["strides"]) for axis in found] == [
        ("layer2", ["layer2.b", "layer2.c"], [[1, 1], [2, 2], [1, 1]]),
        ("layer10.a", ["layer10.a"], [[1, 1], [2, 2], [3, 3]]),
        ("+mid", ["+mid"], [[2, 2], [1, 2], [1, 2]]),
    ]


def test_search_wants_data_or_a_score_and_a_graph_with_it():
    with pytest.raises(UsageError, match="give data to train on, or your own score"):
        sw.search("builtin:resnet20-narrow")
    with pytest.raises(UsageError, match="wants the network as a graph"):
        sw.search("builtin:resnet20-narrow", score=drawn)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("search",), 2, "wants a MODEL and --data"),
        (("search", "builtin:resnet20", "--data", "nowhere"), 1, "no such file or folder"),
        (("search", "builtin:resnet20", "--data", "x", "--max-macs", "much"), 2, "write 0.8x"),
        (("search", "--resume", "nowhere"), 1, "no study to resume"),
        (("search", "m", "--data", "d", "--resume", "nowhere"), 2, "leave MODEL and --data out"),
        (
            ("search", "--resume", "nowhere", "--budget", "7", "--no-slots"),
            2,
            "leave --slots and --budget/--epochs out",
        ),
        (("search", "--resume", "nowhere", "--workers", "0"), 1, "no study to resume"),
    ],
)
def test_wrong_calls_of_the_command_are_one_line(tmp_path, monkeypatch, refused, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    found, line = refused(*arguments)
    assert (found, said in line, line.count("error: ") + line.count("Error: ")) == (code, True, 1), line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_searches_and_resumes(tmp_path, monkeypatch, called):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, shade in (("dark", 60), ("light", 190)):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for number in range(16):
                pixels = rng.normal(shade, 20, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    common = ("--trials", "2", "--budget", "1", "--seeds", "1", "--batch", "8", "--workers", "1", "--json")
    code, out, err = called("search", "net.py:net", "--data", "data", "--run", "run", *common)
    assert code == 0, err
    found = json.loads(out)
    assert found["plans"][0]["latency"]["kind"] == "measured"
    assert (tmp_path / "run" / "report.html").exists()
    code, out, err = called("search", "--resume", "run", "--json")
    assert code == 0, err
    assert json.loads(out)["plans"] == found["plans"]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "metric"), [("segment", "mean IoU"), ("detect", "mAP")])
def test_the_command_searches_for_the_other_tasks(tmp_path, monkeypatch, called, task, metric):
    """Bright squares on dark noise: found by any network, so that each step of the way is seen to work."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    masks = {}
    for split, count in (("train", 16), ("val", 8)):
        pictures = rng.integers(0, 80, (count, 32, 32, 3), dtype=np.uint8)
        labels = np.zeros((count, 32, 32), dtype=np.uint8)
        for kind in ("images", "labels"):
            (tmp_path / "boxes" / kind / split).mkdir(parents=True)
        for i, (top, left) in enumerate(rng.integers(0, 18, (count, 2))):
            pictures[i, top : top + 12, left : left + 12] += 120
            labels[i, top : top + 12, left : left + 12] = 1
            Image.fromarray(pictures[i]).save(tmp_path / "boxes" / "images" / split / f"{i}.png")
            line = f"0 {(left + 6) / 32} {(top + 6) / 32} {12 / 32} {12 / 32}\n"
            (tmp_path / "boxes" / "labels" / split / f"{i}.txt").write_text(line)
        name = "test" if split == "val" else split
        masks |= {f"x_{name}": pictures, f"y_{name}": labels}
    (tmp_path / "boxes" / "data.yaml").write_text("names: [square]\n")
    np.savez(tmp_path / "masks.npz", **masks)
    common = (
        "--trials",
        "3",
        "--budget",
        "1",
        "--seeds",
        "1",
        "--batch",
        "8",
        "--workers",
        "0",
        "--max-latency",
        "50x",
    )
    data = {"segment": "masks.npz", "detect": "boxes"}[task]
    own = {"segment": ("--augment", "flip,shift"), "detect": ("--levels", "4", "--sizes", "8,20")}[task]
    own = (*own, "--width", "16", "--decay", "0.01", "--precision", "bf16-mixed")
    code, out, err = called(
        *("search", "builtin:resnet20-narrow", "--task", task, "--data", data, "--run", "run", *common, *own, "--json")
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["state"] == "finished"
    assert metric in found["metric"]
    assert not any(row["error"] for row in found["plans"])
    kept = stored_study(tmp_path / "run").recipe
    assert (kept["width"], kept["decay"], kept["precision"]) == (16, 0.01, "bf16-mixed")
    assert (kept.get("augment"), kept.get("levels"), kept.get("sizes")) == (
        (("flip", "shift"), None, None) if task == "segment" else (None, (4,), (8, 20))
    )
    assert json.loads(called("search", "--resume", "run", "--json")[1])["plans"] == found["plans"]
    origins = [row["origin"] for row in found["plans"]]
    assert origins[0] == "default"
    finals = [row for row in found["plans"] if row["final"]]
    assert all(row["latency"]["kind"] == "measured" for row in finals)


def test_plans_that_the_head_cannot_read_are_not_trained():
    """At output stride 16 a picture of 24 pixels has one position left; the atrous head wants two."""
    judge = TrainScore(
        "segment", "builtin:resnet20-narrow", digit_scenes(task="segment", size=64, train=8, val=4), size=(24, 24),
        options={"head": "atrous"},
    )  # fmt: skip
    listed, found = shortlisted(judge.graph(), count=6, slots=True, refusal=judge.refusal)
    assert len(listed) == 6
    assert all(judge.builds(c.plan) for c in listed if c.origin == "front")
    assert "the atrous head wants 2 positions" in found.refused[0]
    with pytest.raises(sw.PlanError, match="no plan of the front serves: too small"):
        shortlisted(judge.graph(), count=6, slots=True, refusal=lambda plan: "too small")


def test_it_is_said_how_many_plans_would_not_serve():
    result = sw.search(graph(), score=drawn, plans=plans(), budget=1)
    assert not any("serve" in line for line in result.to_json()["method"])
    said = replace(result, refused=("why", "another")).to_json()["method"]
    assert "2 others would not serve, the first: why." in said
