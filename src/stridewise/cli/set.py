"""`stridewise set`: change strides, as a consistent plan."""

from pathlib import Path

import click

from stridewise.errors import PlanError, UsageError


@click.command(name="set")
@click.argument("model")
@click.argument("changes", nargs=-1, metavar="[SITE=2 | SITE=1x2 | SITE=2:blur:3 | STAGE=1 | +SLOT=2:max]...")
@click.option("--output-stride", metavar="S | SxS", help="The most any map may step: 8, or 8x16 an axis.")
@click.option("--keep-weights", is_flag=True, help="Steps that go become dilation, so trained weights stay exact.")
@click.option("--means", type=click.Choice(["dense", "grid"]), default="dense", help="Where means are taken.")
@click.option("--input", "shape", metavar="3x224x224", help="Channels and sizes. Default: what the model was made for.")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan to this file.")
@click.option("--verify", is_flag=True, help="Apply the plan to a live model and look at it again.")
@click.option("--trust", is_flag=True, help="Allow models whose files run code when read.")
def command(
    model: str,
    changes: tuple[str, ...],
    output_stride: str | None,
    keep_weights: bool,
    means: str,
    shape: str | None,
    out: Path | None,
    verify: bool,
    trust: bool,
) -> None:
    """Change strides in a network: complete a request to a consistent plan, show what it does, write it."""
    from stridewise.api import plan
    from stridewise.frontends.load import open_graph, resolve
    from stridewise.rewrites.preview import preview

    spec = resolve(model)
    if spec.note:
        click.echo(spec.note, err=True)
    request = dict(_change(text) for text in changes)
    if not request and output_stride is None:
        raise UsageError("nothing is asked for: name a site (layer4.0.conv2=1), a slot (+layer3=2) or --output-stride")
    graph = open_graph(spec, _sizes("--input", shape) if shape else None, trust=trust)
    cap = None if output_stride is None else _sizes("--output-stride", output_stride)
    made = plan(graph, request, output_stride=cap, keep_weights=keep_weights, means=means)
    click.echo(str(preview(graph, made)))
    if verify:
        _verify(spec, made, trust)
    if out:
        made.write(out)
        click.echo(f"plan written to {out}", err=True)


def _change(text: str) -> tuple[str, str]:
    """`site=2:blur:3` as (site, "2:blur:3")."""
    name, equals, value = text.rpartition("=")
    if not equals or not name or not value:
        raise UsageError(f"'{text}': a change is written SITE=2, SITE=1x2, SITE=2:blur:3, STAGE=1 or +SLOT=2:max")
    return name, value


def _sizes(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in text.split("x"))
    except ValueError:
        raise UsageError(f"{option}: whole numbers with x between them are wanted, not '{text}'") from None


def _verify(spec: object, made: object, trust: bool) -> None:
    from stridewise.frontends.apply import apply_to_model
    from stridewise.frontends.load import load, resolve
    from stridewise.plans import Plan

    assert isinstance(made, Plan)
    if resolve(str(spec)).kind == "onnx":
        raise PlanError(f"{spec}: --verify applies the plan to a live PyTorch model, and this is a file")
    done = apply_to_model(load(str(spec), trust=trust), made)
    click.echo("")
    click.echo(str(done))
    click.echo("verified: the changed model was traced again, and every size is the promised one")
