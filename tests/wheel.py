"""Tries a built wheel in clean environments, one an extra: python tests/wheel.py WHEEL EXTRA...   (make wheel)

`core` is the wheel without an extra. Each environment gets the wheel alone, not the checkout, and runs what its extra
is for.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
TRY = {
    "core": ["stridewise --help", "stridewise slide builtin:digit -o walk.svg", "stridewise learn --list"],
    "torch": ["stridewise show builtin:resnet20"],
    "onnx": ["python -c 'import stridewise as sw; sw.read_onnx'"],
    "zoo": ["stridewise show torchvision:resnet18"],
    "train": ["stridewise train classify builtin:resnet20-narrow --data builtin:digits --epochs 1 --size 8x8"],
    "study": ["stridewise search --help"],
    "web": ["stridewise serve --help"],
    "frames": ["python -c 'import pandas, stridewise as sw; sw.Plan'"],
    "all": ["stridewise show builtin:resnet20", "stridewise check builtin:resnet20", "stridewise learn 10"],
}


def tried(wheel: Path, extra: str, folder: Path) -> None:
    """A clean environment with the wheel and this extra. Raises: CalledProcessError."""
    venv.create(folder, with_pip=True)
    tools = folder / "bin"
    install = [tools / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", CONSTRAINTS]
    subprocess.run([*install, f"{wheel}[{extra}]" if extra != "core" else wheel], check=True, cwd=folder)
    for line in TRY.get(extra, ["stridewise --version"]):
        subprocess.run(
            line, shell=True, check=True, cwd=folder, env={"PATH": f"{tools}:/usr/bin:/bin"}, stdout=subprocess.DEVNULL
        )
    print(f"{extra}: works", flush=True)


def main(wheel: str, *extras: str) -> None:
    """Try every extra that is named."""
    for extra in extras or ("core",):
        with tempfile.TemporaryDirectory() as folder:
            tried(Path(wheel).resolve(), extra, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
