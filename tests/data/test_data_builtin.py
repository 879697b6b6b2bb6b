"""Built-in data: the same pixels every time, nothing in both splits, kept in the cache, and worth looking at."""

from pathlib import Path

import numpy as np
import pytest

from stridewise.data import builtin, digit_scenes, digits, hold_out, open_dataset
from stridewise.data.scans import sources
from stridewise.errors import UsageError

pytest.importorskip("sklearn")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STRIDEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_digits_are_the_same_every_time(fresh: Path) -> None:
    first = digits(train=40, val=20).arrays("train")
    again = digits(train=40, val=20).arrays("train")
    (file,) = fresh.iterdir()
    file.unlink()
    made_anew = digits(train=40, val=20).arrays("train")
    for other in (again, made_anew):
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])
    assert first[0].shape == (40, 32, 32, 3)
    assert first[1].dtype == np.int64
    assert (digits(train=40, val=20, seed=1).arrays("train")[0] != first[0]).any()


def test_no_scan_and_no_photograph_is_in_both_splits() -> None:
    train, val = sources("train"), sources("val")
    scans = [{ink.tobytes() for ink in part.ink} for part in (train, val)]
    assert not scans[0] & scans[1]
    assert len(train.ink) + len(val.ink) == 1797
    rows = [{row.tobytes() for image in part.photographs for row in image[::7, :, 0]} for part in (train, val)]
    assert not rows[0] & rows[1]
    widths = [part.photographs[0].shape[1] for part in (train, val)]
    assert sum(widths) == 640
    made = builtin._made({"train": 30, "val": 30}, 0, lambda part, n, rng: builtin._digits(part, n, 32, rng))
    for split, part in (("train", train), ("val", val)):
        np.testing.assert_array_equal(made[f"{split}_y"], part.digits[made[f"{split}_scan"]])


def test_every_class_is_there_and_scales_and_places_vary() -> None:
    dataset = digits(train=400, val=100)
    x, y = dataset.arrays("train")
    assert np.bincount(y, minlength=10).min() >= 25
    assert x.std(axis=0).min() > 20  # no pixel is the same everywhere
    assert dataset.classes == tuple("0123456789")


def test_scenes_have_boxes_around_what_the_mask_marks() -> None:
    dataset = digit_scenes(train=30, val=10, size=64)
    heights = []
    for sample in dataset.samples:
        assert sample.mask is not None
        assert sample.boxes is not None
        mask = sample.mask.load()
        seen = np.zeros_like(mask, bool)
        for (x0, y0, x1, y1), digit in zip(sample.boxes.corners.astype(int), sample.boxes.classes, strict=True):
            own = mask[y0:y1, x0:x1] == digit + 1
            for axis in (0, 1):  # the box is tight
                assert own.any(axis=axis)[[0, -1]].all()
            seen[y0:y1, x0:x1] |= own
            heights.append(y1 - y0)
        np.testing.assert_array_equal(seen, mask > 0)
    assert min(heights) < 10
    assert 30 < max(heights) <= 48


def test_the_task_of_scenes_names_the_classes() -> None:
    detect = digit_scenes(train=2, val=1, size=64)
    segment = digit_scenes(train=2, val=1, size=64, task="segment")
    assert len(detect.classes) == 10
    assert segment.classes[0] == "background"
    assert int(segment.mask_arrays("train")[1].max()) < len(segment.classes) == 11
    x, boxes = detect.box_arrays("train")
    assert len(x) == len(boxes) == 2


def test_a_broken_or_unwritable_cache_does_no_harm(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"x": np.arange(3)}

    assert builtin.cached("a", make)["x"].tolist() == [0, 1, 2]
    assert builtin.cached("a", make)["x"].tolist() == [0, 1, 2]
    assert len(made) == 1
    assert [p.name for p in fresh.iterdir()] == ["a.npz"]
    whole = (fresh / "a.npz").read_bytes()
    for broken in (b"", b"junk", whole[:50], whole[:-30]):
        (fresh / "a.npz").write_bytes(broken)
        assert builtin.cached("a", make)["x"].tolist() == [0, 1, 2]
    assert len(made) == 5
    (fresh / "file").write_text("")
    monkeypatch.setenv("STRIDEWISE_CACHE", str(fresh / "file" / "inside"))
    assert builtin.cached("a", make)["x"].tolist() == [0, 1, 2]


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STRIDEWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert builtin.cache_folder() == tmp_path / "stridewise"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert builtin.cache_folder().parts[-2:] == (".cache", "stridewise")


def test_sizes_and_tasks_outside_the_range_are_refused() -> None:
    with pytest.raises(UsageError, match="size 8 is outside 16 to 128"):
        digits(size=8)
    with pytest.raises(UsageError, match="each split needs at least one"):
        digit_scenes(val=0)
    with pytest.raises(UsageError, match="builtin:digits is for classify"):
        digit_scenes(task="classify")
    with pytest.raises(UsageError, match=r"serves detect and segment, not classify: give another task or other data$"):
        open_dataset("builtin:digit-scenes", "classify")


def test_hold_out_cuts_every_class_and_nothing_twice() -> None:
    dataset = digits(train=100, val=10)
    flat = type(dataset)(task="classify", name="flat", classes=dataset.classes, splits={"all": dataset.splits["train"]})
    cut = hold_out(flat, share=0.3, seed=1)
    names = [{s.name for s in cut.splits[part]} for part in ("train", "val")]
    assert not names[0] & names[1]
    assert len(names[0]) + len(names[1]) == 100
    counts = [np.bincount([s.label or 0 for s in part], minlength=10) for part in (cut.samples, cut.splits["val"])]
    np.testing.assert_array_equal(counts[1], np.round(0.3 * counts[0]))
    with pytest.raises(UsageError, match="already has splits"):
        hold_out(cut)
