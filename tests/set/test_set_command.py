"""The `set` command, from its arguments to what it prints and writes."""

import pytest
from click.testing import CliRunner

import stridewise as sw
from stridewise.cli.set import command
from stridewise.errors import PlanError, UsageError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return result.stdout


def test_prints_sizes_before_and_after_and_writes_the_plan(tmp_path):
    out = run("builtin:resnet20", "+layers.3=1", "+layers.2=2:max", "-o", str(tmp_path / "p.toml"), "--verify")
    assert "+layers.3" in out
    assert "size 32 -> 16" in out
    assert "every size is the promised one" in out
    plan = sw.Plan.read(tmp_path / "p.toml")
    assert plan.insert["layers.2"].stride == (2, 2)
    assert plan.insert["layers.3"].was == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "nothing is asked for"),
        (("layer1",), "a change is written"),
        (("a=2", "--output-stride", "8.5"), "whole numbers"),
    ],
)
def test_refuses_a_request_it_cannot_read(arguments, text):
    with pytest.raises(UsageError, match=text):
        run("builtin:resnet20", *arguments)


def test_names_sites_near_an_unknown_one():
    with pytest.raises(PlanError, match="no site of that name; near it are"):
        run("builtin:resnet20", "layers.1.conv9=2")


def test_plan_is_a_function_although_a_room_makes_it():
    assert callable(sw.plan)
    assert sw.Plan.__name__ == "Plan"
