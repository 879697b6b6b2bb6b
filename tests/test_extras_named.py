"""On a bare install each command and each public function names the one extra that brings all it needs."""

import subprocess
import sys

BARE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxruntime", "optuna", "sqlalchemy", "filelock", "lightning",
                                      "torchmetrics", "scipy", "sklearn", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
import stridewise as sw
from stridewise.cli import main
for line in ("search builtin:resnet20 --data builtin:digits", "demo",
             "train classify builtin:resnet20 --data builtin:digits", "evaluate run --data builtin:digits",
             "predict run x.png -o o", "sizes builtin:resnet20"):
    try:
        main(line.split())
    except SystemExit as stop:
        assert stop.code, line
for name in ("train", "load_trained", "trace"):
    try:
        getattr(sw, name)
    except sw.MissingExtraError as error:
        print(error, file=sys.stderr)
"""


def test_the_right_extra_is_named_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 0, done.stderr
    extras = [line.rpartition("stridewise[")[2].removesuffix("]'") for line in lines]
    assert extras[:6] == ["study", "study", "train", "train", "train", "torch"], lines
    assert all(f"{name} needs " in line for name, line in zip(("search", "demo", "train"), lines, strict=False))
    assert extras[6:] == ["train", "train", "torch"], lines
