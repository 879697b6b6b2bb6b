"""Makes the pictures in docs/img from real output: python docs/tools/pictures.py (needs the extras zoo and train)."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

import stridewise as sw
from stridewise.cli.arguments import STYLES
from stridewise.convolution import picture, slides, walking
from stridewise.datafit import fit
from stridewise.report.chart import stacked, svg
from stridewise.report.document import Chart, Scale, Series
from stridewise.report.terminal import lines

HERE = Path(__file__).resolve().parent.parent / "img"
LEARN = HERE / "learn"
CLAIMS = HERE.parents[1] / "benchmarks" / "results" / "claims.json"


def terminal(name: str, title: str, rows: Sequence[Sequence[tuple[str, str]]]) -> None:
    """An SVG of styled terminal lines."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in rows:
        console.print(Text.assemble(*((text, STYLES.get(style, "")) for text, style in line)), soft_wrap=True)
    drawn = console.export_svg(title=title)
    # The viewer's own monospace font serves; none is fetched from elsewhere.
    (HERE / name).write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


def sliding(target: Path, source: str, kernel: str, strides: tuple[object, ...], padding: int, colours: int) -> None:
    """The drawing of `stridewise slide`, in few colours."""
    drawn = picture(slides(source, kernel, strides=strides, padding=padding))
    drawn.convert("RGB").quantize(colours).save(target, optimize=True)


def ladders(target: Path, graph: sw.Graph, request: dict[str, object], name: str, **more: object) -> None:
    """The ladder of a network as it is, and under a plan."""
    report = sw.show(graph, plans={name: sw.plan(graph, request or None, **more)})
    target.write_text(stacked([part for part in report.document().pictures if isinstance(part, Chart)]))


def shift(target: Path) -> None:
    """How far a pixel's shift moves the output of a chain, by total stride: `stridewise claims shift`."""
    told = json.loads(CLAIMS.read_text())["shift"]
    steps = tuple(enumerate((1, 2, 4, 8, 16)))
    level = told["chain, plain, total stride 1"]["moved 1"]
    rows = {
        kind: [(k, told.get(f"chain, {kind}, total stride {s}", {}).get("moved 1", level)) for k, s in steps]
        for kind in ("plain", "blur")
    }
    chart = Chart(
        title="A picture moves by one pixel: how far the output moves (1: another picture)",
        words=f"plain steps: {rows['plain'][0][1]} at total stride 1, {rows['plain'][-1][1]} at 16; with a blur "
        f"{rows['blur'][-1][1]} at 16",
        x=Scale(label="total stride", ticks=tuple((float(k), str(s)) for k, s in steps)),
        y=Scale(zero=True),
        series=tuple(Series(points=tuple(points), name=f"steps: {kind}") for kind, points in rows.items()),
    )
    target.write_text(svg(chart, alone=True, title=True))


def main() -> None:
    """Write every picture."""
    LEARN.mkdir(exist_ok=True)
    graph = sw.trace(sw.load("torchvision:resnet50", device="meta"), (3, 224, 224), name="torchvision:resnet50")
    rows = lines(sw.show(graph).document(), 98, every=False)
    head = next(i for i, line in enumerate(rows) if "".join(t for t, _ in line).startswith("layer2.1"))
    terminal("show.svg", "$ stridewise show torchvision:resnet50", [*rows[:head], [("...", "dim")]])
    (HERE / "ladder.svg").write_text(stacked([p for p in sw.show(graph).document().pictures if isinstance(p, Chart)]))
    sliding(HERE / "slide.png", "builtin:china", "sobel-x", (1, 2, (4, 2)), 1, 128)

    (LEARN / "walk.svg").write_text(walking.svg(slides("builtin:digit", "sobel-x", strides=(1, 2), padding=1)))
    sliding(LEARN / "steps.png", "builtin:digit", "sobel-x", (1, 2, 4), 1, 64)
    sliding(LEARN / "detail.png", "builtin:flower", "identity", (1, 4, 8), 0, 128)
    sliding(LEARN / "edges.png", "builtin:china", "sobel-x", (2, 4, 8), 1, 128)
    shift(LEARN / "shift.svg")
    small = sw.trace(sw.load("builtin:resnet20"), (3, 32, 32), name="builtin:resnet20")
    ladders(LEARN / "ladders.svg", small, {}, "finer", output_stride=2)
    ladders(LEARN / "three.svg", graph, {}, "output stride 8", output_stride=8, keep_weights=True)
    for name, result in {"front": sw.front(small), "fit": fit(data="builtin:digit-scenes")}.items():
        charts = [part for part in result.document().pictures if isinstance(part, Chart)]
        (LEARN / f"{name}.svg").write_text(stacked(charts[:1]))


if __name__ == "__main__":
    main()
