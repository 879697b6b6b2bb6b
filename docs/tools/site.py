"""What the site shows beside the pages of docs/: every command with its options, as `--help` prints them."""

import re
from typing import Any

import click
from mkdocs.structure.files import File, Files

from stridewise.cli import cli


def commands() -> str:
    """The page of all commands, in the groups of `stridewise --help`."""
    context = click.Context(cli, info_name="stridewise")
    parts = [
        "# Command line\n",
        "Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 error, 2 usage, "
        "3 findings at the asked level, 130 interrupted. `--debug` shows a traceback.\n",
        f"```text\n{cli.get_help(context)}\n```\n",
    ]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        with click.Context(command, info_name=f"stridewise {name}") as inner:
            parts.append(f"## {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts)


_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?:benchmarks|src|tests|CONTRIBUTING|README|LICENSE)[^)]*)\)")


def on_page_markdown(markdown: str, **rest: Any) -> str:
    """A file of the repository that is no page of the site is named."""
    return _OUTSIDE.sub(r"\1 (`\2`)", markdown)


def on_files(files: Files, config: Any) -> Files:
    """mkdocs calls this once it knows the pages."""
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    return files
