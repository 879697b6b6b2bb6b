"""What README and docs show exists: options of the commands they write, names of the library they use."""

import ast
import importlib
import re
from pathlib import Path

import click
import pytest

import stridewise as sw
from stridewise.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CALLED = re.compile(r"(?:stridewise |`)([a-z]+)\b([^`\n;#]*)")


def options(verb: str) -> set[str]:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None, f"no command {verb}"
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_a_page_writes_are_those_of_the_command(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    verbs = set(cli.list_commands(click.Context(cli)))
    for verb, rest in CALLED.findall(text):
        if verb in verbs:
            named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))
            assert named <= options(verb), f"{verb}: no option {', '.join(sorted(named - options(verb)))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_that_a_page_uses_are_there(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if block.startswith(">>>"):
            continue  # run as a doctest
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stridewise"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, name.name) for name in node.names), node.module
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sw":
                assert hasattr(sw, node.attr), f"sw.{node.attr}"
