"""The walk as SVG and GIF: as many steps as cells, each window where it belongs, each cell in its colour."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import stridewise as sw
from stridewise.cli import main
from stridewise.convolution import slides, walking

SVG = "{http://www.w3.org/2000/svg}"
PICTURE = np.arange(48).reshape(6, 8) / 47


def test_every_step_has_its_window_and_its_sum():
    (one,) = slides(PICTURE, "box", strides=[(1, 2)], padding=1)
    (walk,) = walking.walks([one])
    steps = list(one.steps())
    assert (len(walk.windows), walk.shape) == (24, (6, 4))
    assert walk.values == pytest.approx([step.value for step in steps])
    for (top, left, high, wide), step in zip(walk.windows, steps, strict=True):
        assert (top - 1, left - 1) == step.begin
        assert (top - 1 + high, left - 1 + wide) == step.stop
    # The box keeps brightness: black to white as in the picture, cell by cell.
    shades = [int(colour[1:3], 16) for colour in walk.cells]
    assert shades == pytest.approx([255 * value for value in walk.values], abs=1)
    assert [int(c[1:3], 16) for c in walk.input[1][1:9]] == pytest.approx(255 * PICTURE[0], abs=1)


def test_the_svg_is_plain_and_moves_by_itself():
    found = slides(PICTURE, "sobel-x", strides=[1, 2])
    tree = ElementTree.fromstring(walking.svg(found))
    kinds = {element.tag.removeprefix(SVG) for element in tree.iter()}
    assert kinds == {"svg", "g", "rect", "text", "title", "style", "animate"}
    moved = [e for e in tree.iter(f"{SVG}animate") if e.get("attributeName") == "x"]
    assert [len(e.get("values").split(";")) for e in moved] == [24, 6]
    for element in tree.iter(f"{SVG}animate"):
        values, times = element.get("values").split(";"), [float(t) for t in element.get("keyTimes").split(";")]
        assert len(values) == len(times)
        assert times[0] == 0
        assert times == sorted(times)
        assert times[-1] < 1
    assert "prefers-color-scheme:dark" in walking.svg(found)


def test_the_gif_has_a_frame_a_step():
    image = Image.open(io.BytesIO(walking.gif(slides(PICTURE, "sobel-x", strides=[1, 2]))))
    assert image.n_frames == 24  # two more that are the same as the last make it stay
    assert image.info["duration"] == 400


def test_of_a_large_picture_a_detail_is_walked_over():
    large = np.random.default_rng(0).random((300, 400))
    (walk,) = walking.walks(slides(large, "gaussian:5", strides=[4]))
    assert walk.shape == (6, 8)
    assert (len(walk.input), len(walk.input[0])) == (5 * 4 + 5, 7 * 4 + 5)


@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<svg"), ("gif", b"GIF89a"), ("png", b"\x89PNG")])
def test_the_ending_of_the_name_chooses_the_form(tmp_path, capsys, ending, begins):
    path = tmp_path / f"walk.{ending}"
    with pytest.raises(SystemExit) as stop:
        main(["slide", "builtin:digit", "-o", str(path)])
    assert stop.value.code == 0
    assert path.read_bytes().startswith(begins)
    assert capsys.readouterr().err == f"wrote {path}\n"


def test_a_form_that_is_not_known_is_told(tmp_path, refused):
    code, err = refused("slide", "builtin:digit", "-o", tmp_path / "walk.jpg")
    assert code == 2
    assert "no format '.jpg': name a .png, .svg or .gif, or a folder" in err
    assert not list(tmp_path.iterdir())


def test_a_slide_has_a_picture_in_a_notebook_and_as_a_figure():
    one = sw.slide(PICTURE, "box", stride=2)
    assert re.search(r'<img alt="[^"]+" src="data:image/png;base64,', one._repr_html_())
    assert len(sw.figure(one).axes) == 1
