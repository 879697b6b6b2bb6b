"""`stridewise claims`: what is said about stride, tested here and now."""

import json
from pathlib import Path
from typing import Any

import click

from stridewise.errors import UsageError


@click.command("claims")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="Every claim; some take many minutes.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A JSON file to keep the figures in, beside those of earlier runs.",
)
def command(names: tuple[str, ...], every: bool, output: Path | None) -> None:
    """Test what is said about stride, and print the figures that docs/stride.md shows, one JSON line a claim.

    Without a NAME the claims are listed. Most are a minute or more of work, on one thread, with seeds.
    """
    from stridewise.claims import CLAIMS

    unknown = sorted(set(names) - set(CLAIMS))
    if unknown:
        raise UsageError(f"no claim {', '.join(unknown)}; there are {', '.join(CLAIMS)}")
    if every and names:
        raise UsageError("--all: means every claim; leave the names out")
    if not names and not every:
        for name, claim in CLAIMS.items():
            click.echo(f"{name:12} {' '.join((claim.__doc__ or '').split())}")
        return
    _test(tuple(CLAIMS) if every else names, output)


def _test(names: tuple[str, ...], output: Path | None) -> None:
    import torch

    from stridewise.claims import CLAIMS
    from stridewise.files import write_text

    figures: dict[str, Any] = {}
    if output is not None and output.exists():
        try:
            figures = json.loads(output.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"-o {output}: holds no JSON object: {error}") from error
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in names:
            figures[name] = CLAIMS[name]()
            click.echo(json.dumps({name: figures[name]}))
            if output is not None:
                write_text(output, json.dumps(figures, indent=1) + "\n")
    finally:
        torch.set_num_threads(threads)
