"""A network with plans to choose from, scores that cost nothing, and a study run in a process of its own."""

import random
import subprocess
import sys
from pathlib import Path

from torch import nn

from stridewise.plans import Plan, Setting
from stridewise.rewrites.completion import make_plan
from stridewise.tracing.trace import trace

HERE = Path(__file__).parent


def graph():
    """Four convolutions, of which the first two step."""
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)]
    return trace(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 32, 32), name="four")


def plans():
    """Five plans beside the network as it is; the first is cheaper, the others dearer or as dear."""
    found = graph()
    wanted = ({"1": 4}, {"1": 1, "2": 2}, {"1": 1, "3": 2}, {"0": 1, "2": 2}, {"0": 4, "1": 1})
    return [make_plan(found, request) for request in wanted]


def impossible():
    """A plan that no network here can take."""
    return Plan(sites={"7": Setting(stride=(2, 2), was=(1, 1))})


def drawn(plan, budget, seed):
    """A score that follows from its arguments alone."""
    return 0.5 + random.Random(f"{plan.to_toml()} {budget} {seed}").random() / 10


LOGGED = """
import os, sys, time
sys.path.insert(0, {here!r})
from study_nets import drawn, graph, plans
from stridewise.study.executors import Workers
from stridewise.study.search import search

def score(plan, budget, seed):
    with open({log!r}, "a") as file:
        print("begin", plans().index(plan) if plan else -1, budget, seed, file=file, flush=True)
        time.sleep({pause})
        print("end", plans().index(plan) if plan else -1, budget, seed, file=file, flush=True)
    return drawn(plan, budget, seed)

if __name__ == "__main__":
    search(graph(), score=score, plans=plans(), budget=4, run={run!r}, on=Workers({workers}))
    print("finished")
"""


def script(tmp_path: Path, *, pause: float, workers: int = 0) -> list[str]:
    """The command of a study that logs the beginning and end of each training."""
    path = tmp_path / "study_script.py"
    text = LOGGED.format(
        here=str(HERE), log=str(tmp_path / "log"), run=str(tmp_path / "run"), pause=pause, workers=workers
    )
    path.write_text(text)
    return [sys.executable, str(path)]


def started(command: list[str]) -> subprocess.Popen:
    """The study, running, in a group of processes of its own."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
