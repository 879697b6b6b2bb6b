"""`stridewise demo`: the whole path on built-in data, in a few minutes."""

from pathlib import Path
from typing import Any

import click

MODEL, DATA = "builtin:resnet20-narrow", "builtin:digits"
# Sized for two cores: 15 epochs of selection over 6,000 pictures, then 5 epochs with 3 seeds for the network as it is,
# the best plan and, where that is cheaper, two rivals. 24 pixels instead of 32 buy two thirds more epochs in the same
# time, which settle more than the pixels do.
SETTINGS: dict[str, Any] = {
    "size": (24, 24),
    "max_macs": "1.0x",
    "output_stride": 4,
    "trials": 6,
    "budget": 5,
    "seeds": 3,
    "cost": 3.0,
    "finalists": 2,
    "rate": 1e-2,
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
    """Show a small network's strides, find better ones for handwritten digits, and leave a report.

    Takes a few minutes on two cores. Ctrl-C leaves what is known by then; the same command goes on.
    """
    from stridewise.cli.standing import standing
    from stridewise.models.load import open_graph
    from stridewise.study.executors import cores
    from stridewise.study.search import search

    graph = open_graph(MODEL, (3, *SETTINGS["size"]))
    click.echo(f"1. The network: {MODEL}, ten layers for small pictures. Where does it step, and what does it cost?\n")
    click.echo(_table(graph))
    click.echo(
        "\n2. The question: would other places for its two steps read handwritten digits better, at no more cost?\n"
        "   All plans are costed exactly; a shortlist is trained briefly, and the finalists three times each.\n"
    )
    with standing() as tell:
        result = search(
            MODEL,
            data=DATA,
            sites=[f"+{slot.key}" for slot in graph.slots],
            run=run,
            workers=min(4, cores()) if workers is None else workers,
            tell=tell,
            **SETTINGS,
        )
    click.echo(f"3. The answer ({len(result.front)} plans on the exact cost front, {len(result.rows)} trained)\n")
    click.echo(str(result))
    click.echo(
        f"\nLook at {run}/report.html (or {run}/front.png). The plan is in {run}/plan.toml, every number in "
        f"{run}/result.json.\nNext: stridewise show torchvision:resnet50, or your own: "
        "stridewise search file.py:factory --data FOLDER"
    )


def _table(graph: Any) -> str:
    from stridewise.showing.show import show

    return str(show(graph))
