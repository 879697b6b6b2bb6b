"""StrideBench: replay `search` on tables of trained networks that differ in where they step, beside its rivals.

    python benchmarks/stridebench.py                                   every table, every column; a table at the end
    python benchmarks/stridebench.py --table transnas101_macro --column normal --json
    python benchmarks/stridebench.py --table nasbench_mr --scores other.csv --column seg --repeats 100 --json

Tables: the folder that STRIDEWISE_TRUTH names (or --folder). A choice is all plans of a table that cost at most what a
quarter, a half or three quarters of them do; a training gives what the table has (one of its seeds, or its mean and
deviation, where it has them). Regret: the best plan's score less that of the plan chosen after 5, 8, 12 and 20
trainings, the one that scored best, in deviations of the column's scores; the mean over the three limits. Repeats draw
anew where there is something to draw: a rival's start, a training's seed. Intervals: 95 %, bootstrapped over repeats,
the difference paired by repeat; over columns, over the columns and their repeats.

Choices of no more plans than trainings leave nothing to any rule and say nothing; they are counted, not hidden.
`search` is stridewise.study.procedure.selection, the code that `stridewise search` runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stridebench_rivals import DRAWS, RIVALS
from stridebench_tables import FIXED_ON, SPECS, Pool, TableError, joined, pools, read

AFTER = (5, 8, 12, 20)
LIMITS = (25, 50, 75)


def regrets(pool: Pool, name: str, repeats: int) -> np.ndarray:
    """(repeats, trainings of AFTER): of one way to choose, the mean over the limits."""
    deviation = float(pool.score.std()) or 1.0
    out = np.zeros((repeats, len(AFTER)))
    for percent in LIMITS:
        among = pool.among(np.flatnonzero(pool.costs <= np.percentile(pool.costs, percent)))
        alike = not among.chance and name not in DRAWS  # then one repeat is as good as all
        for repeat in range(1 if alike else repeats):
            rng = np.random.default_rng((repeat, percent))
            given = among.world(rng)
            trained = RIVALS[name](among.places, among.costs, given, max(AFTER), rng)
            chosen = [trained[int(np.argmax(given[trained[:count]]))] for count in AFTER]
            left = (among.score.max() - among.score[chosen]) / deviation
            out[slice(None) if alike else repeat] += left
    return out / len(LIMITS)


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float] | None:
    """95 % of the mean over the first axis (then over the second, each resampled), by bootstrap; None of one value."""
    if values.size < 2:
        return None
    count = 2000
    if values.ndim == 1:
        means = values[rng.integers(len(values), size=(count, len(values)))].mean(1)
    else:
        rows = rng.integers(values.shape[0], size=(count, values.shape[0]))
        columns = rng.integers(values.shape[1], size=(count, values.shape[1]))
        means = np.array([values[np.ix_(r, c)].mean() for r, c in zip(rows, columns, strict=True)])
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def summary(each: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    """Mean regrets by way and trainings, and each rival's less that of `search`, paired. each: (..., trainings)."""
    counts = [str(count) for count in AFTER]
    mean = {
        name: dict(zip(counts, np.round(found.mean(tuple(range(found.ndim - 1))), 4).tolist(), strict=True))
        for name, found in each.items()
    }
    paired = {}
    for name, found in each.items():
        if name == "search":
            continue
        paired[name] = {}
        for at, count in enumerate(counts):
            apart = (found - each["search"])[..., at]
            ends = interval(apart, rng)
            paired[name][count] = {
                "mean": round(float(apart.mean()), 4),
                "low": round(ends[0], 4) if ends else None,
                "high": round(ends[1], 4) if ends else None,
            }
    return {"regret": mean, "paired": paired}


def _written(paired: dict[str, Any]) -> str:
    """A difference with its interval, where more than one replay gives it one."""
    known = paired["low"] is not None
    return f"{paired['mean']:+.3f} " + (f"({paired['low']:+.3f} to {paired['high']:+.3f})" if known else "(one replay)")


def column_of(table: str, column: str, parts: Sequence[Pool], names: Sequence[str], repeats: int) -> dict[str, Any]:
    """Everything on one column; `each` holds the regrets by repeat."""
    large = [pool for pool in parts if len(pool.score) > min(AFTER)]
    each = {name: np.mean([regrets(pool, name, repeats) for pool in large], axis=0) for name in names} if large else {}
    plans = sum(len(pool.score) for pool in large)
    return {"table": table, "column": column, "plans": plans, "small": len(parts) - len(large), "each": each}


def lines(found: dict[str, Any], shown: dict[str, Any]) -> list[str]:
    """Text for a person."""
    fixed = " (the method was fixed on it)" if (found["table"], found["column"]) in FIXED_ON else ""
    out = [f"{found['table']} {found['column']}: {found['plans']} plans{fixed}"]
    if not shown:
        return [f"{out[0]}: no choice of more than {min(AFTER)} plans, nothing to tell"]
    out.append(f"  {'regret after':14s}" + "".join(f"{count:>9}" for count in AFTER))
    for name, means in shown["regret"].items():
        out.append(f"  {name:14s}" + "".join(f"{value:9.3f}" for value in means.values()))
    for name, by in shown["paired"].items():
        cells = [_written(v) for v in by.values()]
        out.append(f"  {name} less search: " + ", ".join(cells))
    return out


def main() -> int:
    """Replay and print. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=sorted(SPECS), help="One table. [default: all]")
    parser.add_argument("--scores", type=Path, help="A file with more scores, joined by the table's first column.")
    parser.add_argument("--column", help="One column of scores. [default: all]")
    parser.add_argument("--smaller", action="store_true", help="The column is a loss: smaller is better.")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--rivals", default="dearest,random,gp,tpe", help="With smac too, where it is installed: slow.")
    parser.add_argument("--folder", type=Path, help="[default: STRIDEWISE_TRUTH]")
    parser.add_argument("--json", action="store_true", help="The last line is one JSON object.")
    asked = parser.parse_args()
    names = ["search", *(name for name in asked.rivals.split(",") if name)]
    unknown = [name for name in names if name not in RIVALS]
    folder = asked.folder or (Path(os.environ["STRIDEWISE_TRUTH"]) if "STRIDEWISE_TRUTH" in os.environ else None)
    if folder is None or unknown or asked.repeats < 1 or (asked.scores and not asked.table):
        why = (
            f"no rival {', '.join(unknown)}: choose of {', '.join(RIVALS)}"
            if unknown
            else "--scores wants the --table that they belong to"
            if asked.scores and not asked.table
            else "--repeats wants 1 or more"
            if asked.repeats < 1
            else "say where the tables are: --folder, or STRIDEWISE_TRUTH"
        )
        print(f"error: {why}", file=sys.stderr)
        return 2
    rng = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    try:
        for table in [asked.table] if asked.table else SPECS:
            rows = read(folder, table)
            own = [asked.column] if asked.column else list(SPECS[table].scores)
            columns = joined(rows, asked.scores, [asked.column] if asked.column else []) if asked.scores else own
            for column in columns:
                parts = pools(table, rows, column, sign=-1.0 if asked.smaller else 1.0)
                made = column_of(table, column, parts, names, asked.repeats)
                shown = summary(made["each"], rng) if made["each"] else {}
                print("\n".join(lines(made, shown)), flush=True)
                found.append({**made, "shown": shown})
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    told = [one for one in found if one["each"]]
    judged = [one for one in told if (one["table"], one["column"]) not in FIXED_ON]
    over = {}
    for title, some in (("all columns", told), ("the columns not used for fixing", judged)):
        if len(some) > 1:
            each = {name: np.stack([one["each"][name] for one in some]) for name in names}
            over[title] = summary(each, rng)
            head = {"table": title, "column": "", "plans": sum(one["plans"] for one in some)}
            print("\n".join(lines(head, over[title])), flush=True)
    if asked.json:
        last = over.get("all columns") or (told[0]["shown"] if told else {"regret": {}, "paired": {}})
        by = [{k: one[k] for k in ("table", "column", "plans")} | one["shown"] for one in found]
        judged_over = over.get("the columns not used for fixing")
        print(json.dumps({**last, "repeats": asked.repeats, "columns": by, "not_used_for_fixing": judged_over}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
