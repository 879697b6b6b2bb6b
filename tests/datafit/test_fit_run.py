"""From a data set to a result, its text, JSON, page and findings, and the command that prints them."""

import doctest
import errno
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stridewise.cli
from stridewise.data import Boxes, Dataset, Mask, Picture, Report, Sample, digit_scenes, digits
from stridewise.datafit import FitResult, Limits, findings, fit, stride_set
from stridewise.datafit.tables import tables
from stridewise.errors import DataError, UsageError
from stridewise.report.values import plain

NASTY = "<script>alert('&')</script>"


def boxed(corners: list[list[float]], size: tuple[int, int] = (64, 64), name: str = "a") -> Sample:
    boxes = Boxes(corners=np.array(corners, float).reshape(-1, 4), classes=np.arange(len(corners)) % 2)
    return Sample(picture=Picture(name=name, source=np.zeros((*size, 3), np.uint8)), size=size, boxes=boxes)


def dataset_of(*samples: Sample, task: str = "detect", name: str = "set") -> Dataset:
    return Dataset(
        task=task,  # type: ignore[arg-type]
        name=name,
        classes=("cat", "dog"),
        splits={"train": samples},
        report=Report(found=len(samples), kept=len(samples)),
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    pytest.importorskip("sklearn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRIDEWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return digit_scenes(train=60, val=20)


def test_the_recommendation_is_the_coarsest_set_within_the_limits() -> None:
    eight = [[x, y, x + 16, y + 16] for x in (0, 20.5, 41) for y in (0, 20.5, 41)]
    data = dataset_of(boxed(eight))
    assert fit(data).recommended == stride_set("8,16,32")
    assert fit(data, limits=Limits(cells=1)).recommended == stride_set("16,32")
    assert fit(data, limits=Limits(cells=0, reachable=0.0)).recommended == stride_set("32")
    assert fit(data, limits=Limits(cells=50)).recommended is None
    assert "enlarge the pictures" in str(fit(data, limits=Limits(cells=50)))
    assert fit(data, resize=(256, 256)).recommended == stride_set("32")
    assert fit(data, resize=(256, 64)).recommended == stride_set("16,32")
    # of two sets with the same finest stride, the one with fewer cells
    assert fit(data, strides=["8,16", "8", "4"]).recommended == stride_set("8")


def test_a_resize_moves_boxes_as_it_moves_pixels() -> None:
    data = dataset_of(boxed([[8, 4, 40, 12]]))
    doubled = dataset_of(boxed([[16, 12, 80, 36]], size=(192, 128)))
    small, large = fit(data, resize=(192, 128), strides="8"), fit(doubled, strides="8")
    assert plain(small.rows[0]) == plain(large.rows[0])
    assert small.picture_size == (192, 128)


def test_results_are_plain_values(scenes: Dataset) -> None:
    result = fit(scenes, receptive_field=40)
    table = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert table["schema"] == "stridewise.fit/1"
    assert [entry["strides"][0] for entry in table["sets"]] == [[32, 32], [16, 16], [8, 8], [4, 4]]
    assert table["receptive_field"] == [40, 40]
    assert table["objects"] == sum(table["sizes"]["histogram"]["counts"])
    assert table["objects"] == sum(figures["objects"] for figures in table["sets"][0]["classes"])
    reach = [entry["overall"]["reachable"] for entry in table["sets"]]
    assert reach == sorted(reach)
    assert [entry["strides"] for entry in table["singles"]] == [[[32, 32]], [[16, 16]], [[8, 8]], [[4, 4]]]
    with pytest.raises(AttributeError):
        result.task = "segment"  # type: ignore[misc]


def test_masks_are_judged_stride_by_stride(scenes: Dataset) -> None:
    pytest.importorskip("scipy")
    segment = Dataset(task="segment", name="s", classes=("background", *scenes.classes), splits=scenes.splits)
    result = fit(segment, split="val", strides=(1, 4, 8))
    assert [row.strides for row in result.rows] == [((8, 8),), ((4, 4),), ((1, 1),)]
    assert [plain(row)["miou"] for row in result.rows][-1] == 1.0
    assert result.recommended == ((1, 1),)
    assert result.pictures == 20
    (finding,) = findings(result, (4, 8))
    assert finding.severity == "warning"
    assert "rounded labels keep a mean IoU of" in finding.message
    assert findings(result, (1, 8))[0].severity == "info"


def test_pictures_are_judged_by_their_spectrum() -> None:
    pytest.importorskip("sklearn")
    result = fit(digits(train=30, val=10))
    kept = [row.overall.kept for row in result.rows]  # type: ignore[union-attr]
    assert [row.strides[0][0] for row in result.rows] == [32, 16, 8, 4, 2]
    assert kept == sorted(kept)
    assert findings(result, (8,)) == ()
    assert "energy kept" in str(result)


def test_findings_name_what_is_lost() -> None:
    data = dataset_of(boxed([[1, 1, 5, 5], [8, 8, 24, 24]]))
    result = fit(data, strides=["4,8", "8,16", "16"])
    (finding,) = findings(result, (8, 16))
    assert (finding.rule, finding.severity, finding.key) == ("SW301", "warning", "strides 8, 16")
    assert (
        finding.message
        == "the smallest 5 % of 2 objects contain 1 cell centre or fewer (2 wanted) at every output stride (8, 16)"
    )
    (finding,) = findings(result, "16")
    assert finding.message == "50.0 % of 2 objects contain no cell centre (1.0 % allowed) at every output stride (16)"
    relaxed = fit(data, strides="4,8", limits=Limits(cells=1))
    assert findings(relaxed, (4, 8)) == ()
    (finding,) = findings(fit(data, strides="2,16"), (2, 16))
    assert finding.severity == "info"
    assert "at the coarsest output stride, 16; a finer one keeps them" in finding.message
    with pytest.raises(UsageError, match="did not look at 2, 4"):
        findings(result, (2, 4))


def test_what_cannot_be_decoded_is_counted_and_named(tmp_path: Path) -> None:
    samples = []
    for number in range(3):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(picture=Picture(name=path.name, source=path), size=(40, 40), label=number % 2))
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[:-200])
    result = fit(dataset_of(*samples, task="classify"))
    assert result.pictures == 2
    assert "left out: 1 picture: truncated or broken (1.jpg)" in str(result)
    (tmp_path / "0.jpg").unlink()
    (tmp_path / "2.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"set: nothing is left to classify: .*the file is missing \(0\.jpg\)"):
        fit(dataset_of(*samples, task="classify"))
    masked = [
        Sample(picture=samples[0].picture, size=(4, 4), mask=Mask(name="m", source=np.zeros((4, 4), np.uint8))),
    ]
    with pytest.raises(DataError, match="nothing is left to segment"):
        fit(dataset_of(*masked, task="segment"), verify=True)


def test_no_boxes_is_an_error_not_a_table() -> None:
    with pytest.raises(DataError, match="no boxes in 1 pictures"):
        fit(dataset_of(boxed([])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": "0"}, "'0' is no stride"),
        ({"strides": [[]]}, "a stride set is empty"),
        ({"strides": [(8, 2.5)]}, "2.5 is no stride"),
        ({"resize": (0, 5)}, r"resize is \(0, 5\)"),
        ({"receptive_field": -3}, r"receptive_field is \(-3, -3\)"),
        ({"split": "dev"}, "no split 'dev'"),
        ({"task": "segment"}, "was read to detect, not to segment"),
    ],
)
def test_requests_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(dataset_of(boxed([[1, 1, 9, 9]])), **options)  # type: ignore[arg-type]


def test_the_page_stands_alone_and_escapes_names() -> None:
    data = dataset_of(boxed([[1, 1, 3, 3]], name=NASTY), name=NASTY)
    found = fit(Dataset(task="detect", name=NASTY, classes=(NASTY, "dog"), splits=data.splits))
    page = found.to_html()
    assert NASTY not in page
    assert page.count("<script") == 3  # the import map, the data, the start: no name became one
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert found._repr_html_() in page
    assert "<script" not in found._repr_html_()


def test_a_share_is_never_rounded_to_all_or_nothing() -> None:
    many = [[float(x), 0.0, x + 40.0, 40.0] for x in range(20)]
    data = dataset_of(
        *(boxed(many, size=(64, 64), name=str(n)) for n in range(100)), boxed([[0, 0, 2, 2]], name="tiny")
    )
    (main, *_) = tables(fit(data, strides="32"))
    assert main.rows[0][1] == "99.9 %"
    assert "32: most objects lost in tiny (1)" in str(fit(data, strides="32"))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        stridewise.cli.main(["fit", *arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def npz(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "p.npz", x=rng.integers(0, 256, (6, 24, 24, 3), dtype=np.uint8), y=[0, 1] * 3)
    return str(tmp_path / "p.npz")


def test_the_command_prints_text_json_and_page(npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--data", npz, "--strides", "2,4", "--html", str(tmp_path / "page.html")) == 0
    output = capsys.readouterr()
    assert output.out.startswith("p, classify: 6 pictures, 2 classes; median size 24x24")
    assert output.err.startswith("wrote ")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert run("--data", npz, "--resize", "12x24", "--json") == 0
    table = json.loads(capsys.readouterr().out)
    assert (table["task"], table["resize"]) == ("classify", [12, 24])


def test_the_command_fails_in_one_line(npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--data", str(tmp_path / "none")) == 1
    assert run("--data", npz, "--strides", "x") == 2
    assert run("--data", npz, "--html", str(tmp_path / "no" / "page.html")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: ") for line in lines)


def test_the_room_can_be_called_and_loads_no_torch(npz: str) -> None:
    code = (
        "import sys, stridewise.datafit, stridewise as sw, stridewise.data\n"
        f"print(type(sw.fit({npz!r}, strides=(2, 4))).__name__)\n"
        "print([name for name in ('torch', 'sklearn', 'scipy', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["FitResult", "[]"]


def test_progress_counts_to_the_end(npz: str) -> None:
    seen: list[tuple[int, int]] = []
    result = fit(npz, progress=lambda done, total: seen.append((done, total)))
    assert isinstance(result, FitResult)
    assert seen[-1] == (6, 6)
    assert len(seen) == 12  # once while reading, once while judging


def test_the_examples_in_docstrings_hold() -> None:
    outcome = doctest.testmod(importlib.import_module("stridewise.datafit.strides"))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_stride_sets_read_as_they_are_written() -> None:
    assert stride_set("16, 8x4,16") == ((8, 4), (16, 16))
    assert stride_set([(8, 16), 4]) == ((4, 4), (8, 16))
    assert fit(dataset_of(boxed([[0, 0, 30, 30]])), strides=[[(8, 16)]]).rows[0].strides == ((8, 16),)


@pytest.mark.parametrize(
    ("problem", "code"), [(OSError(errno.ENOSPC, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
@pytest.mark.parametrize("step", ["write_bytes", "replace"])
@pytest.mark.parametrize("before", [None, "an earlier page"])
def test_a_page_cut_short_leaves_no_part_of_it(
    npz: str, monkeypatch: pytest.MonkeyPatch, step: str, problem: BaseException, code: int, before: str | None
) -> None:
    page = Path(npz).with_name("page.html")
    if before:
        page.write_text(before)
    whole = Path.write_bytes

    def cut(place: Path, data: object) -> int:
        if step == "write_bytes":
            whole(place, bytes(data)[:100])  # type: ignore[call-overload]
        raise problem

    monkeypatch.setattr(Path, step, cut)
    assert run("--data", npz, "--strides", "2", "--html", str(page)) == code
    monkeypatch.undo()
    assert {path.name for path in page.parent.iterdir()} == {"p.npz", *([page.name] if before else [])}
    assert not before or page.read_text() == before
