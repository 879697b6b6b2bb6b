"""`stridewise demo`: the whole path on built-in data, in a few minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stridewise.cli.arguments import going_on, say, tell

if TYPE_CHECKING:
    from stridewise.fronts.result import Points
    from stridewise.ir import Graph
    from stridewise.study.value import Study

MODEL, DATA = "builtin:resnet20-narrow", "builtin:digits"
# Sized for two cores: 3 epochs over 6,000 pictures of 24 pixels, three plans, three seeds each on average. Small
# batches and a long warm-up: early steps learn slowly at first, and their seeds would end far apart without them; at
# twice the usual rate one training in twenty learns nothing.
SETTINGS: dict[str, Any] = {
    "size": (24, 24),
    "aim": "curve",
    "moves": ("strides",),
    "rivals": (),
    "epochs": 3,
    "seeds": 3,
    "finalists": 3,
    "batch": 32,
    "warmup": 0.3,
    "clip": 1.0,
}
# The last map keeps its size, and the limit reaches to where both steps stand late.
LIMITS: dict[str, Any] = {"max_macs": "2.7x", "output_stride": 4}
WITHIN = 2.0
"""Points that the last answer accepts to lose."""


def question() -> tuple[Graph, Points, Study]:
    """The network, its plans of the best places for their cost, and the study of the cheapest and the dearest."""
    from stridewise.fronts.front import front
    from stridewise.models.load import open_graph
    from stridewise.study.value import Study

    graph = open_graph(MODEL, (3, *SETTINGS["size"]))
    choices = front(graph, sites=[f"+{slot.key}" for slot in graph.slots], **LIMITS).points
    return graph, choices, Study.of(MODEL, data=DATA, plans=(choices[0].plan, choices[-1].plan), **SETTINGS)


@click.command(name="demo")
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    default=Path("stridewise-demo"),
    show_default=True,
    help="Folder for the plan, the records and the report; the same folder goes on after a stop.",
)
@click.option("--workers", type=click.IntRange(0), help="Training processes. [default: one a core, at most 4]")
def command(run: Path, workers: int | None) -> None:
    """Show a small network's strides, measure what each cost buys on handwritten digits, and leave a report.

    Takes a few minutes on two cores. Ctrl-C leaves what is known by then; the same command goes on.
    """
    from stridewise.cli.standing import standing
    from stridewise.showing.show import show
    from stridewise.study.executors import Workers, cores
    from stridewise.study.search import search
    from stridewise.study.settings import check_libraries

    check_libraries(trains=True)
    graph, choices, study = question()
    say(f"1. The network: {MODEL}, ten layers for small pictures. Where does it step, and what does it cost?\n")
    tell(show(graph))
    say(
        "\n2. The question: where should its two steps stand to read small handwritten digits, and what does each cost "
        f"buy?\n   {len(choices)} plans have the best places for their exact cost. Trained are the network as it is, "
        "the cheapest (plan 1:\n   steps early) and the dearest (plan 2: steps late), two seeds each, then more where "
        "the answer hangs.\n"
    )
    on = Workers(min(4, cores()) if workers is None else workers)
    with going_on(f"what is known by now is in {run}; the same command goes on"), standing() as progress:
        result = search(study, on=on, run=run, tell=progress)
        say("3. The answer\n")
        tell(result)
        cheapest = search(replace(study, aim="cheapest", within=WITHIN), on=on, run=run)
    say(f"\n4. From the same trainings: the cheapest that loses less than {WITHIN:g} points\n")
    say(cheapest.verdict.reasons[0])
    say(
        f"\nLook at {run}/report.html (or {run}/front.png). The plan is in {run}/plan.toml, every number in "
        f"{run}/result.json.\nNext: stridewise show torchvision:resnet50, or your own: "
        "stridewise search file.py:factory --data FOLDER"
    )
