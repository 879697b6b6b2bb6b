"""`stridewise set`: change strides, as a consistent plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stridewise.errors import PlanError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from stridewise.frontends.load import ModelSpec
    from stridewise.plans import Plan


@click.command(name="set")
@click.argument("model")
@click.argument("changes", nargs=-1, metavar="[SITE=2 | SITE=1x2 | SITE=2:blur:3 | STAGE=1 | +SLOT=2:max]...")
@click.option("--output-stride", metavar="S | SxS", help="The most any map may step: 8, or 8x16 an axis.")
@click.option("--keep-weights", is_flag=True, help="Steps that go become dilation, so trained weights stay exact.")
@click.option("--means", type=click.Choice(["dense", "grid"]), default="dense", help="Where means are taken.")
@click.option("--input", "shape", metavar="3x224x224", help="Channels and sizes. Default: what the model was made for.")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan to this file.")
@click.option("--verify", is_flag=True, help="Carry the plan out and look at the result again.")
@click.option("--code", is_flag=True, help="Print the plain PyTorch lines that do the same.")
@click.option("--export", type=click.Path(dir_okay=False, path_type=Path), help="Write the changed model as ONNX.")
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
    code: bool,
    export: Path | None,
    trust: bool,
) -> None:
    """Change strides in a network: complete a request to a consistent plan, show what it does, write it."""
    from stridewise.api import plan
    from stridewise.frontends.load import open_graph, resolve
    from stridewise.rewrites.certify import certify
    from stridewise.rewrites.dilate import dilation
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
    if code:
        click.echo(_lines(spec, made, trust))
    else:
        click.echo(str(preview(graph, made)))
        if keep_weights:
            click.echo(str(certify(dilation(graph, made))))
    if spec.kind == "onnx" and (verify or export):
        _rewrite(spec, made, verify, export)
    else:
        if verify:
            _verify(spec, made, trust)
        if export:
            _export(spec, made, trust, export)
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


def _live(spec: ModelSpec, trust: bool, option: str) -> nn.Module:
    from stridewise.frontends.load import load

    if spec.kind == "onnx":
        raise PlanError(f"{spec}: {option} needs a live PyTorch model, and this is a file; --export writes a new one")
    return load(spec, trust=trust)


def _verify(spec: ModelSpec, made: Plan, trust: bool) -> None:
    """Apply the plan to a live model, look at it again, and with kept weights compare old and new numbers."""
    from stridewise.frontends.apply import apply_to_model
    from stridewise.frontends.compare import compare

    model = _live(spec, trust, "--verify")
    click.echo("")
    if made.keep_weights:
        found = compare(model, made)
        click.echo("\n".join(found.done.changes))
        for finding in found.done.findings:
            click.echo(f"{finding.rule} {finding.severity} {finding.message}")
        click.echo(str(found))
    else:
        click.echo(str(apply_to_model(model, made)))
    click.echo("verified: the changed model was traced again, and every size is the promised one")


def _lines(spec: ModelSpec, made: Plan, trust: bool) -> str:
    import copy

    from stridewise.frontends.apply import apply_to_model
    from stridewise.frontends.lines import code

    model = _live(spec, trust, "--code")
    changed = copy.deepcopy(model)
    return code(model, changed, made, apply_to_model(changed, made))


def _export(spec: ModelSpec, made: Plan, trust: bool, path: Path) -> None:
    """The changed live model as an ONNX file."""
    from stridewise.frontends.apply import apply_to_model
    from stridewise.frontends.export import export_onnx

    model = _live(spec, trust, "--export")
    apply_to_model(model, made)
    off = export_onnx(model, made.input, path)
    click.echo(f"changed model written to {path}; onnxruntime's outputs are within {off:.1e} of the model's", err=True)


def _rewrite(spec: ModelSpec, made: Plan, verify: bool, path: Path | None) -> None:
    """The changed ONNX file, kept where `path` says so, and with `verify` both run on the same input."""
    import tempfile

    from stridewise.api import apply

    with tempfile.TemporaryDirectory() as folder:
        out = path or Path(folder) / "changed.onnx"
        done = apply(spec.name, made, out=out)
        if verify:
            click.echo("\n" + "\n".join(done.changes))
            if made.keep_weights:
                from stridewise.frontends.onnx_compare import compare_files

                click.echo(str(compare_files(spec.name, out, input=made.input)))
            click.echo("verified: the changed file was read again, and every size is the promised one")
    if path:
        click.echo(f"changed model written to {path}", err=True)
