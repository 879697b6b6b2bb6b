"""What each named kernel is known for, and kernels as people write them."""

import numpy as np
import pytest

from stridewise.convolution import NAMED, convolve, kernel_names, read_kernel
from stridewise.errors import LoadError, StridewiseError, UsageError


def response(source, picture):
    return convolve(np.asarray(picture, dtype=float)[None], read_kernel(source)[1][None, None])[0]


RAMP = np.add.outer(2.0 * np.arange(12), 5.0 * np.arange(12))  # 2 a row downwards, 5 a column to the right
FLAT = np.full((12, 12), 3.0)


@pytest.mark.parametrize("source", ["identity", "identity:5", "box", "box:4", "gaussian", "gaussian:7", "sharpen"])
def test_kernels_that_keep_brightness_sum_to_one(source):
    assert read_kernel(source)[1].sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(response(source, FLAT), 3.0)


@pytest.mark.parametrize("source", ["sobel-x", "sobel-y", "laplacian", "gabor", "gabor:11:30", "gabor:8:90"])
def test_kernels_that_look_for_change_are_silent_on_a_flat_picture(source):
    np.testing.assert_allclose(response(source, FLAT), 0.0, atol=1e-12)


def test_sobel_measures_the_slope_of_a_ramp():
    np.testing.assert_allclose(response("sobel-x", RAMP), 8 * 5.0)
    np.testing.assert_allclose(response("sobel-y", RAMP), 8 * 2.0)


def test_the_laplacian_of_a_ramp_is_zero_and_of_a_square_its_second_derivative():
    np.testing.assert_allclose(response("laplacian", RAMP), 0.0, atol=1e-12)
    squares = np.add.outer(np.arange(8.0) ** 2, np.zeros(8))
    np.testing.assert_allclose(response("laplacian", squares), 2.0)


def test_identity_gives_the_picture_back():
    np.testing.assert_array_equal(response("identity", RAMP), RAMP)
    np.testing.assert_array_equal(response("identity:3", RAMP), RAMP[1:-1, 1:-1])


def test_sharpen_is_identity_minus_laplacian():
    expected = read_kernel("identity:3")[1] - read_kernel("laplacian")[1]
    np.testing.assert_array_equal(read_kernel("sharpen")[1], expected)


def test_a_gaussian_is_symmetric_largest_in_the_middle_and_has_the_stated_width():
    kernel = read_kernel("gaussian:21")[1]
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1])
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (10, 10)
    sigma = 0.3 * (10 - 1) + 0.8
    assert kernel[10, 13] / kernel[10, 10] == pytest.approx(np.exp(-4.5 / sigma**2))


@pytest.mark.parametrize(("angle", "down", "right"), [(0, 0, 1), (90, -1, 0), (45, -1, 1), (135, -1, -1)])
def test_gabor_answers_to_the_wave_that_runs_along_its_angle(angle, down, right):
    rows, columns = np.indices((9, 9)) - 4
    wavelength = 9 / 2.5

    def answer(down, right):
        along = (rows * down + columns * right) / np.hypot(down, right)
        return response(f"gabor:9:{angle}", np.cos(2 * np.pi * along / wavelength))[0, 0]

    assert answer(down, right) > 0.5
    assert abs(answer(right, -down)) < 0.05
    assert np.abs(read_kernel(f"gabor:9:{angle}")[1]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMED)
def test_every_name_gives_a_square_kernel_of_its_size(name):
    assert read_kernel(name)[1].shape == (NAMED[name].size,) * 2
    assert read_kernel(name)[0] == name
    if NAMED[name].resizable:
        assert read_kernel(f"{name}:11")[1].shape == (11, 11)


def test_rows_may_be_written_out():
    expected = [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
    assert read_kernel("1 0 -1; 2 0 -2; 1 0 -1")[1].tolist() == expected
    assert read_kernel("1,0,-1;2,0,-2;1,0,-1;")[1].tolist() == expected
    assert read_kernel("1/4 .5 1e-3")[1].tolist() == [[0.25, 0.5, 0.001]]


def test_rows_may_stand_in_a_file(tmp_path):
    file = tmp_path / "edges.txt"
    file.write_text("# vertical edges\n1 0 -1\n\n2, 0, -2  # the middle\n1 0 -1\n")
    for source in (file, str(file)):
        name, kernel = read_kernel(source)
        assert name == "edges.txt"
        assert kernel.tolist() == [[1, 0, -1], [2, 0, -2], [1, 0, -1]]


def test_an_array_is_copied():
    own = np.ones((3, 2))
    kernel = read_kernel(own)[1]
    kernel[0, 0] = 9
    assert own[0, 0] == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "sobel",
            r"kernel 'sobel' is unknown .* identity\[:SIZE\], box\[:SIZE\], .*gabor\[:SIZE\]\[:ANGLE\], or write",
        ),
        ("box:0", "size '0': a whole number from 1 to 255"),
        ("box:256", "size '256': a whole number from 1 to 255"),
        ("box:2.5", r"size '2\.5': a whole number"),
        ("box:3:45", r"it is written box\[:SIZE\]"),
        ("sobel-x:5", "it is written sobel-x"),
        ("gabor:9:up", "angle 'up': a number of degrees"),
        ("gabor:9:nan", "angle 'nan': a number of degrees"),
        ("gabor:2", "a size of at least 3"),
        ("identity:4", "an even size has no middle: take 3 or 5"),
        ("1 2; 3", r"rows of one length are needed, .* \[2, 1\] numbers"),
        ("1 two; 3 4", "'two' in row 1 is no number"),
        ("1 1/0; 3 4", "'1/0' in row 1 is no number"),
        ("1 nan; 3 4", r"1 of 4 values are not finite, the first at \(0, 1\): nan"),
        ([[1.0, float("inf")]], r"1 of 2 values are not finite, the first at \(0, 1\): inf"),
        ([1.0, 2.0], r"\(2,\): needed is \(rows, columns\)"),
        ([[]], "needed is"),
        ([["a"]], "not an array of real numbers"),
    ],
)
def test_what_is_no_kernel_is_said_in_a_line(source, words):
    with pytest.raises(UsageError, match=words) as caught:
        read_kernel(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"\xff\xfe\x00", LoadError), (b"1 2\n3", UsageError), (b"1 " * 600_000, LoadError), (b"", UsageError)],
)
def test_a_file_that_is_no_kernel_is_named(tmp_path, content, error):
    file = tmp_path / "kernel.txt"
    file.write_bytes(content)
    with pytest.raises(error, match=r"kernel\.txt"):
        read_kernel(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StridewiseError, match=r"none\.txt: No such file"):
        read_kernel(tmp_path / "none.txt")


def test_the_names_are_listed_as_they_may_be_written():
    assert "gaussian[:SIZE]" in kernel_names()
    assert len(kernel_names()) == len(NAMED)
