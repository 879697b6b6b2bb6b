"""Where a network fails: the matrix counts every picture once, and the worst are those that lose most."""

import csv
import io

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from task_nets import Small, gratings
from task_scenes import Stages, scenes
from torch.nn import functional

import stridewise as sw
from stridewise.plans import Plan
from stridewise.tasks.classify import Classify
from stridewise.tasks.detect import Detect
from stridewise.tasks.folder import confusion, losses, shown
from stridewise.tasks.segment import Segment


@pytest.fixture(scope="module")
def judged():
    torch.manual_seed(0)
    task = Classify()
    splits = task.read(gratings(32, 48))
    return task, task.network(Small, Plan(), splits), splits.held_out


def test_the_matrix_is_that_of_scikit_learn(judged):
    task, model, pictures = judged
    said = model(pictures.x).argmax(1).numpy()
    table = confusion(model, pictures)
    np.testing.assert_array_equal(table, confusion_matrix(pictures.y, said, labels=range(len(pictures.classes))))
    figures = task.evaluate(model, pictures, "cpu").figures
    assert figures["mean over classes"] == pytest.approx(balanced_accuracy_score(pictures.y, said))
    counts = np.bincount(pictures.y)
    assert figures[f"always {pictures.classes[counts.argmax()]}"] == pytest.approx(counts.max() / counts.sum())


def test_each_picture_loses_what_the_task_says(judged):
    task, model, pictures = judged
    found = losses(model, task, pictures)
    expected = functional.cross_entropy(model(pictures.x), pictures.y, reduction="none")
    assert found == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("task", [Segment(width=8), Detect(width=8)])
def test_every_task_shows_its_worst(task):
    splits = task.read(scenes(task.name, 8, 8), None)
    model = task.network(Stages, Plan(), splits)
    files = shown(model, task, splits.held_out)
    assert list(files) == ["worst.png"]
    assert files["worst.png"].startswith(b"\x89PNG")


def test_a_run_folder_shows_where_it_fails(tmp_path):
    sw.train("classify", Small, data=gratings(64, 32), epochs=1, batch=32, run=tmp_path / "r")
    rows = list(csv.reader(io.StringIO((tmp_path / "r" / "confusion.csv").read_text())))
    assert sum(int(n) for row in rows[1:] for n in row[1:]) == 32
    assert (tmp_path / "r" / "worst.png").stat().st_size > 1000
