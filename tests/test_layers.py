"""Who may import whom (the house rules' list), read from the source, and what stays unloaded until it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stridewise

ROOT = Path(stridewise.__file__).parent
ENTRY = {"cli", "web"}  # nothing imports these but the start of the program

ANYBODY = {"counted", "errors", "files", "records", "report", "shown"}  # free to all

# Room -> rooms it may import; a room may import itself.
ROOMS = {
    "axis": set(),
    "findings": set(),
    "rules": {"findings"},
    "schemas": set(),
    "lessons": set(),
    "claims": {"convolution", "data", "measuring", "models", "tasks", "tracing", "api", "plans"},
    "convolution": {"axis"},
    "ir": {"axis"},
    "plans": {"ir"},
    "ops": {"ir", "axis"},
    "configs": set(),  # what other people's files say
    "analyses": {"ops", "ir", "axis", "findings", "rules", "configs"},
    "rewrites": {"ops", "ir", "axis", "plans", "analyses", "findings", "rules"},
    "building": {"ops", "ir", "axis"},
    "tracing": {"building", "ops", "ir", "axis", "analyses"},
    "onnxfile": {"building", "ops", "ir", "axis", "plans", "analyses", "rewrites"},
    "surgery": {"tracing", "building", "ops", "ir", "axis", "plans", "analyses", "rewrites", "findings"},
    "testing": {"ops", "ir", "axis", "analyses", "rewrites", "plans", "tracing", "onnxfile", "surgery", "api"},
    "models": {"tracing", "ir", "configs"},
    "api": {"tracing", "onnxfile", "surgery", "rewrites", "analyses", "ir", "plans"},
    "data": {"axis", "plans"},
    "datafit": {"data", "axis", "plans", "findings", "analyses", "ir", "configs"},
    "report": set(),  # it knows no result
    "showing": {"analyses", "axis", "ir", "ops", "plans", "rewrites", "findings", "rules"},
    "fronts": {"analyses", "rewrites", "plans", "ir", "axis"},
    "measuring": {
        "convolution",
        "tracing",
        "onnxfile",
        "surgery",
        "models",
        "plans",
        "ir",
        "axis",
        "analyses",
        "api",
        "data",
        "rewrites",
        "findings",
        "rules",
    },
    "tasks": {
        "fronts",
        "tracing",
        "surgery",
        "models",
        "plans",
        "data",
        "ir",
        "axis",
        "analyses",
        "api",
        "rewrites",
        "measuring",
        "datafit",
        "findings",
        "switching",
    },
    "switching": {"surgery", "tracing", "rewrites", "fronts", "measuring", "plans", "ir", "axis", "analyses"},
    "study": {
        "fronts",
        "measuring",
        "tasks",
        "datafit",
        "tracing",
        "surgery",
        "models",
        "plans",
        "data",
        "ir",
        "axis",
        "analyses",
        "api",
        "rewrites",
    },
}
# Heavy libraries -> rooms that may import them.
HEAVY = {
    "torch": {
        "claims",
        "tracing",
        "surgery",
        "models",
        "measuring",
        "switching",
        "tasks",
        "study",
        "testing",
        "cli",
        "web",
    },  # the last two inside functions
    "onnx": {"onnxfile", "surgery", "measuring", "testing"},
    "onnxruntime": {"onnxfile", "surgery", "measuring", "testing"},
    "torchvision": {"models", "tasks"},
    "timm": {"models", "tasks"},
    "lightning": {"tasks", "study"},
    "optuna": {"study"},
    "ray": {"study"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "click": {"cli"},
    "rich": {"cli", "report", "web"},
}
# Rooms that know no library at all, or only these.
ONLY = {"axis": set(), "ir": set(), "ops": set(), "analyses": set(), "rewrites": set(), "plans": {"tomli_w"}}


def imports(source):
    """Full names of what a module imports, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            if node.module == "stridewise":
                yield from (f"stridewise.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def complaints(room, source):
    """What a module of `room` imports and may not."""
    for name in imports(source):
        first, _, rest = name.partition(".")
        if first == "stridewise":
            other = rest.partition(".")[0]
            if other in ("", room, "__version__", *ANYBODY) or room in ENTRY | {"__init__", "__main__"}:
                continue
            if other not in ROOMS.get(room, set()):
                yield f"{room} imports {name}"
        elif first in sys.stdlib_module_names:
            continue
        elif (first in HEAVY and room not in HEAVY[first]) or (room in ONLY and first not in ONLY[room]):
            yield f"{room} imports {first}"


def modules():
    return sorted(p for p in ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert not list(complaints(room, path.read_text(encoding="utf-8")))


def test_every_room_is_on_the_list():
    rooms = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in modules()}
    assert rooms - ENTRY - {"__init__", "__main__", *ANYBODY} <= set(ROOMS)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("axis", "import numpy"),
        ("ir", "from stridewise.ops import registry"),
        ("ops", "def f():\n    import torch"),
        ("analyses", "from stridewise.tracing.trace import trace"),
        ("fronts", "import torch.nn as nn"),
        ("report", "from stridewise import cli"),
        ("report", "from stridewise.showing.show import Report"),
        ("tracing", "from stridewise.surgery.apply import apply_to_model"),
        ("tracing", "import onnx"),
        ("onnxfile", "import torch"),
        ("models", "from stridewise.surgery.features import features"),
        ("data", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
    ],
)
def test_the_rules_are_seen_to_be_broken(room, source):
    assert len(list(complaints(room, source))) == 1


def test_no_room_has_the_name_of_a_public_function():
    """Else `stridewise.fit` would become the room as soon as anybody imports it."""
    rooms = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in modules()}
    assert not rooms & set(stridewise.__all__)


def test_dir_shows_the_public_names_and_no_others():
    assert [n for n in dir(stridewise) if not n.startswith("__")] == sorted(stridewise.__all__)
    assert all(getattr(stridewise, name) is not None for name in stridewise.__all__)


def test_no_two_rooms_import_each_other():
    """The list itself is a hierarchy."""
    done: set[str] = set()
    while len(done) < len(ROOMS):
        ready = {room for room, below in ROOMS.items() if room not in done and below <= done}
        assert ready, f"a circle among {sorted(set(ROOMS) - done)}"
        done |= ready


def circles(graph):
    """Modules that import each other, in whatever roundabout way; imports inside functions count."""
    reach = {name: set(found) & set(graph) for name, found in graph.items()}
    for middle in graph:
        for name in graph:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    return sorted(name for name, found in reach.items() if name in found)


def modules_imported(source, names):
    """The modules that a source imports: `from package import module` is that module, not its package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in names else node.module


def test_no_module_imports_itself_in_a_circle():
    """Also not inside a room."""
    sources = {}
    for path in modules():
        name = ".".join(["stridewise", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        sources[name] = path.read_text(encoding="utf-8")
    names = set(sources) - {"stridewise"}  # which hands out names from every room
    assert circles({name: set(modules_imported(sources[name], names)) & names - {name} for name in names}) == []


def test_a_circle_would_be_seen():
    """Twin of the test above."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def loaded(code):
    """Which of the heavy libraries a fresh interpreter has loaded after running `code`."""
    heavy = ("torch", "onnx", "onnxruntime", "timm", "torchvision", "lightning", "optuna", "numpy")
    report = f"import sys; print(*[m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stderr.split())


HELP = """
import sys
from stridewise.cli import main
try:
    main({arguments})
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import stridewise",
        "import stridewise; dir(stridewise); stridewise.__version__",
        HELP.format(arguments=["--help"]),
        HELP.format(arguments=["--version"]),
        "import stridewise.models.load as l; l.resolve('net.onnx'); l.resolve('timm:resnet50')",
    ],
    ids=["import", "dir", "--help", "--version", "resolve"],
)
def test_neither_torch_nor_onnx_is_loaded(code):
    assert not loaded(code)


def test_what_is_loaded_would_be_seen():
    """Twin of the test above."""
    assert "torch" in loaded("import stridewise; stridewise.trace")
    assert "numpy" in loaded("import numpy")
