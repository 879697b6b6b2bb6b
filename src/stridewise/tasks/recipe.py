"""How a network is trained, and the Fabric that carries it out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

from stridewise.errors import MissingExtraError, UsageError
from stridewise.models.zoo import declare_missing_ops


def fabric_class() -> Any:
    """Lightning's Fabric. Raises: MissingExtraError."""
    with quiet():
        declare_missing_ops()  # importing lightning imports torchvision where it is installed
        try:
            from lightning.fabric import Fabric
        except ModuleNotFoundError as error:
            raise MissingExtraError("lightning", "train", "training") from error
    return Fabric


def accuracy_metric(classes: int) -> Any:
    """A torchmetrics accuracy over all pictures. Raises: MissingExtraError."""
    with quiet():
        declare_missing_ops()
        try:
            from torchmetrics.classification import MulticlassAccuracy
        except ModuleNotFoundError as error:
            raise MissingExtraError("torchmetrics", "train", "measuring accuracy") from error
        # Of several processes one judges, all pictures: to wait for the others' counts would be to wait for ever.
        return MulticlassAccuracy(num_classes=classes, average="micro", sync_on_compute=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Without hints about loaders, cores and seeds, which speak of settings a user here has no hand on."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in ("lightning.fabric", "lightning.pytorch", "stridewise"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        yield


AUGMENTATIONS = ("shift", "flip", "scale", "bend", "light", "invert")
"""What `tasks/pictures.py` can do; here, where no torch is needed to read a recipe."""
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained. rate: AdamW's peak learning rate, warmed up over a share `warmup` of the steps and then
    lowered to 0 along a cosine; augment: any of `AUGMENTATIONS`; precision, device: as Fabric names them.

    A step takes batch * accumulate pictures, on all devices together. clip: the largest norm of a gradient, 0 for any.
    patience: epochs without a better score after which training ends with the best epoch's weights.
    ema: the decay a step of a running average of the weights, which is judged and kept in their place; 0 for none.
    """

    batch: int = 64
    rate: float = 5e-3
    decay: float = 0.05
    augment: tuple[str, ...] = ()
    precision: str = "32-true"
    device: str = "cpu"
    devices: int = 1
    nodes: int = 1
    accumulate: int = 1
    clip: float = 0.0
    patience: int | None = None
    warmup: float = 0.1
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise UsageError(f"no augmentation '{name}': choose from {', '.join(AUGMENTATIONS)}")
        if self.batch < 2 or not self.rate > 0:
            raise UsageError(f"batch {self.batch}, rate {self.rate}: a batch is 2 pictures or more, a rate above 0")
        if not 0 <= self.warmup < 1 or not 0 <= self.ema < 1:
            raise UsageError(f"warmup {self.warmup:g}, ema {self.ema:g}: shares from 0 and below 1 are wanted")
        if self.precision not in PRECISIONS:
            raise UsageError(f"no precision '{self.precision}': choose from {', '.join(PRECISIONS)}")
        counts = {"devices": self.devices, "nodes": self.nodes, "accumulate": self.accumulate}
        for name, count in {**counts, "patience": 1 if self.patience is None else self.patience}.items():
            if count < 1:
                raise UsageError(f"{name} is {count}: a whole number from 1 is wanted")
        if self.batch < 2 * self.devices * self.nodes:
            raise UsageError(
                f"batch {self.batch} on {self.devices * self.nodes} devices: two pictures or more are wanted on each"
            )


def told_apart(settings: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Settings by name as a recipe, and the rest of them: the options of a task. Raises: UsageError."""
    names = {f.name for f in fields(Recipe)}
    rest = {key: value for key, value in settings.items() if key not in names}
    return Recipe(**{key: value for key, value in settings.items() if key in names}), rest


def fabric_for(recipe: Recipe) -> Any:
    """A Fabric on the recipe's devices, its processes started.

    Raises: MissingExtraError; UsageError for a device that is not there.
    """
    fabric = fabric_class()
    several = recipe.devices * recipe.nodes > 1
    with quiet():
        try:
            made = fabric(
                accelerator=recipe.device,
                devices=recipe.devices,
                num_nodes=recipe.nodes,
                strategy="ddp" if several else "auto",
                precision=recipe.precision,
            )
            if several:
                made.launch()
            return made
        except (RuntimeError, ValueError) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(f"device '{recipe.device}', precision '{recipe.precision}': {line}") from error
