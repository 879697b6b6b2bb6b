"""README and docs are run: commands print what a page says, Python runs, settings can be read.

    ```console                 each `$ stridewise ...` is run; what stands below it is what it prints
    ```python                  run, all of a page in one namespace; with >>> its output is compared
    ```toml, ```json           read
    ```sh, ```yaml, ```text    as they are (installation, other tools)

A line `...` stands for any lines, `| head -5` for the first five. `<!-- not run: why -->` above a block leaves it out.
`pytest tests/docs --update-golden` writes what commands print into the pages.
"""

import contextlib
import doctest
import io
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stridewise.cli import main

ROOT = Path(__file__).parents[2]
# docs/ops.md registers an op, so it has a test of its own that takes it back (tests/ops/test_ops_page.py).
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.name != "ops.md")]
FENCE = re.compile(
    r"(?P<before>(?:<!--[^>]*-->\n)?)^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
KNOWN = {"console", "python", "toml", "json", "sh", "yaml", "text"}
HEAD = re.compile(r"\s*\|\s*head -(\d+)\s*$")


def blocks(text: str) -> Iterator[re.Match[str]]:
    """The fenced blocks that are to be run."""
    for block in FENCE.finditer(text):
        if "not run:" not in block["before"]:
            yield block


def printed(command: str) -> str:
    """What a command prints; where it fails, also what it says then."""
    command, lines = (HEAD.sub("", command), HEAD.search(command))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(shlex.split(command)[1:])
    text = out.getvalue() + ("" if stop.value.code in (0, 3) else err.getvalue())
    rows = text.rstrip().splitlines()
    return "\n".join(row.rstrip() for row in (rows[: int(lines[1])] if lines else rows))


def agrees(shown: str, real: str) -> bool:
    """Whether a page shows what is printed; a line `...` stands for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if row == "..." else re.escape(row) + "\n" for row in shown.splitlines())
    return re.fullmatch(pattern, real + "\n" if real else "") is not None


def sessions(body: str) -> list[tuple[str, str]]:
    """Commands of a block, each with the output shown below it; a backslash goes on in the next line."""
    found = re.split(r"^\$ ", body.replace("\\\n", " "), flags=re.MULTILINE)
    assert not found[0].strip(), "a console block begins with a command"
    return [(command.strip(), shown.rstrip()) for command, _, shown in (part.partition("\n") for part in found[1:])]


def run_console(body: str) -> str:
    """The block with what its commands print."""
    parts = []
    for command, shown in sessions(body):
        assert command.startswith("stridewise "), command
        real = printed(command)
        parts.append(f"$ {command}\n" + (shown if agrees(shown, real) else real))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def run_python(body: str, names: dict[str, object], where: str) -> None:
    """A block of Python; with >>> as a doctest."""
    if not body.startswith(">>>"):
        exec(compile(body, where, "exec"), names)
        return
    report = io.StringIO()
    test = doctest.DocTestParser().get_doctest(body, names, where, where, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.write, clear_globs=False)
    names |= test.globs
    assert runner.failures == 0, report.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_what_its_commands_print(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    own_cache: None,
    one_thread: None,
) -> None:
    update = request.config.getoption("--update-golden")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    text = page.read_text(encoding="utf-8")
    readers: dict[str, Callable[[str], object]] = {"toml": tomllib.loads, "json": json.loads}
    names: dict[str, object] = {"__name__": "page"}
    edits: list[tuple[str, str]] = []
    for block in blocks(text):
        language, body = block["language"], block["body"]
        assert language in KNOWN, f"```{language}: name one of {', '.join(sorted(KNOWN))}"
        if language == "console":
            real = run_console(body)
            edits += [(body, real)] if real.split() != body.replace("\\\n", " ").split() else []
        elif language == "python":
            run_python(body, names, str(page))
        elif language in readers:
            readers[language](body)
    if update and edits:
        for old, new in edits:
            text = text.replace(f"```console\n{old}```", f"```console\n{new}```")
        page.write_text(text, encoding="utf-8")
    elif edits:
        pytest.fail("\n".join(f"the page shows\n{old}\nand the command prints\n{new}" for old, new in edits))


def test_a_page_that_says_something_else_is_found() -> None:
    assert agrees("a\n...\nc", "a\nb\nb\nc")
    assert agrees("a\n...", "a")
    assert not agrees("a\nb", "a\nc")
    assert not agrees("a", "a\nb")
    assert run_console("$ stridewise rule SW101 | head -1\nSW999\n") != "$ stridewise rule SW101 | head -1\nSW999\n"
