"""Lightning and torchmetrics, imported and used without the remarks they make about themselves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from stridewise.errors import MissingExtraError
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
