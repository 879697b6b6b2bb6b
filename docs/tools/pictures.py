"""Makes the pictures in docs/img from real output: python docs/tools/pictures.py (needs the extras zoo and train)."""

import io
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

import stridewise as sw
from stridewise.cli.arguments import STYLES
from stridewise.convolution import picture, slides
from stridewise.showing.text import lines

HERE = Path(__file__).resolve().parent.parent / "img"


def terminal(name: str, title: str, rows: list[list[tuple[str, str]]]) -> None:
    """An SVG of styled terminal lines."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in rows:
        console.print(Text.assemble(*((text, STYLES.get(style, "")) for text, style in line)), soft_wrap=True)
    drawn = console.export_svg(title=title)
    # The viewer's own monospace font serves; none is fetched from elsewhere.
    (HERE / name).write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


def main() -> None:
    """Write every picture."""
    model = sw.load("torchvision:resnet50", device="meta")
    graph = sw.trace(model, (3, 224, 224), name="torchvision:resnet50")
    rows = lines(sw.show(graph), 98)
    head = next(i for i, line in enumerate(rows) if "".join(t for t, _ in line).startswith("layer2.1"))
    terminal("show.svg", "$ stridewise show torchvision:resnet50", [*rows[:head], [("...", "dim")]])
    drawn = picture(slides("builtin:china", "sobel-x", strides=(1, 2, (4, 2)), padding=1))
    drawn.convert("RGB").quantize(128).save(HERE / "slide.png", optimize=True)


if __name__ == "__main__":
    main()
