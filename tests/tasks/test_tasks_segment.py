"""Segmentation: heads on maps found by stride, learnt and judged at the labels' own size; mIoU equals torchmetrics'."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from task_scenes import SIZE, Stages, scenes

import stridewise as sw
from stridewise.data import IGNORE, Mask
from stridewise.errors import DataError, PlanError, UsageError
from stridewise.plans import Plan, Setting
from stridewise.tasks.segment import Overlap, Segment
from stridewise.tasks.segment_heads import atrous_rates
from stridewise.tasks.trained import Described

DATA = Described(name="squares", classes=("ground", "red", "green"), shape=(3, SIZE, SIZE))


@pytest.mark.parametrize("head", ["atrous", "decoder"])
def test_a_short_training_segments(head):
    record = sw.train(
        "segment", Stages, data=scenes("segment"), epochs=12, batch=8, rate=1e-2, head=head, width=16, seed=1
    )
    assert record.metric == "mean IoU"
    assert record.score > {"atrous": 0.5, "decoder": 0.8}[head]  # the ground alone is 0.28
    assert record.low < record.score < record.high
    assert 0 < record.figures["boundary F"] <= 1
    assert [k for k in record.figures if k.startswith("IoU")] == ["IoU ground", "IoU red", "IoU green"]


def test_heads_read_the_strides_the_plan_leaves():
    finer = Plan(sites={"stages.3.0": Setting(stride=(1, 1), was=(2, 2))})
    for plan, strides in ((Plan(), (4, 8, 16)), (finer, (4, 8))):
        assert Segment().network(Stages, plan, DATA).features.strides == tuple((s, s) for s in strides)
        atrous = Segment(head="atrous").network(Stages, plan, DATA)
        assert atrous.features.strides == ((strides[-1], strides[-1]),)
        x = torch.zeros(1, 3, SIZE, SIZE)
        assert atrous(x).shape == (1, 3, SIZE, SIZE)
    assert Segment(levels=(2, 16)).network(Stages, Plan(), DATA).features.strides == ((2, 2), (16, 16))


def test_steps_may_differ_by_axis():
    plan = Plan(sites={"stages.3.0": Setting(stride=(1, 2), was=(2, 2))})
    net = Segment().network(Stages, plan, DATA)
    assert net.features.strides == ((4, 4), (8, 8), (8, 16))
    assert net(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 3, SIZE, SIZE)


def test_dilations_reach_as_far_whatever_the_stride():
    assert atrous_rates((16, 16), (512, 512)) == ((6, 6), (12, 12), (18, 18))
    assert atrous_rates((8, 16), (512, 512)) == ((12, 6), (24, 12), (36, 18))
    assert min(min(r) for r in atrous_rates((32, 32), (32, 32))) == 1


def test_a_plan_that_cannot_serve_the_head_is_refused_in_one_line():
    coarse = Plan(sites={"stages.0.0": Setting(stride=(8, 8), was=(2, 2))})
    with pytest.raises(PlanError, match=r"atrous head wants 2 positions or more .* stride 64 leaves 1x1 of 64x64"):
        Segment(head="atrous").network(Stages, coarse, DATA)
    with pytest.raises(PlanError, match="no map of stride 32: there are 2, 4, 8, 16") as error:
        Segment(levels=(8, 32)).network(Stages, Plan(), DATA)
    assert "\n" not in str(error.value)
    with pytest.raises(PlanError, match="two strides or more together; there is 8 alone"):
        Segment(levels=(8,)).network(Stages, Plan(), DATA)


@pytest.mark.parametrize(
    "options", [{"head": "hydra"}, {"width": 0}, {"levels": ()}, {"levels": (4, 8), "head": "atrous"}, {"colour": 1}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(UsageError, match="segment"):
        sw.train("segment", Stages, data=scenes("segment", 8, 4), **options)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_mean_iou_equals_torchmetrics(classes, pictures, seed):
    from stridewise.models.zoo import declare_missing_ops

    declare_missing_ops()
    from torchmetrics.classification import MulticlassJaccardIndex

    rng = np.random.default_rng(seed)
    overlap = Overlap([str(i) for i in range(classes)], boundaries=False)
    oracle = MulticlassJaccardIndex(num_classes=classes, ignore_index=IGNORE, average="none")
    counted = np.zeros(classes, bool)
    for _ in range(pictures):
        true = rng.integers(0, classes, (7, 9)).astype(np.uint8)
        said = np.where(rng.random((7, 9)) < 0.6, true, rng.integers(0, classes, (7, 9))).astype(np.uint8)
        true[rng.random((7, 9)) < 0.2] = IGNORE
        overlap.add(true, said)
        oracle.update(torch.from_numpy(said).long()[None], torch.from_numpy(true).long()[None])
        seen = true != IGNORE
        counted |= np.bincount(np.concatenate([true[seen], said[seen]]), minlength=classes) > 0
    found, expected = overlap.evaluation(), oracle.compute().numpy()
    assert found.score == pytest.approx(expected[counted].mean(), abs=1e-6)
    for number in range(classes):
        value = found.figures[f"IoU {number}"]
        assert value == pytest.approx(expected[number], abs=1e-6) if counted[number] else value is None


def test_labels_are_judged_at_their_own_size():
    data = scenes("segment", 16, 4)
    splits = Segment().read(data, (32, 32))
    assert splits.held_out.y.shape[1:] == (32, 32)
    assert {m.shape for m in splits.held_out.full} == {(SIZE, SIZE)}

    class Oracle(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(splits.held_out.y.long(), 3).permute(0, 3, 1, 2).float()

    # The right labels at half the size are not quite right at the whole one.
    found = Segment().evaluate(Oracle(), splits.held_out, "cpu", thorough=True)
    assert 0.8 < found.score < 1


def test_masks_that_cannot_be_learnt_are_said_in_one_line():
    data = scenes("segment", 8, 4)
    void = tuple(
        replace(s, mask=Mask(name=s.name, source=np.full((SIZE, SIZE), IGNORE, np.uint8))) for s in data.splits["train"]
    )
    with pytest.raises(DataError, match="no pixel of the training masks belongs to a class"):
        sw.train("segment", Stages, data=replace(data, splits={**data.splits, "train": void}))
    with pytest.raises(DataError, match="hold one class"):
        sw.train("segment", Stages, data=replace(data, classes=("ground",)))
    ragged = replace(data.splits["train"][0], size=(32, 32))
    with pytest.raises(DataError, match="pictures of 2 sizes: name one"):
        sw.train("segment", Stages, data=replace(data, splits={**data.splits, "train": (ragged, *void)}))
