"""What docs/ops.md shows is run, from nothing to kept weights."""

import re
from pathlib import Path

from stridewise.ops.registry import op_named, unregister

PAGE = Path(__file__).parents[2] / "docs" / "ops.md"


def test_the_page_runs_as_it_is_written(one_thread, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {"__name__": "page"}
    try:
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    finally:
        if op_named("loudest").name == "loudest":
            unregister("loudest")
    assert "4 trials" in capsys.readouterr().out
