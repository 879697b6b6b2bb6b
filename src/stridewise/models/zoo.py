"""Models of torchvision and timm by name: what exists, for which input, how it is built. Nothing is downloaded."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import logging
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stridewise.errors import LoadError, MissingExtraError

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger("stridewise")

# The declarations must outlive the models that import torchvision.
_declared: list[Any] = []
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_missing_ops() -> bool:
    """Make torchvision importable where its compiled ops do not fit this torch; True when that was needed.

    torchvision's Python code expects `torchvision::nms` to exist and cannot be imported without it, although model
    definitions never call it. The schemas alone are enough; running such an op still fails.
    """
    if "torchvision" in sys.modules or _declared:
        return False
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    import torch

    for library in Path(spec.origin).parent.glob("_C*.*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
    if hasattr(torch.ops.torchvision, "nms"):
        return False
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        fragment.define(schema)
    _declared.append(fragment)
    _log.warning(
        "torchvision's compiled ops do not fit this torch: its models can be built and run, nms and roi_align cannot"
    )
    return True


def _zoo(library: str) -> ModuleType:
    """torchvision or timm, imported. Raises MissingExtraError where it is not installed."""
    declare_missing_ops()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Failed to load")  # torchvision's image extension
            return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", library):
            raise
        raise MissingExtraError(error.name or library, "zoo", f"'{library}:' models") from error


def installed(library: str) -> bool:
    """Whether a model library is there to look names up in."""
    return importlib.util.find_spec(library) is not None


def has(library: str, name: str) -> bool:
    """Whether the library has a model of this name."""
    zoo = _zoo(library)
    if library == "timm":
        return bool(zoo.is_model(name))
    return name in _torchvision_names()


def _torchvision_names() -> list[str]:
    return list(_zoo("torchvision").models.list_models())


def names(library: str) -> list[str]:
    """Every model name of the library."""
    return _torchvision_names() if library == "torchvision" else list(_zoo("timm").list_models())


def nearest(name: str, among: Iterable[str]) -> str:
    """A hint that names the closest of `among`, or nothing."""
    found = difflib.get_close_matches(name, sorted(set(among)), n=3, cutoff=0.6)
    return f"; did you mean {', '.join(found)}?" if found else ""


def unknown(name: str, libraries: Iterable[str]) -> LoadError:
    """The error for a name that none of the libraries has."""
    where = list(libraries)
    every = [n for library in where for n in names(library)]
    return LoadError(f"no model '{name}' in {' or '.join(where)}{nearest(name, every)}")


def input_of(library: str, name: str) -> tuple[int, ...]:
    """Channels and sizes the model was made for, without building it."""
    if library == "timm":
        config = _zoo("timm").models.get_pretrained_cfg(name, allow_unregistered=True)
        size = getattr(config, "input_size", None)
        return tuple(size) if size else (3, 224, 224)
    if name.startswith(("r3d", "mc3", "r2plus1d", "s3d")):
        return (3, 16, 112, 112)
    if name.startswith(("mvit", "swin3d")):
        return (3, 16, 224, 224)
    if name.startswith(("ssd300", "ssdlite320")):
        return (3, 300, 300) if name.startswith("ssd300") else (3, 320, 320)
    if name.startswith(("fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet", "fcos")):
        return (3, 320, 320) if "_320_" in name else (3, 800, 800)  # what they resize every picture to
    return (3, 299, 299) if name.startswith("inception") else (3, 224, 224)


def build(library: str, name: str, meta: bool, kwargs: dict[str, Any]) -> nn.Module:
    """The model with random weights, on whatever device is the default."""
    zoo = _zoo(library)
    if not has(library, name):
        raise unknown(name, [library])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the libraries, initialisation of empty tensors
        if library == "timm":
            model: nn.Module = zoo.create_model(name, pretrained=False, **kwargs)
            return model
        builder = zoo.models.get_model_builder(name)
        options: dict[str, Any] = {"weights": None, **kwargs}
        if "weights_backbone" in inspect.signature(builder).parameters:
            options.setdefault("weights_backbone", None)
        if name in ("googlenet", "inception_v3"):
            options.setdefault("init_weights", not meta)
        made: nn.Module = builder(**options)
        return made
