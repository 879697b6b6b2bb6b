"""The command line: each command parses, calls one library function and prints. No arithmetic here.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 error, 2 usage, 3 findings
at the asked level, 130 interrupted. A command's file is imported only when the command runs, so `--help` is quick.
"""

import contextlib
import errno
import importlib
import io
import itertools
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import click

import stridewise
from stridewise.errors import LARGEST, StridewiseError, missing_extra

# group -> name -> one line for --help; kept here so that --help imports no command.
_GROUPS = {
    "See": {
        "show": "Sizes, strides, fields and costs of every layer; several plans side by side.",
        "check": "Findings about networks' strides; exit 3 when there are any at the chosen level.",
        "sizes": "Which input sizes a network takes, exactly, and what refuses the others.",
        "places": "Where a layer's cells lie in the picture, and how long its map is.",
        "slide": "One convolution, shown: window, product, sum, step, feature map.",
        "serve": "The page: see strides, change them, watch every consequence.",
    },
    "Change": {
        "set": "Change strides: complete a request to a consistent plan, check it, write it.",
    },
    "Measure": {
        "measure": "Latency, memory, shift consistency, detail and accuracy, measured; plans side by side.",
        "fit": "Which strides a data set permits, without training.",
    },
    "Choose": {
        "search": "Choose strides for a task: exact cost front, shortlist, short trainings.",
    },
    "Train": {
        "train": "Train a network under a plan: classify, segment or detect.",
        "evaluate": "Judge a trained network on any data of its classes.",
        "predict": "Say what a trained network sees on pictures.",
    },
    "Learn": {
        "learn": "What stride is and what it does, in ten short steps.",
        "demo": "The whole path on built-in data, in a few minutes.",
        "rule": "What a rule behind findings means, and what to do: SW101 to SW403.",
        "claims": "What is said about stride, tested: prints the figures of docs/stride.md.",
        "ops": "The operations Stridewise has rules for.",
        "schema": "The JSON schema of what a command prints with --json.",
    },
}
_NAMES = [name for group in _GROUPS.values() for name in group]
# Commands that share a file; each other one has a file of its name.
_FILES = {"sizes": "places", "predict": "evaluate"} | dict.fromkeys(("rule", "claims", "ops", "schema"), "lookup")


class _Whole(click.IntRange):
    """Whole numbers without a bound of their own: what no machine counts to is refused here, once for all options."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number > LARGEST:
            self.fail(f"{str(value)[:24]} is too large: at most {LARGEST} is taken", param, ctx)
        return number


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _NAMES:
            return None
        module = importlib.import_module(f"stridewise.cli.{_FILES.get(cmd_name, cmd_name)}")
        every = (entry for entry in vars(module).values() if isinstance(entry, click.Command))
        command = next(entry for entry in every if entry.name == cmd_name)
        for parameter in command.params:
            if isinstance(parameter.type, click.IntRange) and parameter.type.max is None:
                parameter.type = _Whole(parameter.type.min)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        wide = max(map(len, _NAMES))
        for group, lines in _GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(wide), line) for name, line in lines.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(stridewise.__version__, prog_name="stridewise")
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """See, change, measure and choose the stride of every layer of any CNN."""
    ctx.obj = {"debug": debug}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in itertools.takewhile(lambda a: a != "--", arguments)
    if threading.current_thread() is threading.main_thread():
        # Batch systems end a job so: the same is kept as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    _open_streams()
    try:
        result = cli.main(args=_without_debug(arguments), prog_name="stridewise", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk can still be told
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        how = str(stop) or str(stop.__cause__ or "")  # click wraps what a command says of how to go on
        click.echo(f"interrupted: {how}" if how else "interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `| head` has enough: quietly, with the code that click gives it too
        _drop(sys.stdout)
        sys.exit(1)
    except StridewiseError as error:
        if debug:
            raise
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # also what nobody foresaw is one line, and says how to see the rest
        if debug:
            raise
        command = next((a for a in arguments if any(a in names for names in _GROUPS.values())), "this")
        click.echo(f"error: {_in_words(error, command)}", err=True)
        if isinstance(error, OSError):
            _drop(sys.stdout)
        sys.exit(1)


def _without_debug(arguments: Sequence[str]) -> list[str]:
    """--debug may stand anywhere before `--`; what comes behind that is nobody's option."""
    before = list(itertools.takewhile(lambda a: a != "--", arguments))
    return [*(a for a in before if a != "--debug"), *arguments[len(before) :]]


def _open_streams() -> None:
    """Standard streams that whoever started this closed: nothing comes in, output is refused (what is printed must not
    vanish), messages are lost without harm; and no file that is opened later takes their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdin is None:
        sys.stdin = io.StringIO()
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    elif sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Messages(sys.stderr.buffer, sys.stderr.encoding, "backslashreplace", write_through=True)


class _Messages(io.TextIOWrapper):
    """Standard error; what a full disk does not take of it is lost, and the work goes on."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            _drop(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _drop(self)


class _Closed(io.TextIOBase):
    """A standard output that is not there."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


def _drop(stream: TextIO) -> None:
    """Let go of what a stream did not take, so that the interpreter does not try again at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _in_words(error: Exception, command: str) -> str:
    """What nobody caught in a command, in one line."""
    missing = missing_extra(error, command) if isinstance(error, ModuleNotFoundError) else None
    if missing is not None:
        return str(missing)
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        return f"the output cannot be written: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:  # a name that no file can have, a folder that may not be read
        name = str(error.filename)
        return f"{name if len(name) < 60 else name[:57] + '...'}: {error.strerror}"
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return f"not foreseen, {said}; --debug shows where"
