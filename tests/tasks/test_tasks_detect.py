"""Detection: boxes go to levels by size, every box to some cell, losses and AP equal their oracles."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from task_scenes import SIZE, Stages, scenes

import stridewise as sw
from stridewise.data import Boxes
from stridewise.errors import DataError, PlanError, UsageError
from stridewise.plans import Plan, Setting
from stridewise.surgery.features import levels
from stridewise.tasks.detect import Detect, average_precisions, interval, redrawn, truth_of
from stridewise.tasks.detector import (
    Cells,
    as_cells,
    assigned,
    corners,
    detection_loss,
    kept_apart,
    level_of,
    pair_overlaps,
    quality_focal,
)
from stridewise.tasks.trained import Described

DATA = Described(name="squares", classes=("red", "green"), shape=(3, SIZE, SIZE))


def test_a_short_training_detects():
    record = sw.train(
        "detect", Stages, data=scenes("detect", 96), epochs=12, batch=8, rate=1e-2, width=16, sizes=(16, 40)
    )
    assert record.metric == "mAP"
    assert record.figures["AP50"] > 0.6
    assert 0.2 < record.score < record.figures["AP50"]
    assert 0 < record.low < record.score < record.high < 1
    assert f"mAP {record.score:.1%} ({record.low:.1%} to {record.high:.1%}, measured on 16 pictures)" in str(record)
    assert record.figures["AP large"] is None  # no square is that large
    assert record.figures["AP small"] > 0.1
    assert record.figures["AP of red"] > 0.1


@pytest.mark.parametrize("strides", [(16,), (8, 16), (4, 8, 16), (2, 16), None])
def test_any_subset_of_the_strides_makes_levels(strides):
    net = Detect(levels=strides, width=8).network(Stages, Plan(), DATA)
    wanted = strides or (4, 8, 16)
    scores, sides, cells = net(torch.zeros(2, 3, SIZE, SIZE))
    count = sum((SIZE // s) ** 2 for s in wanted)
    assert scores.shape == (2, count, 2)
    assert sides.shape == (2, count, 4)
    assert sorted(set(cells[:, 2].tolist())) == list(wanted)
    assert (sides > 0).all()


def test_cells_lie_where_the_network_looks():
    """The centre of a cell is where the gradient of its map is centred."""
    found = levels(Stages(), (3, SIZE, SIZE))
    for stride, level in found.items():
        net = sw.features(Stages().eval(), [stride], input=(3, SIZE, SIZE))
        x = torch.zeros(1, 3, SIZE, SIZE, requires_grad=True)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(0.1)
        net(x)[0][0, :, 2, 2].sum().backward()
        rows = x.grad[0].abs().sum((0, 2)).nonzero()
        middle = (rows[0].item() + rows[-1].item() + 1) / 2
        if rows[0] > 0 and rows[-1] < SIZE - 1:
            assert level.centre[0] + 2 * stride[0] == middle


def test_a_plan_without_the_level_is_refused():
    finer = Plan(sites={"stages.3.0": Setting(stride=(1, 1), was=(2, 2))})
    with pytest.raises(PlanError, match="under this plan there is no map of stride 16: there are 2, 4, 8") as error:
        Detect(levels=(8, 16)).network(Stages, finer, DATA)
    assert "\n" not in str(error.value)


def test_a_box_goes_to_the_level_it_is_four_steps_of():
    strides = torch.tensor([4.0, 8.0, 16.0, 32.0])
    sides = torch.tensor([1.0, 16.0, 22.0, 23.0, 32.0, 64.0, 128.0, 5000.0])
    assert level_of(sides, strides).tolist() == [0, 0, 0, 1, 1, 2, 3, 3]
    assert level_of(sides, strides[3:]).tolist() == [0] * 8


def _cells(strides):
    rows = []
    for s in strides:
        at = torch.arange(SIZE // s) * s + s / 2
        y, x = torch.meshgrid(at, at, indexing="ij")
        rows.append(
            torch.stack([x.flatten(), y.flatten(), torch.full((y.numel(),), s), torch.full((y.numel(),), s)], 1)
        )
    return as_cells(torch.cat(rows).float())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_every_box_alone_has_a_cell_and_every_cell_its_own_box(data):
    strides = data.draw(st.sampled_from([(4,), (32,), (4, 8, 16), (2, 64)]))
    cells = _cells(strides)
    boxes = torch.full((1, 3, 5), -1.0)
    for row in range(data.draw(st.integers(0, 3))):
        x, y = data.draw(st.floats(0, 60)), data.draw(st.floats(0, 60))
        w, h = data.draw(st.floats(0.5, 64)), data.draw(st.floats(0.5, 64))
        boxes[0, row] = torch.tensor([x, y, min(x + w, 64), min(y + h, 64), 1.0])
    for row in range(3):
        alone = boxes.clone()
        alone[0, [r for r in range(3) if r != row], 4] = -1
        found = assigned(cells, alone)[0]
        there = bool(boxes[0, row, 4] >= 0)
        assert (found == row).any() == there
        assert ((found == row) | (found == -1)).all()
        if there:
            side = (boxes[0, row, 2:4] - boxes[0, row, :2]).prod().sqrt()
            stride = sorted(strides)[level_of(side, torch.tensor(sorted(strides)).float())]
            assert set(cells.step[found == row][:, 0].tolist()) == {stride}
    together = assigned(cells, boxes)[0]
    assert set(together.tolist()) - {-1} <= {r for r in range(3) if boxes[0, r, 4] >= 0}


def test_the_smaller_of_two_boxes_wins_a_cell_but_leaves_the_other_one():
    cells = Cells(centre=torch.tensor([[8.0, 8.0], [24.0, 8.0]]), step=torch.full((2, 2), 16.0))
    boxes = torch.tensor([[[0, 0, 16, 16, 0], [4, 4, 12, 12, 1.0], [0, 0, 32, 16, 1]]])
    assert assigned(cells, boxes)[0].tolist() == [1, 2]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_overlaps_equal_torchmetrics(count, seed):
    from stridewise.models.zoo import declare_missing_ops

    declare_missing_ops()
    from torchvision.ops import box_iou, generalized_box_iou

    generator = torch.Generator().manual_seed(seed)
    first, second = (
        torch.cat([at, at + torch.rand(count, 2, generator=generator) * 40 + 0.5], 1)
        for at in torch.rand(2, count, 2, generator=generator) * 60
    )
    shared, giou = pair_overlaps(first, second)
    assert torch.allclose(shared, box_iou(first, second).diagonal(), atol=1e-5)
    assert torch.allclose(giou, generalized_box_iou(first, second).diagonal(), atol=1e-5)


def test_sides_and_boxes_are_the_same_thing():
    cells = torch.tensor([[10.0, 20.0, 8.0, 8.0]])
    assert corners(cells, torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])).tolist() == [[[9.0, 18.0, 13.0, 24.0]]]
    right = quality_focal(torch.tensor([20.0, -20.0]), torch.tensor([1.0, 0.0]))
    assert right.max() < 1e-6
    assert quality_focal(torch.tensor([-5.0]), torch.tensor([1.0])).item() > 4


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_boxes_are_kept_apart_as_torchvision_does(count, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (count, 2))], 1)
    labels = rng.integers(0, 2, count)
    kept = kept_apart(boxes, labels)
    for row in range(count):  # the definition, box by box
        rivals = [k for k in kept if k < row and labels[k] == labels[row]]
        apart = all(_iou(boxes[k], boxes[row]) < 0.6 for k in rivals)
        assert (row in kept) == apart


def _iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _drawn_boxes(rng, pictures, classes):
    """True boxes of every picture, and two found for each of them, some of another class."""
    truth, said = [], []
    for _ in range(pictures):
        at = rng.uniform(0, 100, (rng.integers(0, 6), 2))
        true = np.concatenate([at, at + rng.uniform(4, 130, at.shape)], 1)
        moved = np.repeat(true, 2, 0) + rng.normal(0, 3, (2 * len(true), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        truth.append((true.tolist(), rng.integers(0, classes, len(true)).tolist()))
        said.append((moved.tolist(), rng.integers(0, classes, len(moved)).tolist(), rng.random(len(moved)).tolist()))
    return truth, said


def _by_pycocotools(truth, said, classes, ignored=()):
    """What pycocotools says: mAP, AP50, AP75, AP of small, medium, large; None where nothing was found."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known, results = COCO(), []
    known.dataset = {"images": [{"id": i + 1} for i in range(len(truth))], "annotations": []}
    known.dataset["categories"] = [{"id": k + 1} for k in range(classes)]
    crowds = ignored or [([], [])] * len(truth)
    for i, ((boxes, kinds), crowd, (seen, labels, scores)) in enumerate(zip(truth, crowds, said, strict=True), 1):
        for box, kind, hidden in [(*row, 0) for row in zip(boxes, kinds, strict=True)] + [
            (*row, 1) for row in zip(*crowd, strict=True)
        ]:
            wide = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            entry = {"id": len(known.dataset["annotations"]) + 1, "image_id": i, "category_id": kind + 1}
            known.dataset["annotations"].append({**entry, "bbox": wide, "area": wide[2] * wide[3], "iscrowd": hidden})
        for box, kind, score in zip(seen, labels, scores, strict=True):
            wide = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append({"image_id": i, "category_id": kind + 1, "bbox": wide, "score": score})
    if not results:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        known.createIndex()
        judge = COCOeval(known, known.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[:6]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_average_precision_equals_pycocotools(pictures, classes, seed):
    """Also where some regions are to be ignored."""
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(seed)
    truth, said = _drawn_boxes(rng, pictures, classes)
    ignored = _drawn_boxes(rng, pictures, classes)[0] if seed % 2 else []
    found = average_precisions(truth, said, [str(i) for i in range(classes)], ignored=ignored)
    expected = _by_pycocotools(truth, said, classes, ignored)
    if expected is None:
        assert all(value is None for value in found.values())
        return
    names = ("mAP", "AP50", "AP75", "AP small", "AP medium", "AP large")
    for name, value in zip(names, expected, strict=True):
        assert found[name] == pytest.approx(value, abs=1e-9) if value > -1 else found[name] is None


def test_pictures_drawn_again_are_judged_as_pycocotools_would_judge_them():
    """Whole data sets of redrawn pictures, evaluated from the start by the oracle."""
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(4)
    truth, said = _drawn_boxes(rng, 7, 2)
    picked = np.vstack([np.arange(7), rng.integers(7, size=(12, 7))])
    found = redrawn(truth, said, ["a", "b"], picked)
    for pictures, value in zip(picked, found, strict=True):
        expected = _by_pycocotools([truth[i] for i in pictures], [said[i] for i in pictures], 2)
        assert value == pytest.approx(expected[0], abs=1e-9)
    assert len(set(found.tolist())) > 10
    assert np.isnan(redrawn([truth[0], ([], [])], [said[0], ([], [], [])], ["a", "b"], np.array([[1, 1]]))).all()


def test_the_interval_of_map_covers_the_truth():
    """Samples of 100 pictures from a known population. The percentile interval, which mAP's bias moves upwards, holds
    its mAP in six of ten such trials."""
    rng = np.random.default_rng(0)
    truth, said = _drawn_boxes(rng, 2000, 3)
    population = average_precisions(truth, said, ["a", "b", "c"])["mAP"]
    held, lengths = [], []
    for trial in range(40):
        chosen = rng.integers(len(truth), size=100)
        sample = [truth[i] for i in chosen], [said[i] for i in chosen]
        low, high = interval(*sample, ["a", "b", "c"], draws=100, seed=trial)
        held.append(low <= population <= high)
        lengths.append(high - low)
    assert np.mean(held) >= 0.8
    assert 0.03 < np.mean(lengths) < 0.09  # the samples' mAP scatter by 0.017, so 0.07 is due
    assert interval(truth[:1], said[:1], ["a", "b", "c"]) == (None, None)


def test_finding_nothing_is_worth_nothing_and_no_objects_nothing_known():
    truth = [([[0.0, 0.0, 10.0, 10.0]], [0])]
    assert average_precisions(truth, [([], [], [])], ["a"])["mAP"] == 0
    assert average_precisions([([], [])], [([], [], [])], ["a"])["mAP"] is None


def test_data_without_boxes_and_wrong_levels_are_refused():
    data = scenes("detect", 8, 4)
    empty = tuple(replace(s, boxes=None) for s in data.splits["train"])
    with pytest.raises(DataError, match="not every picture has boxes"):
        sw.train("detect", Stages, data=replace(data, splits={**data.splits, "train": empty}))
    for options in ({"levels": (1, 8)}, {"levels": (128,)}, {"sizes": (9, 3)}, {"width": 0}):
        with pytest.raises(UsageError, match="detect"):
            sw.train("detect", Stages, data=data, **options)


def test_nothing_is_learnt_inside_a_region_to_ignore():
    """Of its class, that is; a box that lies in it is learnt, and so is every other class."""
    centre = torch.tensor([[x + 0.5, y + 0.5] for y in range(0, 32, 8) for x in range(0, 32, 8)])
    cells = torch.cat([centre, torch.full((16, 2), 8.0)], 1)
    boxes = torch.tensor([[[0.0, 0, 31, 31, 0], [0, 0, 20, 20, -2], [0, 0, 0, 0, -1]]])
    scores = torch.randn(1, 16, 2, requires_grad=True)
    detection_loss(scores, torch.ones(1, 16, 4), cells, boxes).backward()
    asked = assigned(as_cells(cells), boxes)[0] == 0
    inside = (centre < 20).all(1)
    assert (inside & asked).any()
    assert (inside & ~asked).any()
    learnt = scores.grad[0].abs() > 0
    assert (learnt[:, 0] == (asked | ~inside)).all()
    assert learnt[:, 1].all()


def test_regions_to_ignore_reach_the_score(tmp_path):
    crowd = Boxes(corners=np.array([[0.0, 0, 60, 60]]), classes=np.array([0]))
    data = scenes("detect", 8)
    part = tuple(replace(s, boxes=replace(s.boxes, ignored=crowd)) for s in data.splits["val"])
    pictures = Detect().read(replace(data, splits={**data.splits, "val": part}), None).held_out
    truth, ignored = truth_of(pictures)
    assert ignored == [([[0.0, 0.0, 60.0, 60.0]], [0])] * len(part)
    assert [len(kinds) for _, kinds in truth] == [len(s.boxes) for s in part]
