"""Every public name has an example that runs as it stands, behind `import stridewise as sw`."""

import doctest
import inspect
from pathlib import Path

import pytest

import stridewise as sw
from stridewise.ops.registry import all_ops

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", sw.__all__)
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None, one_thread: None
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {op.name for op in all_ops()}
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(sw, name)) or "", {"sw": sw}, name, None, 0)
    assert example.examples, f"sw.{name}: its docstring shows no example"
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(example, out=said.append)
    assert not said, "".join(said)
    assert {op.name for op in all_ops()} == before
