"""Pictures in, feature maps, figures, JSON and drawings out."""

import base64
import doctest
import importlib
import io
import json
import pkgutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stridewise as sw
from stridewise import convolution
from stridewise.convolution import picture, read_picture, slides, to_json
from stridewise.convolution.panels import EMPTY, Frame, map_panel, scale_of, unread

GREY = np.random.default_rng(0).integers(0, 256, (21, 30), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (21, 30, 3), dtype=np.uint8)


def png(image, **options):
    file = io.BytesIO()
    image.save(file, format="PNG", **options)
    return file.getvalue()


# Pictures


def test_a_picture_is_the_same_from_a_file_its_bytes_an_image_and_an_array(tmp_path):
    (tmp_path / "p.png").write_bytes(png(Image.fromarray(COLOUR)))
    expected = COLOUR.transpose(2, 0, 1) / 255.0
    for source in (tmp_path / "p.png", str(tmp_path / "p.png"), png(Image.fromarray(COLOUR)), Image.fromarray(COLOUR)):
        np.testing.assert_array_equal(read_picture(source), expected)
    np.testing.assert_array_equal(read_picture(COLOUR), expected)
    np.testing.assert_array_equal(read_picture(COLOUR / 255.0), expected)
    np.testing.assert_array_equal(read_picture(Image.fromarray(GREY)), GREY[None] / 255.0)


def test_a_photograph_taken_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    found = read_picture(png(Image.fromarray(GREY), exif=exif))
    np.testing.assert_array_equal(found[0], np.rot90(GREY, -1) / 255.0)


def test_transparency_is_laid_on_white_and_sixteen_bits_keep_their_range():
    assert read_picture(Image.new("RGBA", (2, 2), (0, 0, 0, 0))).tolist() == np.ones((3, 2, 2)).tolist()
    deep = Image.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    assert read_picture(png(deep)).tolist() == [[[0.0, 1.0]]]
    assert read_picture(Image.new("1", (2, 1), 1)).tolist() == [[[1.0, 1.0]]]
    assert read_picture(Image.fromarray(GREY).convert("P")).shape == (3, 21, 30)


def test_luminance_is_pillows():
    found = sw.slide(COLOUR, "identity").feature_map[0] * 255
    np.testing.assert_allclose(found, np.asarray(Image.fromarray(COLOUR).convert("L")), atol=1.0)


@pytest.mark.parametrize(
    ("error", "words", "source"),
    [
        (sw.LoadError, "picture: not a picture: one of BMP, GIF, JPEG", b"not a picture"),
        (sw.LoadError, "picture: a broken picture", png(Image.fromarray(COLOUR))[:600]),
        (
            sw.LoadError,
            r"none\.png: No such file or directory: name a picture file or one of builtin:china",
            "none.png",
        ),
        (sw.UsageError, "picture 'builtin:cat' is unknown: take one of builtin:china", "builtin:cat"),
        (sw.DataError, r"picture \(3, 8, 8\): needed is \(rows, columns\)", np.zeros((3, 8, 8))),
        (sw.DataError, "2 of 4 values are not finite", [[np.nan, 1], [np.inf, 0]]),
        (sw.DataError, "neither a file, an image nor an array", [["a"]]),
        (sw.DataError, "neither a file, an image nor an array", [[1, 2], [3]]),
    ],
)
def test_what_is_no_picture_is_said_in_a_line(error, words, source):
    with pytest.raises(error, match=words) as caught:
        read_picture(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [5_100, 13_400])  # above our limit; above Pillow's own
def test_a_picture_too_large_to_decode_is_refused_before_it_is_decoded(side, monkeypatch):
    content = png(Image.new("1", (side, side)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(sw.LoadError, match="more than 25000000 pixels: take a smaller picture"):
        read_picture(content)


def test_a_file_too_large_to_read_is_refused(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(sw.LoadError, match=r"huge\.png: larger than 64 MiB"):
        read_picture(tmp_path / "huge.png")


def test_built_in_pictures_ship_with_the_core_and_are_those_of_scikit_learn(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    china, digit = datasets.load_sample_image("china.jpg"), datasets.load_digits().images[0]
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert np.array_equal(read_picture("builtin:china") * 255, np.moveaxis(china, 2, 0))
    assert np.array_equal(read_picture("builtin:digit")[0], digit / 16)
    assert read_picture("builtin:flower").shape == (3, 427, 640)


# Slides


def by_torch(pixels, weight, **setting):
    return torch.nn.functional.conv2d(torch.from_numpy(pixels), torch.from_numpy(weight), **setting).numpy()


def test_the_contract_of_the_readme():
    one = sw.slide(GREY, "sobel-x", stride=(1, 2), padding=1)
    sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]
    np.testing.assert_allclose(one.feature_map, by_torch(GREY[None] / 255, sobel, stride=(1, 2), padding=1), atol=1e-12)
    filled = np.full(one.feature_map.shape, np.nan)
    for step in one.steps():
        filled[step.cell] = step.value
    np.testing.assert_allclose(filled, one.feature_map, atol=1e-12)
    assert next(one.steps(start=37)).cell == (0, 2, 7)


def test_channels_are_convolved_on_their_own_or_as_luminance():
    weight = convolution.read_kernel("gaussian:3")[1]
    pixels = COLOUR.transpose(2, 0, 1) / 255
    each = sw.slide(COLOUR, "gaussian:3", stride=2, colour="channels")
    expected = by_torch(pixels, np.repeat(weight[None, None], 3, axis=0), stride=2, groups=3)
    np.testing.assert_allclose(each.feature_map, expected, atol=1e-12)
    assert sw.slide(COLOUR, "gaussian:3").feature_map.shape == (1, 19, 28)
    assert sw.slide(GREY, "gaussian:3", colour="channels").feature_map.shape == (1, 19, 28)


def test_a_networks_own_filters_read_what_they_were_made_for():
    filters = np.random.default_rng(2).normal(size=(4, 3, 5, 3))
    pixels = COLOUR.transpose(2, 0, 1) / 255
    expected = by_torch(pixels, filters, stride=(2, 1))
    np.testing.assert_allclose(sw.slide(COLOUR, filters, stride=(2, 1)).feature_map, expected, atol=1e-12)
    np.testing.assert_allclose(sw.slide(COLOUR, filters[1]).feature_map[0], by_torch(pixels, filters)[1], atol=1e-12)
    grey = np.repeat(GREY[None], 3, axis=0) / 255
    np.testing.assert_allclose(sw.slide(GREY, filters).feature_map, by_torch(grey, filters), atol=1e-12)
    assert sw.slide(COLOUR, filters[:, :1]).feature_map.shape == (4, 17, 28)


def test_what_it_costs_and_reads():
    one = sw.slide(GREY, "box", stride=(2, 4), padding=(1, 0))
    assert one.cost.macs == 11 * 7 * 9
    assert one.cost.stride_one == 21 * 28 * 9
    assert one.cost.ratio == Fraction(11 * 7, 21 * 28)
    assert one.cost.on_padding == 2 * 7 * 3  # the first and the last row of windows reach one row out
    assert one.read_coverage == Fraction(21, 30)  # of 30 columns 7 * 3, and every row
    assert one.formula == (
        "out = floor((21 + 2*1 - 1*(3-1) - 1) / 2) + 1 = 11, remainder 0",
        "out = floor((30 + 2*0 - 1*(3-1) - 1) / 4) + 1 = 7, remainder 3",
    )
    assert (
        "columns  out = floor((30 + 2*0 - 1*(3-1) - 1) / 4) + 1 = 7, remainder 3: the last 3 columns never read"
        in str(one)
    )


def test_coverage_is_what_a_mark_on_the_picture_shows():
    one = sw.slide(np.ones((10, 10)), np.ones((2, 2)), stride=3, dilation=2)
    read = np.zeros((10, 10), dtype=bool)
    for step in one.steps():
        read[step.begin[0] : step.stop[0] : 2, step.begin[1] : step.stop[1] : 2] = True
    assert one.read_coverage == Fraction(int(read.sum()), 100)


def test_a_slide_cannot_be_changed():
    one = sw.slide(GREY, "box")
    with pytest.raises(ValueError, match="read-only"):
        one.feature_map[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        one.kernel = "other"
    assert GREY.flags.writeable


def test_json_is_plain_and_complete():
    found = json.loads(json.dumps(to_json(slides(GREY, "sobel-y", strides=(1, (2, 3)), padding=((0, 1), 2)), steps=2)))
    assert found["schema"] == "stridewise.slide/1"
    assert found["input"] == [1, 21, 30]
    assert found["kernel"] == {"name": "sobel-y", "size": [3, 3], "weight": [[[[-1, -2, -1], [0, 0, 0], [1, 2, 1]]]]}
    second = found["slides"][1]
    assert second["stride"] == [2, 3]
    assert second["padding"] == [[0, 1], [2, 2]]
    assert second["out_size"] == [10, 11]
    assert second["macs"] == 10 * 11 * 9
    assert second["read_coverage"] == 1.0
    assert [step["cell"] for step in second["steps"]] == [[0, 0, 0], [0, 0, 1]]
    assert sw.slide(GREY, "sobel-y").to_json()["slides"][0]["stride"] == [1, 1]


@pytest.mark.parametrize(
    ("error", "words", "setting"),
    [
        (sw.UsageError, "stride 0 on axis 0", {"stride": 0}),
        (sw.UsageError, r"stride 1\.5 on axis 1", {"stride": (1, 1.5)}),
        (
            sw.GeometryError,
            r"stride 31 on the columns is larger than the picture, 30 columns padded by 0\+0: take at most 30",
            {"stride": (1, 31)},
        ),
        (
            sw.GeometryError,
            "axis 0: no window fits: the kernel spans 23 positions, the input has 21",
            {"kernel": "box:23"},
        ),
        (sw.GeometryError, r"kernel \(2, 4, 3, 3\): its filters read 4 channels", {"kernel": np.ones((2, 4, 3, 3))}),
        (sw.UsageError, "colour 'red': take luminance or channels", {"colour": "red"}),
    ],
)
def test_what_cannot_be_slid_is_said_in_a_line(error, words, setting):
    with pytest.raises(error, match=words):
        sw.slide(GREY, **{"kernel": "box", **setting})


# Drawings


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [("identity", (2, 3), 0), ("box:3", 2, 1), ("box:4", (1, 4), 0)]
)
def test_a_screen_pixel_shows_the_cell_whose_window_has_the_nearest_middle(kernel, stride, padding):
    one = sw.slide(np.random.default_rng(3).random((9, 10)), kernel, stride=stride, padding=padding)
    frame = Frame(begin=(-1, 0), stop=(9, 9), zoom=3)
    drawn = map_panel(one, scale_of([one], 0), frame, 0)
    nearest = []
    for at, axis in enumerate(one.axes):
        middles = np.array([axis.start(cell) + axis.span / 2 for cell in range(axis.out_size)])
        away = np.abs(frame.places(at)[:, None] - middles)
        nearest.append((away.argmin(axis=1), away.min(axis=1) < axis.stride / 2, away.min(axis=1) > axis.stride / 2))
    for row, column in np.ndindex(drawn.shape[:2]):
        found = [[part[at] for part in parts] for parts, at in zip(nearest, (row, column), strict=True)]
        cells, inside, outside = zip(*found, strict=True)
        if any(outside):
            assert drawn[row, column].tolist() == list(EMPTY)
        elif all(inside):
            assert drawn[row, column, 0] == pytest.approx(one.feature_map[(0, *cells)] * 255, abs=1)


def test_two_neighbouring_windows_are_marked_wherever_there_are_two():
    def blue(columns):
        image = np.asarray(picture([sw.slide(np.ones((20, columns)), "box:15", stride=5)]))
        return int((image == (0, 114, 178)).all(axis=-1).sum())

    assert blue(20) > blue(15) + 100  # with one window a row, only the legend is blue


def test_the_hatch_covers_exactly_what_is_not_read():
    one = sw.slide(GREY, "box:2", stride=(3, 4), padding=(0, 1))
    rows, columns = (axis.read() for axis in one.axes)
    frame = Frame(begin=(-1, -1), stop=(22, 31), zoom=1)
    expected = np.pad(~np.logical_and.outer(rows, columns), 1)
    np.testing.assert_array_equal(unread(one, frame), expected)
    assert expected.sum() == (1 - one.read_coverage) * 21 * 30


def test_all_strides_share_one_scale_with_zero_in_the_middle():
    pair = slides(GREY, "sobel-x", strides=(1, 4))
    scale = scale_of(pair, 0)
    assert -scale.low == scale.high == pytest.approx(np.quantile(np.abs(pair[0].feature_map), 0.995), rel=0.1)
    below, zero, above = scale.colour(np.array([scale.low, 0.0, scale.high])).astype(int)
    assert zero.min() > 240
    assert below[2] > below[0]  # blue
    assert above[0] > above[2]  # brown
    assert scale_of(slides(GREY, "gaussian"), 0).colour(np.array([0.0, 1.0])).tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("source", "kernel", "setting"),
    [
        (np.ones((1, 1)), "identity", {"strides": (1,)}),
        (np.random.default_rng(0).random((1, 400)), "identity", {"strides": ((1, 3),)}),
        (np.random.default_rng(0).random((300, 7)), "box:2", {"strides": (2,), "padding": "same"}),
        (np.zeros((40, 40)), "laplacian", {"strides": (1, 2), "dilation": 3}),
        (COLOUR, np.ones((2, 3, 4, 4)), {"strides": (1, 9)}),
    ],
)
def test_any_picture_can_be_drawn(source, kernel, setting):
    drawn = slides(source, kernel, **setting)
    image = picture(drawn, channel=len(drawn[0].feature_map) - 1, panel=200)
    assert image.mode == "RGB"
    assert image.width > 200 * len(drawn)
    assert len(image.getcolors(1 << 24)) > 10


def test_a_drawing_needs_slides_of_one_kind():
    with pytest.raises(sw.UsageError, match="no slides"):
        picture([])
    with pytest.raises(sw.UsageError, match="draw one kernel on one picture"):
        picture([sw.slide(GREY, "box"), sw.slide(GREY, "sobel-x")])
    with pytest.raises(sw.UsageError, match="channel 1: the feature map has channels 0 to 0"):
        picture([sw.slide(GREY, "box")], channel=1)


def test_a_notebook_shows_the_drawing_and_the_text():
    one = sw.slide(GREY, "box", stride=2)
    found = one._repr_html_()
    data = found.partition("base64,")[2].partition('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(data))).format == "PNG"
    assert "stride 2: 10 × 14" in found


# The room


def test_importing_the_room_loads_numpy_only():
    code = (
        "import sys, stridewise.convolution as c; c.slide([[1.0, 2.0]], 'identity'); import stridewise;"
        " own = {m.partition('.')[0] for m in sys.modules};"
        " print(sorted(own & {'PIL', 'torch', 'onnx', 'sklearn', 'click', 'rich', 'scipy', 'matplotlib'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    twin = subprocess.run(
        [sys.executable, "-c", "import PIL; " + code], capture_output=True, text=True, check=True
    )  # the same check can fail
    assert twin.stdout.strip() == "['PIL']"


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules(convolution.__path__)])
def test_the_docstring_examples_run(name):
    assert doctest.testmod(importlib.import_module(f"stridewise.convolution.{name}")).failed == 0


def test_the_page_of_the_manual_runs():
    page = Path(__file__).parents[2] / "docs" / "convolution.md"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted > 5
    assert found.failed == 0
