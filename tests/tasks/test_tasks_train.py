"""A training learns, repeats itself, goes on after a stop, and says in one line why it cannot."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest
from task_nets import Exploding, Features, Small, gratings

import stridewise as sw
from stridewise.errors import DataError, LoadError, StridewiseError, UsageError
from stridewise.plans import Plan, Setting
from stridewise.tasks.backbone import build
from stridewise.tasks.classify import Classify
from stridewise.tasks.loop import share_of_rate
from stridewise.tasks.pictures import augmented
from stridewise.tasks.record import from_bits, to_bits, wilson

FINER = Plan(sites={"second": Setting(stride=(1, 1), was=(2, 2))})


def test_a_short_training_learns_far_above_chance():
    record = sw.train("classify", Small, data=gratings(), epochs=6, batch=32, rate=2e-2)
    assert record.accuracy > 0.9  # chance is 0.25
    assert 0.8 < record.low < record.accuracy <= record.high
    assert record.curve[-1].loss < record.curve[0].loss
    assert sum(record.correct) == round(record.accuracy * record.pictures)
    assert (record.pictures, record.steps, len(record.curve)) == (64, 6 * 8, 6)
    assert "measured on 64 pictures" in str(record)


def test_the_same_seed_gives_the_same_record_and_another_seed_another():
    runs = [sw.train("classify", Small, data=gratings(128, 64), epochs=2, batch=32, seed=seed) for seed in (3, 3, 4)]
    first, same, other = ([e.loss for e in run.curve] for run in runs)
    assert first == same
    assert runs[0].correct == runs[1].correct
    assert first != other


def test_a_training_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    sw.train("classify", Small, data=gratings(64, 32), epochs=1, batch=32)
    assert torch.equal(torch.rand(1), expected)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop_at", [5, 8, 11])
def test_a_stopped_training_goes_on_to_the_same_end(tmp_path, stop_at):
    def stop(done, total):
        if done == stop_at:
            raise StoppedError

    settings = {"data": gratings(128, 64), "epochs": 3, "batch": 32, "augment": ("shift", "flip")}
    whole = sw.train("classify", Small, **settings)
    with pytest.raises(StoppedError):
        sw.train("classify", Small, **settings, checkpoint=tmp_path / "c.ckpt", progress=stop)
    steps = []
    rest = sw.train(
        "classify", Small, **settings, checkpoint=tmp_path / "c.ckpt", progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == (stop_at - 1) // 4 * 4 + 1  # 4 steps an epoch: what a finished epoch did is not done again
    assert rest.curve == whole.curve
    assert rest.correct == whole.correct


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    data, kept = gratings(64, 32), tmp_path / "c.ckpt"
    sw.train("classify", Small, data=data, epochs=1, batch=32, checkpoint=kept)
    with pytest.raises(LoadError, match="another training"):
        sw.train("classify", Small, data=data, epochs=1, batch=32, seed=1, checkpoint=kept)
    with pytest.raises(LoadError, match="another training"):
        sw.train("classify", Small, data=data, epochs=1, batch=32, plan=FINER, checkpoint=kept)
    kept.write_bytes(b"not a checkpoint")
    with pytest.raises(LoadError, match="not a readable checkpoint"):
        sw.train("classify", Small, data=data, epochs=1, batch=32, checkpoint=kept)


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StridewiseError, match="the checkpoint cannot be written") as error:
        sw.train("classify", Small, data=gratings(64, 32), epochs=1, batch=32, checkpoint=tmp_path / "file" / "c.ckpt")
    assert "\n" not in str(error.value)
    with pytest.raises(StridewiseError, match="run folder cannot be made"):
        sw.train("classify", Small, data=gratings(64, 32), epochs=1, batch=32, run=tmp_path / "file")


def test_the_plan_is_carried_out_before_training():
    splits = Classify().read(gratings(64, 32))
    assert Classify().network(Small, FINER, splits).second.stride == (1, 1)
    assert Classify().network(Small, Plan(), splits).second.stride == (2, 2)
    record = sw.train("classify", Small, data=gratings(64, 32), plan=FINER, epochs=1, batch=32)
    assert record.plan == FINER


def test_a_map_at_the_end_is_pooled_and_a_named_model_gets_its_classes():
    splits = Classify().read(gratings(64, 32, classes=3))
    x = torch.zeros(2, *splits.shape)
    assert Classify().network(Features, Plan(), splits)(x).shape == (2, 3)
    assert Classify().network("builtin:resnet20-narrow", Plan(), splits).eval()(x).shape == (2, 3)


def test_named_zoo_models_and_files_get_their_classes(tmp_path):
    pytest.importorskip("timm")
    assert build("timm:resnet10t", 7).num_classes == 7
    source = tmp_path / "net.py"
    source.write_text(
        "from torch import nn\n"
        "def sized(classes): return nn.Sequential(nn.Conv2d(3, classes, 1))\n"
        "def fixed(): return nn.Sequential(nn.Conv2d(3, 5, 1))\n"
    )
    assert build(f"{source}:sized", 7)[0].out_channels == 7
    assert build(f"{source}:fixed", 7)[0].out_channels == 5


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"data": gratings(16, 8)}, DataError, "16 training pictures are fewer than a batch of 64"),
        ({"data": gratings(64, 8, classes=1)}, DataError, "of one class"),
        ({"data": replace(gratings(8, 8), splits={})}, DataError, "holds no pictures"),
        (
            {"data": replace(gratings(8, 8), splits={"train": (), "val": gratings(8, 8).splits["val"]})},
            DataError,
            "no pictures in 'train'",
        ),
        ({"model": Exploding}, StridewiseError, "the loss is not a number at step 1 of 8: lower the rate"),
        ({"model": lambda: Small(2)}, LoadError, "has 2 outputs, gratings has 4 classes"),
        ({"epochs": 0}, UsageError, "0 epochs"),
        ({"augment": ("spin",)}, UsageError, "no augmentation 'spin'"),
        ({"speed": 3}, UsageError, "classify: has no option 'speed'"),
        ({"device": "abacus"}, UsageError, "device 'abacus'"),
        ({"task": "sing"}, UsageError, "no task 'sing'"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(change, kind, said):
    call = {"task": "classify", "model": Small, "data": gratings(), "epochs": 2, **change}
    with pytest.raises(kind, match=said) as error:
        sw.train(call.pop("task"), call.pop("model"), **call)
    assert "\n" not in str(error.value)


def test_augmentation_moves_whole_pictures_and_keeps_their_values():
    generator = torch.Generator().manual_seed(0)
    x = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).reshape(2, 3, 16, 16)
    y = torch.zeros(2, dtype=torch.int64)
    moved, _ = augmented(x, y, ("shift",), generator)
    assert moved.shape == x.shape
    centre = moved[0, 0, 8, 8]
    rows, columns = (x[0, 0] == centre).nonzero()[0].tolist()
    assert abs(rows - 8) <= 2
    assert abs(columns - 8) <= 2
    for row in augmented(x, y, ("flip",), generator)[0]:
        assert any(torch.equal(row, candidate) for whole in x for candidate in (whole, whole.flip(-1)))


def test_bending_moves_pixels_by_a_smooth_draw_of_a_few_hundredths_of_the_size() -> None:
    """A picture whose grey level is the column says, bent, which column each pixel came from."""
    columns = torch.arange(64.0).expand(20, 1, 64, 64)
    bent, _ = augmented(columns, torch.zeros(20), ("bend",), torch.Generator().manual_seed(0))
    moved = (bent - columns)[..., 8:-8, 12:-12]  # the edge repeats
    assert 0.5 * 0.04 * 64 < moved.std() < 1.5 * 0.04 * 64
    assert moved.diff(dim=-1).abs().max() < 1.0  # smooth: nothing folds over
    assert moved[0].std() > 0.1
    assert not torch.equal(moved[0], moved[1])


def test_masks_are_not_bent_away_from_their_pictures() -> None:
    x, y = torch.rand(2, 3, 16, 16), torch.randint(0, 3, (2, 16, 16))
    same, target = augmented(x, y, ("scale", "bend"), torch.Generator().manual_seed(0))
    assert torch.equal(same, x)
    assert torch.equal(target, y)


def test_the_rate_rises_and_ends_near_zero():
    shares = [share_of_rate(step, 100) for step in range(100)]
    assert max(shares) == 1
    assert shares[0] == 0.1
    assert shares[-1] < 0.001
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert share_of_rate(0, 1) == 1


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (7, 10), (950, 1000)])
def test_the_interval_is_wilsons(successes, total):
    expected = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    assert wilson(successes, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 8, 13])
def test_bits_come_back(count):
    correct = tuple(i % 3 == 0 for i in range(count))
    assert from_bits(to_bits(correct), count) == correct
