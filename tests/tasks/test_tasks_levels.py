"""Each task reaches a stated level on data that need no download.

`make test` runs a recipe at small size, where it must be well above guessing; `make zoo` all of them. STRIDEWISE_FULL=1
runs them as docs/train.md states them, some minutes each on one core, against the stated bars:

    STRIDEWISE_FULL=1 pytest tests/tasks/test_tasks_levels.py
"""

import os
from typing import Any

import pytest

import stridewise as sw
from stridewise.data import digit_scenes, digits

FULL = bool(os.environ.get("STRIDEWISE_FULL"))
EARLY = {"+layers.0": "2:max"}
SCENES: dict[str, Any] = {
    "model": "builtin:resnet20-narrow", "request": EARLY, "width": 32, "batch": 16, "rate": 1e-2,
    "augment": ("shift", "light"),
}  # fmt: skip
DIGITS: dict[str, Any] = {
    "model": "builtin:resnet20", "request": {}, "epochs": 12, "batch": 128, "rate": 1e-2,
    "augment": ("scale", "bend", "light", "invert"), "precision": "bf16-mixed",
}  # fmt: skip
SMALL_DIGITS: dict[str, Any] = {"model": "builtin:resnet20-narrow", "request": {}, "epochs": 3, "rate": 1e-2}
SMALL: dict[str, Any] = {**SCENES, "batch": 4, "epochs": 10, "augment": ()}
FEW = {"size": 64, "train": 400, "val": 60}
SIDES = {"sizes": (12, 24)}
# task -> (data, recipe, figure, bar) at full size and at small size
LEVELS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "classify": (
        ({"train": 48000}, DIGITS, "accuracy", 0.97),
        ({"train": 3000, "val": 600}, SMALL_DIGITS, "accuracy", 0.3),  # chance is 0.1
    ),
    "segment": (
        ({}, {**SCENES, "epochs": 12}, "mean IoU", 0.2),
        (FEW, SMALL, "mean IoU", 0.09),  # the ground alone is 0.079
    ),
    "detect": (
        ({}, {**SCENES, **SIDES, "epochs": 16}, "AP50", 0.4),
        ({**FEW, "train": 160, "val": 30}, {**SMALL, **SIDES, "epochs": 5}, "AP50", 0.05),
    ),
}


RARE = [] if FULL else [pytest.mark.zoo]  # short trainings of both are in test_tasks_train.py and test_tasks_segment.py


@pytest.mark.slow
@pytest.mark.parametrize("task", [pytest.param("classify", marks=RARE), pytest.param("segment", marks=RARE), "detect"])
def test_a_task_reaches_its_level_on_embedded_data(task: str) -> None:
    data, recipe, figure, bar = LEVELS[task][0 if FULL else 1]
    made = digits(**data) if task == "classify" else digit_scenes(task=task, **data)
    call = {**recipe}
    model = call.pop("model")
    size = made.splits["train"][0].size
    request = call.pop("request")
    plan = sw.plan(sw.trace(sw.load(model), (3, *size)), request) if request else None
    record = sw.train(task, model, data=made, plan=plan, **call)
    found = record.score if record.metric == figure else record.figures[figure]
    assert found >= bar, str(record)
