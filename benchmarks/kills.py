"""What a study loses when processes die: the coordinator, a worker or all of them, killed at drawn moments.

    python benchmarks/kills.py [--kills 60] [--seed 0]      one JSON line

Studies of a score that sleeps run one after the other on two worker processes; every one is begun again after a kill,
until it is finished. From what the score noted and what the database holds:

lost              trainings that a finished study has no record of
recorded twice    trainings with two finished records
finished again    trainings that had ended, by the score's own note, and were trained once more
left behind       processes that still ran ten seconds after their coordinator was killed
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

KINDS = ("coordinator", "worker", "all")
_PLANS = ({"1": 4}, {"1": 1, "2": 2}, {"1": 1, "3": 2}, {"0": 1, "2": 2}, {"0": 4, "1": 1})
_LATEST = 0.6  # seconds after a study went on at which it is hit
_WITHIN = 0.8  # of the kills wait until trainings run; the others may hit a study that begins


def score(log: Path, plan: Any, budget: int, seed: int) -> float:
    """Sleep, and give a number that follows from the arguments; both ends are noted."""
    key = f"{plan.to_toml()!r} {budget} {seed}"
    with log.open("a") as file:
        print("begin", key, file=file, flush=True)
        time.sleep(0.03)
        found = random.Random(key).random() / 10
        print("end", key, file=file, flush=True)
    return found


def study(graph: Any, plans: Any, folder: Path) -> None:
    """One coordinator, in a session of its own."""
    import stridewise as sw

    os.setsid()
    judge = partial(score, folder / "log")
    sw.search(graph, score=judge, plans=plans, budget=4, seeds=8, run=folder / "run", on=sw.Workers(2))
    (folder / "finished").touch()


def network() -> tuple[Any, Any]:
    """A network of four convolutions and five plans for it."""
    from torch import nn

    from stridewise.rewrites.completion import make_plan
    from stridewise.tracing.trace import trace

    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)]
    graph = trace(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 32, 32), name="four")
    return graph, [make_plan(graph, request) for request in _PLANS]


def processes(session: int) -> list[tuple[int, str]]:
    """(number, command line) of those of a session that run."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    found = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [(int(number), command) for number, state, command in found if not state.startswith("Z")]


def hit(kind: str, session: int, chance: random.Random) -> bool:
    """Kill what there is of a kind; whether anything was."""
    running = processes(session)
    workers = [number for number, command in running if "spawn_main" in command]
    victims = {"coordinator": [session], "worker": workers, "all": [number for number, _ in running]}[kind]
    killed = 0
    for number in [chance.choice(victims)] if kind == "worker" and victims else victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
            killed += 1
    return killed > 0


def left(session: int) -> int:
    """How many processes of a session still run after ten seconds."""
    limit = time.monotonic() + 10
    while processes(session) and time.monotonic() < limit:
        time.sleep(0.02)
    return len(processes(session))


def judged(folder: Path) -> dict[str, int]:
    """What a finished study lost and did twice."""
    import optuna

    held = optuna.load_study(study_name="stridewise", storage=f"sqlite:///{folder / 'run' / 'study.db'}")
    done = Counter(tuple(sorted(t.params.items())) for t in held.trials if t.state.name == "COMPLETE")
    held._storage.remove_session()
    lines = (folder / "log").read_text().splitlines()
    ends = Counter(line[4:] for line in lines if line.startswith("end "))
    kept = json.loads((folder / "run" / "result.json").read_text())
    shown = sum(len(row["trainings"]) for row in kept["plans"])
    return {
        "trainings": len(done),
        "lost": len(ends) - min(len(done), shown),
        "recorded twice": sum(done.values()) - len(done),
        "finished again": sum(ends.values()) - len(ends),
    }


def main() -> None:
    """Kill, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    graph, plans = network()
    chance, kills, total, behind = random.Random(asked.seed), Counter[str](), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        while sum(kills.values()) < asked.kills:
            total["studies"] += 1
            folder = Path(name) / str(total["studies"])
            folder.mkdir()
            while not (folder / "finished").exists():
                process = multiprocessing.get_context("fork").Process(target=study, args=(graph, plans, folder))
                process.start()
                assert process.pid is not None
                before = _begun(folder)
                while sum(kills.values()) < asked.kills:
                    if chance.random() < _WITHIN:
                        _wait(process, folder, before)
                    process.join(chance.uniform(0, _LATEST))
                    if not process.is_alive():
                        break
                    kind = chance.choice(KINDS)
                    if hit(kind, process.pid, chance):
                        kills[kind] += 1
                        if kind != "worker":
                            break
                process.join()
                behind += left(process.pid)
            total.update(judged(folder))
    print(json.dumps({"kills": dict(kills), **total, "left behind": behind}))


def _begun(folder: Path) -> int:
    return (folder / "log").read_text().count("begin ") if (folder / "log").exists() else 0


def _wait(process: Any, folder: Path, before: int) -> None:
    """Until a training has begun."""
    while process.is_alive() and _begun(folder) <= before:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
