"""A study as a value: JSON both ways, what makes another study of it, what it refuses, and the command's options."""

import json
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from study_nets import drawn, graph, plans

import stridewise as sw
from stridewise.cli.search import command
from stridewise.errors import StudyError, UsageError
from stridewise.study.judge import own_score
from stridewise.study.value import Study, differences, hinders, option_fields

STUDY = sw.Study(
    model="builtin:resnet20",
    data="builtin:digits",
    size=(24, 24),
    aim="cheapest",
    within=2.0,
    limits=sw.Limits(max_macs="0.8x", pyramid=(4, 8)),
    moves=sw.Moves(kinds=("strides", "scale"), slots=False),
    budget=sw.Budget(epochs=3, seeds=7),
    recipe={"rate": 0.01, "augment": ("flip", "shift")},
)


def test_a_study_comes_back_from_json(tmp_path):
    (tmp_path / "study.json").write_text(json.dumps(STUDY.to_json()))
    assert sw.Study.read(tmp_path / "study.json") == STUDY
    own = sw.Study(model="m", score="mine.py:score", unit="dB", moves=sw.Moves(plans=tuple(plans())))
    assert sw.Study.from_json(json.loads(json.dumps(own.to_json()))) == own


def test_a_study_is_made_from_the_fields_of_its_parts_by_name():
    made = sw.Study.of("builtin:resnet20", data="builtin:digits", max_macs="0.8x", budget=3, moves="strides", rate=0.01)
    assert (made.limits.max_macs, made.budget.epochs, made.moves.kinds) == ("0.8x", 3, ("strides",))
    assert made.recipe == {"rate": 0.01}
    assert sw.Study.of("m", data="d", task="detect", sizes=[8, 20]).recipe == {"sizes": (8, 20)}
    assert sw.Study.of("m", data="d", budget=sw.Budget(epochs=2), seeds=4).budget == sw.Budget(epochs=2, seeds=4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"aim": "fast"}, "no aim 'fast': choose curve, best or cheapest"),
        ({"aim": "best", "within": 2.0}, "--within belongs to --aim cheapest, not to best"),
        ({"budget": {"epoch": 3}}, "no field 'budget.epoch': did you mean epochs?"),
        ({"colour": 1}, "no field 'colour'"),
        ({"budget": {"seeds": "many"}}, "budget.seeds is 'many': a number is wanted"),
        ({"budget": {"seeds": 0}}, "from 1"),
        ({"moves": {"kinds": ["jump"]}}, "no moves 'jump'"),
        ({"limits": 3}, "limits is 3: a table of fields is wanted"),
        ({"schema": "other"}, "this is no study's file"),
        ({"unit": "dB"}, "--unit names the unit of your own --score"),
    ],
)
def test_a_study_that_cannot_be_is_one_line_with_its_file(tmp_path, change, said):
    (tmp_path / "study.json").write_text(json.dumps({**STUDY.to_json(), **change}))
    with pytest.raises(UsageError) as error:
        sw.Study.read(tmp_path / "study.json")
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "study.json"))
    assert "\n" not in str(error.value)


def test_more_of_a_study_is_the_same_study_and_anything_else_is_named():
    def changed(**fields):
        other = sw.Study.of("m", data="d", **fields)
        return hinders(differences(sw.Study.of("m", data="d").to_json(), other.to_json()))

    assert changed(trials=20, cost=8.0, seeds=9, finalists=4, aim="best") is None
    assert changed(seeds=2) == ("budget.seeds", 5, 2)
    assert changed(epochs=3) == ("budget.epochs", 9, 3)
    assert changed(max_macs="0.5x") == ("limits.max_macs", None, "0.5x")
    assert changed(rate=0.1) == ("recipe.rate", None, 0.1)


def test_every_option_of_a_study_is_an_option_of_the_command():
    options = {name for parameter in command.params for name in parameter.opts}
    for one in option_fields():
        assert {part for flag in one.metadata["flags"] for part in flag.split("/")[:1]} <= options
        shown = next(p for p in command.params if p.name == one.name)
        assert one.metadata["text"] in shown.help


def test_where_trainings_run_is_one_value():
    with pytest.raises(UsageError, match=r"workers= is now on=sw\.Workers\(4\)"):
        sw.search(graph(), score=drawn, workers=2)
    with pytest.raises(UsageError, match="did you mean finalists"):
        sw.search(graph(), score=drawn, finalist=2)
    with pytest.raises(UsageError, match="leave seeds out, or change the study"):
        sw.search(STUDY, seeds=2)


def test_a_study_that_is_lengthened_trains_nothing_twice(tmp_path):
    calls = []

    def score(plan, budget, seed):
        calls.append((plan.to_toml(), budget, seed))
        return drawn(plan, budget, seed)

    short = sw.Study(
        model=graph(),
        score=score,
        limits=sw.Limits(max_macs="4x"),
        budget=sw.Budget(trials=4, epochs=2, cost=2, seeds=3),
    )
    first = sw.search(short, run=tmp_path)
    longer = sw.Study(
        model=graph(),
        score=score,
        limits=sw.Limits(max_macs="4x"),
        budget=sw.Budget(trials=6, epochs=2, cost=4, seeds=5),
    )
    result = sw.search(longer, run=tmp_path)
    assert len(calls) == len(set(calls))
    assert len(result.rows) > len(first.rows)
    names = {row.candidate.plan.to_toml(): row.trainings for row in result.rows}
    for row in first.rows:
        assert all(training in names[row.candidate.plan.to_toml()] for training in row.trainings)
    with pytest.raises(StudyError, match=r"another study \(budget.trials 6, not 4\)"):
        sw.search(short, run=tmp_path)


def test_a_study_in_which_all_failed_does_not_block_its_folder(tmp_path):
    def broken(plan, budget, seed):
        raise RuntimeError("no pictures")

    with pytest.raises(StudyError, match="every plan failed"):
        sw.search(graph(), score=broken, plans=plans(), budget=1, run=tmp_path)
    result = sw.search(graph(), score=drawn, plans=plans(), budget=2, seeds=2, run=tmp_path)
    assert not any(row.error for row in result.rows)
    again = sw.search(graph(), score=drawn, plans=plans(), budget=2, seeds=2, run=tmp_path)
    assert again.to_json()["plans"] == result.to_json()["plans"]


def test_without_a_limit_nothing_dearer_is_trained():
    result = sw.search(graph(), score=drawn, budget=1, seeds=2)
    assert all(row.candidate.macs <= result.default.candidate.macs for row in result.rows)
    dearer = sw.search(graph(), score=drawn, budget=1, seeds=2, max_macs="3x")
    assert any(row.candidate.macs > dearer.default.candidate.macs for row in dearer.rows)


def test_a_default_beyond_the_limits_does_not_take_the_last_finalist_s_place():
    result = sw.search(graph(), score=drawn, budget=1, seeds=2, max_macs="0.8x", finalists=1)
    final = [row for row in result.rows if row.final]
    assert [row.candidate.within for row in final] == [False, True]
    assert result.verdict.plan == final[1].candidate.name


def test_more_finalists_than_plans_is_said_before_anything_is_trained():
    with pytest.raises(UsageError, match=r"20 finalists, but \d plans"):
        sw.search(graph(), score=lambda *_: pytest.fail("trained"), plans=plans(), finalists=20)


def test_a_score_s_own_unit_is_written_as_it_is():
    def decibels(plan, budget, seed):
        return (31.5 if plan else 30.0) + drawn(plan, budget, seed) / 100

    result = sw.search(graph(), score=decibels, unit="dB", plans=plans()[:1], budget=1, aim="cheapest", within=0.5)
    assert "31.51 dB" in str(result)
    assert "+1.5 dB" in str(result)
    assert "%" not in str(result).replace("95 %", "")


def hangs(plan, budget, seed):
    if plan == plans()[0]:
        time.sleep(60)
    return drawn(plan, budget, seed)


@pytest.mark.parametrize("on", [sw.Here(), sw.Workers(1)])
def test_a_score_that_hangs_fails_its_plan_after_the_time_limit(tmp_path, on):
    began = time.monotonic()
    result = sw.search(graph(), score=hangs, plans=plans()[:2], budget=1, seeds=1, timeout=1, on=on, run=tmp_path)
    assert [row.error for row in result.rows] == ["", "took longer than 1 seconds (--timeout)", ""]
    assert time.monotonic() - began < 50


def test_a_database_that_goes_away_is_one_line(tmp_path):
    count = []

    def score(plan, budget, seed):
        count.append(seed)
        if len(count) == 3:
            (tmp_path / "study.db").unlink()
            (tmp_path / "study.db").write_bytes(b"gone")
        return drawn(plan, budget, seed)

    with pytest.raises(StudyError, match="the study's database went away") as error:
        sw.search(graph(), score=score, plans=plans(), budget=1, run=tmp_path)
    assert "\n" not in str(error.value)


LIBRARIES = ("torch", "optuna", "sqlalchemy", "filelock", "scipy", "lightning", "torchmetrics", "matplotlib")
BARE = (
    f"import sys; sys.modules.update(dict.fromkeys({LIBRARIES})); from stridewise.cli import main; main(sys.argv[1:])"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "builtin:resnet20", "--data", "builtin:digits"),
        ("search", "builtin:resnet20", "--score", "mine.py:score"),
        ("search", "--resume", "run"),
        ("demo",),
    ],
)
def test_a_bare_install_names_the_one_extra_that_a_search_wants(tmp_path, arguments):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.db").touch()
    done = subprocess.run([sys.executable, "-c", BARE, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: a search needs optuna, which is not installed: pip install 'stridewise[study]'\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_bare_install_tells_what_a_search_takes():
    done = subprocess.run([sys.executable, "-c", BARE, "search", "--help"], capture_output=True, text=True)
    assert (done.returncode, "--max-macs" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--aim", "cheapest", "--within", "inf"), "within is inf: what may be lost is a number from 0"),
        (("--timeout", "inf"), "timeout is inf: seconds are wanted"),
        (("--timeout", "nan"), "timeout is nan: seconds are wanted"),
        (("--cost", "1e9"), "the cost up to 1000000, not 9, 5, 3, 1e+09"),
        (("--rival", "none", "--rival", "timm:resnet18"), "--rival none trains no other network, and timm:resnet18 is"),
        (("--moves", ","), "there is no word in it"),
        (("--workers", "2", "--ray", "local"), "leave one out"),
    ],
)
def test_options_that_contradict_or_mean_nothing_are_one_line(arguments, said):
    done = CliRunner().invoke(command, ["builtin:resnet20", "--data", "builtin:digits", "--print-study", *arguments])
    assert said in (done.output if isinstance(done.exception, SystemExit) else str(done.exception))


def test_a_move_named_twice_is_one_move():
    assert Study.of("builtin:resnet20", data="x", moves="scale,strides,scale").moves.kinds == ("scale", "strides")


def test_a_score_of_ones_own_is_checked_before_anything_runs():
    with pytest.raises(UsageError, match="leave size out: with score= your own code does the training"):
        Study(model="x", score="mine.py:score", size=(64, 64))
    with pytest.raises(UsageError, match=r"<lambda>: a score is called as score\(plan, budget, seed\), and it takes"):
        own_score(lambda plan, budget: 0.5)
    assert own_score(max) is max
