"""Break lines of the exact core one at a time and see which breaks no test notices: `make mutants`.

    python benchmarks/mutants.py --count 300 --seed 0

First the tests of the core run once with coverage contexts, which says what test runs which line (kept in `--map`;
`--fresh` makes it anew). Then each mutant is written to a copy of `src`, in a process forked from one that has
imported torch already, and the tests that cover its line run, the fastest first, until one fails. A line that no test
covers counts as lived. The last line is one JSON object: how many were tried, how many live, and which.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PLACES = ("axis", "ops", "analyses", "rewrites", "fronts", "study/store.py")
TESTS = """ops analyses rewrites fronts tracing onnxfile surgery/test_set_keeping.py surgery/test_set_onnx.py
surgery/test_set_normal.py surgery/test_kinds.py study/test_study_run.py study/test_study_store.py""".split()
# A break that no test can see: names of errors, hints of types, sizes of caches, what only makes things fast.
SKIPPED_CALLS = set("lru_cache PlanError GeometryError LayoutError UsageError TraceError TypeVar cast".split())
PER_MUTANT_S = 120
MOST_TESTS = 60

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def candidates(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(expression, the same broken) for everything that can be broken in a module."""
    for node in _code(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
            yield node, _with(node, ops=[SWAPS[type(node.ops[0])]()])
        elif isinstance(node, ast.BoolOp) or (isinstance(node, ast.BinOp) and type(node.op) in SWAPS):
            if isinstance(node, ast.BinOp) and _is_text(node):
                continue
            yield node, _with(node, op=SWAPS[type(node.op)]())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, node.operand
        elif isinstance(node, ast.IfExp):
            yield node, _with(node, body=node.orelse, orelse=node.body)
        elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
            yield node, ast.Constant(not node.value if type(node.value) is bool else node.value + 1)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
            other = {"min": "max", "max": "min"}[node.func.id]
            yield node, _with(node, func=ast.Name(other, ast.Load()))


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions that are computed when the code runs."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.JoinedStr | ast.Import):
                continue
            if isinstance(child, ast.Call) and ast.unparse(child.func).split(".")[-1] in SKIPPED_CALLS:
                continue
            if isinstance(child, ast.FunctionDef) and any("Draw" in ast.unparse(a) for a in child.args.args):
                continue  # how tests draw calls is no promise
            yield child
            yield from _code(child)


def _is_text(node: ast.BinOp) -> bool:
    return any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right))


def _with(node: ast.expr, **changes: object) -> ast.expr:
    other = copy.copy(node)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def mutants() -> list[tuple[str, int, str, str, str]]:
    """(file, line, before, after, the whole source after) for every break there is."""
    found = []
    for place in PLACES:
        path = SRC / "stridewise" / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.name == "space.py" and place == "ops":
                continue
            source = file.read_text(encoding="utf-8")
            data = source.encode()
            starts = [0]
            for line in data.splitlines(keepends=True):
                starts.append(starts[-1] + len(line))
            for node, broken in candidates(ast.parse(source)):
                begin = starts[node.lineno - 1] + node.col_offset
                end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
                before, after = data[begin:end].decode(), f"({ast.unparse(broken)})"
                whole = data[:begin] + after.encode() + data[end:]
                found.append((str(file.relative_to(SRC)), node.lineno, before, after, whole.decode()))
    return found


def covered(map_file: Path, fresh: bool) -> dict[str, dict[int, list[str]]]:
    """By file and line the tests that run it, the fastest first."""
    if not fresh and map_file.exists():
        return {f: {int(n): t for n, t in lines.items()} for f, lines in json.loads(map_file.read_text()).items()}
    import coverage

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        rc, data, times = Path(folder) / "rc", Path(folder) / "data", Path(folder) / "times"
        rc.write_text(f"[run]\nsource = {SRC}\ndynamic_context = test_function\ndata_file = {data}\n")
        environment = {**os.environ, "PYTHONPATH": str(SRC)}
        start = [sys.executable, "-m", "coverage", "run", "--append", f"--rcfile={rc}", "-m", "pytest", "-q"]
        for tests in TESTS:
            command = [*start, "-p", "no:cacheprovider", f"--junitxml={times}", str(ROOT / "tests" / tests)]
            subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=subprocess.DEVNULL)
            seconds |= {test: took for test, took in _seconds(times).items() if took < float("inf")}
            print(f"asked tests/{tests}", file=sys.stderr, flush=True)
        read = coverage.CoverageData(str(data))
        read.read()
        out: dict[str, dict[int, list[str]]] = {}
        for file in read.measured_files():
            lines = read.contexts_by_lineno(file)
            tests = {n: [".".join(t.split(".")[-2:]) for t in set(c) if t] for n, c in lines.items()}
            named = {n: [t for t in those if t in seconds] for n, those in tests.items()}
            every = {test for tests in named.values() for test in tests}  # of what runs on import
            sorted_ = {n: sorted(tests or every, key=lambda t: (seconds.get(t, 1.0), t)) for n, tests in named.items()}
            out[str(Path(file).relative_to(SRC))] = sorted_
    map_file.parent.mkdir(parents=True, exist_ok=True)
    map_file.write_text(json.dumps(out))
    return out


def _seconds(times: Path) -> dict[str, float]:
    """By the name that coverage gives a test the seconds its parameters took together."""
    import xml.etree.ElementTree as ElementTree

    total: dict[str, float] = {}
    for case in ElementTree.parse(times).iter("testcase"):
        module = case.attrib["classname"].removeprefix("tests.").split(".")[-1]
        name = f"{module}.{case.attrib['name'].split('[')[0]}"
        if case.find("failure") is not None or case.find("error") is not None:
            total[name] = float("inf")  # it says nothing of what is broken
        total[name] = total.get(name, 0.0) + float(case.attrib["time"])
    return total


def chosen(contexts: list[str]) -> list[str]:
    """Tests by file and name, as pytest takes them, of coverage's contexts ("test_axis.test_sizes")."""
    files = {p.stem: p for p in (ROOT / "tests").rglob("test_*.py")}
    out = []
    for context in contexts[:MOST_TESTS]:
        parts = context.split(".")
        at = next((i for i, part in enumerate(parts) if part in files), None)
        if at is not None and len(parts) > at + 1:
            out.append(f"{files[parts[at]]}::{parts[at + 1]}")
    return list(dict.fromkeys(out))


def lives(file: str, whole: str, tests: list[str], folder: Path) -> bool:
    """Whether all of `tests` pass with `file` broken, in a process of its own."""
    place = folder / file
    kept = place.read_text(encoding="utf-8")
    place.write_text(whole, encoding="utf-8")
    try:
        child = os.fork()
        if child == 0:
            _test(folder, tests)
        until = time.monotonic() + PER_MUTANT_S
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False  # it runs for ever, which anybody notices
    finally:
        place.write_text(kept, encoding="utf-8")


def _test(folder: Path, tests: list[str]) -> None:
    """Run tests in this process, which ends with their outcome. Never returns."""
    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = str(folder)
        os.chdir(ROOT)
        import pytest

        # What was imported before the fork is not rewritten, which pytest warns of.
        quiet = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = int(pytest.main(["-x", "-q", *quiet, *tests]))
    finally:
        os._exit(code)


def main() -> int:
    """Try mutants, say which live, end with 1 where more than --most of them do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="leave out as many of the drawn ones")
    parser.add_argument("--most", type=float, default=0.05, help="the share that may live")
    parser.add_argument("--map", type=Path, default=ROOT / ".hypothesis" / "mutants.json")
    parser.add_argument("--fresh", action="store_true", help="ask anew which test runs which line")
    arguments = parser.parse_args()
    lines = covered(arguments.map, arguments.fresh)
    drawn = random.Random(arguments.seed).sample(mutants(), k=arguments.count + arguments.first)[arguments.first :]
    for name in ("torch", "onnx", "onnxruntime", "numpy", "pytest", "hypothesis"):
        __import__(name)
    living = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(SRC, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        sys.dont_write_bytecode = True
        first = next((t for t in (chosen(lines.get(m[0], {}).get(m[1], [])) for m in drawn) if t), [])
        if drawn and not lives(drawn[0][0], (SRC / drawn[0][0]).read_text(encoding="utf-8"), first, folder):
            raise SystemExit("the tests fail on unbroken code: nothing can be learnt from breaking it")
        for number, (file, line, before, after, whole) in enumerate(drawn, 1):
            tests = chosen(lines.get(file, {}).get(line, []))
            lived = not tests or lives(file, whole, tests, folder)
            if lived:
                said = f"{file.removeprefix('stridewise/')}:{line}: {' '.join(before.split())} -> {after}"
                living.append(said if tests else f"{said} (no test runs it)")
            state = "lives" if lived else "killed"
            print(f"{number}/{len(drawn)} {state} {file}:{line}, {len(living)} live", file=sys.stderr, flush=True)
    share = len(living) / max(len(drawn), 1)
    answer = {"seed": arguments.seed, "tried": len(drawn), "live": len(living), "share": round(share, 3)}
    print(json.dumps({**answer, "which": living}))
    return int(share > arguments.most)


if __name__ == "__main__":
    raise SystemExit(main())
