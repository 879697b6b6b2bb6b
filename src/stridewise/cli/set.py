"""`stridewise set`: change strides, as a consistent plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stridewise.cli.arguments import MODEL_HELP, OutFile, model_options, opaque_option, open_model, parse_sizes, say
from stridewise.errors import PlanError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from stridewise.models.load import ModelSpec
    from stridewise.onnxfile.verify import FileVerification
    from stridewise.plans import Plan
    from stridewise.surgery.verify import Verification


@click.command(
    name="set", help=f"Change strides: complete a request to a consistent plan, check it, write it.\n\n{MODEL_HELP}"
)
@model_options
@opaque_option
@click.argument("changes", nargs=-1, metavar="[SITE=2 | SITE=1x2 | SITE=2:blur:3 | STAGE=1 | +SLOT=2:max]...")
@click.option("--output-stride", metavar="S | SxS", help="The most any map may step: 8, or 8x16 an axis.")
@click.option("--keep-weights", is_flag=True, help="Steps that go become dilation, so trained weights stay exact.")
@click.option("--means", type=click.Choice(["dense", "grid"]), default="dense", help="Where means are taken.")
@click.option("-o", "--out", type=OutFile(".toml", ".json"), help="Write the plan to this file.")
@click.option("--verify", is_flag=True, help="Carry the plan out and look at the result again.")
@click.option("--code", is_flag=True, help="Print the plain PyTorch lines that do the same.")
@click.option("--export", type=OutFile(".onnx"), help="Write the changed model as ONNX.")
@click.option("--open-sizes", is_flag=True, help="With --export: a file that takes pictures of every size.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    opaque: tuple[str, ...],
    changes: tuple[str, ...],
    output_stride: str | None,
    keep_weights: bool,
    means: str,
    out: Path | None,
    verify: bool,
    code: bool,
    export: Path | None,
    open_sizes: bool,
    as_json: bool,
) -> None:
    """Parse, plan, print, and do with the plan what is asked for."""
    from stridewise.api import preview, rehearsed
    from stridewise.models.load import resolve
    from stridewise.rewrites.instead import planned_or_instead

    request = _request(changes)
    if not request and output_stride is None:
        raise UsageError("nothing is asked for: name a site (layer4.0.conv2=1), a slot (+layer3=2) or --output-stride")
    if open_sizes and not export:
        raise UsageError("--open-sizes says how --export writes the file: give --export FILE too")
    spec = resolve(model)
    to_plans = spec.kind == "nnunet" and (out is None or out.suffix == ".json")
    if to_plans and not (keep_weights or verify or code or export):
        _edit(spec.name, request, out, as_json, output_stride)
        return
    if out is not None and out.suffix == ".json":
        raise UsageError(f"-o {out}: a plan is TOML, and is written so: name it .toml")
    cap = None if output_stride is None else parse_sizes("--output-stride", output_stride, "8 or 8x16")
    graph = open_model(model, inputs, trust, opaque)
    try:
        made, certificate = planned_or_instead(graph, request, cap, keep_weights, means, rehearsed)
    except PlanError as error:
        if as_json and error.instead:
            near = [one.to_json() for one in error.instead]
            click.echo(json.dumps({"schema": "stridewise.set/1", "error": str(error), "instead": near}))
        raise
    seen = preview(graph, made)
    lines = _lines(spec, made, trust) if code else None
    told = _verify(spec, made, trust) if verify else None
    if export and (told is None or told.holds):
        _export(spec, made, trust, export, open_sizes)
    # Printed once nothing can refuse any more.
    if as_json:
        plain = {
            "schema": "stridewise.set/1",
            "model": graph.model,
            "input": graph.input_json(),
            **seen.to_json(),
            "plan": made.to_json(),
            "certificate": certificate and certificate.to_json(),
            "code": lines,
            "verified": told and str(told).splitlines(),
            "holds": told and told.holds,
        }
        click.echo(json.dumps({key: value for key, value in plain.items() if value is not None}))
    else:
        if lines:
            click.echo(lines)  # code to paste: whole, however wide
        else:
            say("\n".join(str(part) for part in (seen, certificate) if part is not None))
        if told:
            say(f"\n{told}")
    if told is not None and not told.holds:
        raise click.exceptions.Exit(1)
    if out:
        made.write(out)
        click.echo(f"plan written to {out}", err=True)


def _edit(path: str, request: dict[str, str], out: Path | None, as_json: bool, output_stride: str | None) -> None:
    """Change the steps, kernels and stages that nnU-Net's plans write, and write plans again."""
    from stridewise.configs.nnunet_steps import edited
    from stridewise.files import write_text

    if output_stride is not None:
        raise UsageError(
            f"{path}: --output-stride belongs to a plan (-o plan.toml); plans.json changes by stage2=1x2x2"
        )
    text, lines, network = edited(path, request)
    if as_json:
        click.echo(json.dumps({"schema": "stridewise.plans/1", "changes": lines, **network.to_json()}))
    else:
        say("\n".join(lines))
    if out:
        write_text(out, text, "the plans")
        click.echo(f"plans written to {out}", err=True)


def _request(changes: Sequence[str]) -> dict[str, str]:
    """`site=2:blur:3` as {site: "2:blur:3"}. Raises UsageError."""
    request: dict[str, str] = {}
    for text in changes:
        name, equals, value = text.rpartition("=")
        if not equals or not name or not value:
            raise UsageError(f"'{text}': a change is written SITE=2, SITE=1x2, SITE=2:blur:3, STAGE=1 or +SLOT=2:max")
        if name in request:
            raise UsageError(f"{name}: asked for twice, {request[name]} and {value}; name it once")
        request[name] = value
    return request


def _live(spec: ModelSpec, trust: bool, option: str) -> nn.Module:
    from stridewise.models.load import load

    if spec.kind == "onnx":
        raise PlanError(f"{spec}: {option} needs a live PyTorch model, and this is a file; --export writes a new one")
    return load(spec, trust=trust)


def _verify(spec: ModelSpec, made: Plan, trust: bool) -> Verification | FileVerification:
    from stridewise.api import verify

    return verify(spec.name if spec.kind == "onnx" else _live(spec, trust, "--verify"), made)


def _lines(spec: ModelSpec, made: Plan, trust: bool) -> str:
    from stridewise.api import code

    return code(_live(spec, trust, "--code"), made)


def _export(spec: ModelSpec, made: Plan, trust: bool, path: Path, open_sizes: bool) -> None:
    """The changed model, or the changed file, as an ONNX file."""
    from stridewise.api import apply, export

    if spec.kind == "onnx":
        apply(spec.name, made, out=path)
        click.echo(f"changed model written to {path}", err=True)
        return
    off = export(_live(spec, trust, "--export"), path, plan=made, open_sizes=open_sizes)
    click.echo(f"changed model written to {path}; onnxruntime's outputs are within {off:.1e} of the model's", err=True)
