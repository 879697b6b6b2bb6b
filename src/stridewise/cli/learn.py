"""`stridewise learn`: the learning path of docs/learn in the terminal, step by step."""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stridewise.cli.arguments import say
from stridewise.errors import UsageError

if TYPE_CHECKING:
    from stridewise.lessons import Lesson

_NETWORK = "builtin:resnet20"


@click.command("learn")
@click.argument("first", type=click.IntRange(1), default=1, metavar="[STEP]")
@click.option("--list", "as_list", is_flag=True, help="The steps, one a line.")
@click.option("--page", "only_page", is_flag=True, help="Open the page at this step and stay there.")
@click.option("--no-browser", is_flag=True, help="Of the page, only print the address.")
@click.option("--json", "as_json", is_flag=True, help="Every step from STEP on, as one JSON object.")
def command(first: int, as_list: bool, only_page: bool, no_browser: bool, as_json: bool) -> None:
    """What stride is and what it does, in ten steps of about a minute, on pictures that ship with Stridewise.

    Each step says something, runs a command that shows it, asks a question and answers it. Enter goes on, p opens the
    page at the right place, q stops. Begins at STEP. Where nobody can press a key, all steps are printed.
    """
    from stridewise.lessons import lessons

    every = lessons()
    if first > len(every):
        raise UsageError(f"step {first}: there are {len(every)}; stridewise learn --list names them")
    if as_json:
        steps = [_json(number, lesson) for number, lesson in enumerate(every[first - 1 :], first)]
        click.echo(json.dumps({"schema": "stridewise.learn/1", "steps": steps}))
    elif as_list:
        for number, lesson in enumerate(every, 1):
            say(f"{number:2}  {_name(lesson)}")
    elif only_page:
        _serve(every[first - 1], no_browser).wait()
    else:
        _walk(every, first, no_browser)


def _name(lesson: "Lesson") -> str:
    return f"{lesson.page.partition('. ')[2]}: {lesson.title[0].lower()}{lesson.title[1:]}"


def _json(number: int, lesson: "Lesson") -> dict[str, object]:
    return {"step": number, **{name: getattr(lesson, name) for name in type(lesson).__dataclass_fields__}}


def _walk(every: "Sequence[Lesson]", first: int, no_browser: bool) -> None:
    """Every step from `first` on; commands run in a folder of their own, so that nothing is left behind."""
    served: list[subprocess.Popen[bytes]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number, lesson in enumerate(every[first - 1 :], first):
                click.echo(f"\nStep {number} of {len(every)}. {_name(lesson)}\n")
                click.echo(_wrapped(lesson.text))
                for line in lesson.commands:
                    click.echo(f"\n$ {line}\n")
                    _run(line, folder)
                click.echo(f"\nQuestion: {_wrapped(lesson.question)}")
                if not _goes_on("Enter: the answer", lesson, served, no_browser):
                    return
                click.echo(f"\nAnswer: {_wrapped(lesson.answer)}")
                last = number == len(every)
                if not _goes_on("Enter: " + ("done" if last else "on"), lesson, served, no_browser):
                    click.echo(f"go on with: stridewise learn {number + 1}" if not last else "", err=True)
                    return
    finally:
        for process in served:
            process.terminate()


def _run(line: str, folder: str) -> None:
    """A command of a lesson, in a process of its own; `| head -9` cuts what it prints."""
    words, _, cut = line.partition(" | head -")
    done = subprocess.run(
        [sys.executable, "-m", "stridewise", *shlex.split(words)[1:]],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    rows = done.stdout.rstrip().splitlines()
    click.echo("\n".join(rows[: int(cut)] if cut else rows))


def _goes_on(prompt: str, lesson: "Lesson", served: list[subprocess.Popen[bytes]], no_browser: bool) -> bool:
    """Wait for a key, where somebody can press one: False for q."""
    if not sys.stdin.isatty():
        return True
    while True:
        given = click.prompt(f"[{prompt}, p: the page, q: stop]", default="", show_default=False, err=True)
        if given.strip().lower() != "p":
            return given.strip().lower() != "q"
        served.append(_serve(lesson, no_browser))


def _serve(lesson: "Lesson", no_browser: bool) -> "subprocess.Popen[bytes]":
    """The page in a process of its own, opened where the lesson is shown."""
    more = ["--no-browser"] if no_browser else []
    return subprocess.Popen(
        [sys.executable, "-m", "stridewise", "serve", _NETWORK, "--at", lesson.address, *more],
        stdin=subprocess.DEVNULL,
    )


def _wrapped(text: str) -> str:
    """Paragraphs as wide as the window; lists and code as they are."""
    width = min(shutil.get_terminal_size((100, 24)).columns or 100, 100)
    parts = []
    for part in text.split("\n\n"):
        if part.startswith("    "):
            parts.append(part)
            continue
        items = [" ".join(item.split()) for item in _items(part)]
        parts.append("\n".join(textwrap.fill(item, width, subsequent_indent="   " * _listed(item)) for item in items))
    return "\n\n".join(parts)


def _items(part: str) -> list[str]:
    rows: list[str] = []
    for line in part.splitlines():
        if rows and not _listed(line):
            rows[-1] += f" {line}"
        else:
            rows.append(line)
    return rows


def _listed(line: str) -> bool:
    return line[:1].isdigit() and line[1:3] == ". "
