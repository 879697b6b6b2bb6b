"""`stridewise demo`: the whole path on built-in data, in a few minutes."""

from pathlib import Path
from typing import Any

import click

from stridewise.cli.arguments import going_on, say, tell

MODEL, DATA = "builtin:resnet20-narrow", "builtin:digits"
# Sized for two cores: 3 epochs over 6,000 pictures of 20 pixels, four plans, at most three seeds each on average. The
# limit reaches to where both steps stand late, at 2.6 times the cost. Small batches and a long warm-up: those learn
# slowly at first. Early steps stay far apart from seed to seed, which is why not every row is settled.
SETTINGS: dict[str, Any] = {
    "size": (20, 20),
    "aim": "curve",
    "max_macs": "2.7x",
    "output_stride": 4,
    "moves": ("strides",),
    "rivals": (),
    "trials": 4,
    "epochs": 3,
    "seeds": 3,
    "finalists": 4,
    "batch": 32,
    "rate": 1e-2,
    "warmup": 0.3,
    "clip": 1.0,
}


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
    from stridewise.models.load import open_graph
    from stridewise.showing.show import show
    from stridewise.study.executors import Workers, cores
    from stridewise.study.search import search
    from stridewise.study.settings import check_libraries
    from stridewise.study.value import Study

    check_libraries(trains=True)
    graph = open_graph(MODEL, (3, *SETTINGS["size"]))
    say(f"1. The network: {MODEL}, ten layers for small pictures. Where does it step, and what does it cost?\n")
    tell(show(graph))
    say(
        "\n2. The question: where should its two steps stand to read small handwritten digits, and what does each cost "
        "buy?\n   All plans are costed exactly; a shortlist is trained with two seeds each, then with more where the "
        "answer hangs.\n"
    )
    study = Study.of(MODEL, data=DATA, sites=[f"+{slot.key}" for slot in graph.slots], **SETTINGS)
    with going_on(f"what is known by now is in {run}; the same command goes on"), standing() as progress:
        result = search(study, on=Workers(min(4, cores()) if workers is None else workers), run=run, tell=progress)
    say(f"3. The answer ({len(result.front)} plans on the exact cost front, {len(result.rows)} to choose from)\n")
    tell(result)
    say(
        f"\nLook at {run}/report.html (or {run}/front.png). The plan is in {run}/plan.toml, every number in "
        f"{run}/result.json.\nThe cheapest that loses less than 2 points, from the same trainings: stridewise search "
        "with --aim cheapest --within 2.\nNext: stridewise show torchvision:resnet50, or your own: "
        "stridewise search file.py:factory --data FOLDER"
    )
