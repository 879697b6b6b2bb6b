"""Weights from a file into a model: safetensors, or torch files that hold tensors alone."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stridewise.errors import LoadError, MissingExtraError
from stridewise.files import is_file

if TYPE_CHECKING:
    from torch import Tensor, nn

# Where training code keeps the weights inside a checkpoint.
_INSIDE = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")


def read_weights(path: str | Path, *, trust: bool = False) -> dict[str, Tensor]:
    """The named tensors of a file, on the CPU.

    Raises: LoadError where there is no such file, where it holds more than tensors and `trust` is not given, or where
    no weights are found in it.
    """
    path = Path(path)
    if not is_file(path):
        raise LoadError(f"{str(path)[:200]}: no such file")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, trust)
    for key in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if hasattr(found, "state_dict"):
        found = found.state_dict()
    if not isinstance(found, Mapping) or not found or not all(hasattr(v, "shape") for v in found.values()):
        raise LoadError(f"{path}: holds no weights by name")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise MissingExtraError("safetensors", "torch", "reading .safetensors weights") from error
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise LoadError(f"{path}: not a safetensors file ({_first_line(error)})") from error


def _read_torch(path: Path, trust: bool) -> Any:
    import torch

    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"PK\x03\x04" and magic[:1] != b"\x80":  # a zip, or a bare pickle as of old
        raise LoadError(f"{path}: not a torch file")
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        if trust:
            raise LoadError(f"{path}: not a torch file ({_first_line(error)})") from error
        raise LoadError(
            f"{path}: holds more than tensors, and reading it would run code: pass --trust (trust=True) if you know "
            "where it comes from, or save its state_dict() as safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise LoadError(f"{path}: not a torch file ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_weights(model: nn.Module, weights: str | Path | Mapping[str, Tensor], name: str, *, trust: bool) -> None:
    """Fill `model` with weights from a file or mapping.

    Raises: LoadError naming what does not fit; the model is as it was then.
    """
    source = "the weights" if isinstance(weights, Mapping) else str(weights)
    given = weights if isinstance(weights, Mapping) else read_weights(weights, trust=trust)
    wanted = model.state_dict()
    problems = []
    for what, keys in (
        ("missing", [k for k in wanted if k not in given]),
        ("not in the model", [k for k in given if k not in wanted]),
    ):
        if keys:
            problems.append(f"{len(keys)} {what} ({keys[0]}{', ...' if len(keys) > 1 else ''})")
    shaped = [k for k in wanted if k in given and given[k].shape != wanted[k].shape]
    if shaped:
        sizes = " where the model has ".join(_by(t[shaped[0]]) for t in (given, wanted))
        problems.append(f"{len(shaped)} of another shape ({shaped[0]} is {sizes})")
    if problems:
        raise LoadError(f"{source} does not fit {name}: {', '.join(problems)}")
    model.load_state_dict(dict(given))


def _by(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
