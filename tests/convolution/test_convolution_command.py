"""`stridewise slide`: what it prints, writes and refuses."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from stridewise.cli import main
from stridewise.cli.slide import command


@pytest.fixture
def photograph(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (27, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return str(tmp_path / "p.png")


@pytest.fixture
def run(photograph, tmp_path):
    def run(*options):
        return CliRunner().invoke(command, [photograph, "-o", str(tmp_path / "out"), *options], catch_exceptions=False)

    return run


def test_it_prints_the_figures_of_every_stride_and_writes_the_drawing(run, tmp_path):
    found = run("--kernel", "sobel-x", "--stride", "1", "--stride", "4x2", "--padding", "1")
    assert found.exit_code == 0
    assert found.stdout.startswith("sobel-x, 3 × 3, on 27 × 40, padding 1, dilation 1\n")
    assert "stride 4×2: 7 × 20\n" in found.stdout
    assert "out = floor((27 + 2*1 - 1*(3-1) - 1) / 4) + 1 = 7, remainder 2: the last 1 row never read" in " ".join(
        found.stdout.split()  # lines are folded
    )
    assert "cost     1,260 multiply-adds, 13 % of stride 1; 80 of them on padding" in found.stdout
    assert "reads    74.1 % of the picture's positions" in found.stdout
    assert found.stderr == f"wrote {tmp_path / 'out' / 'slide.png'}\n"
    with Image.open(tmp_path / "out" / "slide.png") as image:
        assert image.format == "PNG"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["slide.png"]


def test_it_walks_the_first_steps(run):
    found = run("--kernel", "1 0; 0 2", "--stride", "3", "--walk", "2")
    assert found.stdout.count("step 0: window [0, 2) x [0, 2), fills cell (0, 0, 0)") == 1
    assert found.stdout.count("step 1: window [0, 2) x [3, 5), fills cell (0, 0, 1)") == 1
    assert "step 2" not in found.stdout


def test_json_is_one_object_on_standard_output(run, photograph, tmp_path):
    found = json.loads(run("--json", "--stride", "2", "--padding", "0:1", "--walk", "1").stdout)
    assert found["schema"] == "stridewise.slide/1"
    assert found["picture"] == photograph
    assert found["file"] == str(tmp_path / "out" / "slide.png")
    assert found["slides"][0]["padding"] == [[0, 1], [0, 1]]
    assert found["slides"][0]["out_size"] == [13, 20]
    assert len(found["slides"][0]["steps"]) == 1


def test_without_strides_it_compares_three(run):
    assert [one["stride"] for one in json.loads(run("--json").stdout)["slides"]] == [[1, 1], [2, 2], [4, 4]]


@pytest.mark.parametrize(
    ("padding", "expected"),
    [("same", [[1, 1], [1, 1]]), ("valid", [[0, 0], [0, 0]]), ("2x1", [[2, 2], [1, 1]]), ("0:1x2:0", [[0, 1], [2, 0]])],
)
def test_padding_may_be_written_in_many_ways(run, padding, expected):
    assert json.loads(run("--json", "--padding", padding).stdout)["slides"][0]["padding"] == expected


def test_colour_and_dilation_reach_the_convolution(run):
    found = json.loads(run("--json", "--colour", "channels", "--dilation", "2x1", "--stride", "1").stdout)
    assert found["slides"][0]["channels"] == [3, 3]
    assert found["slides"][0]["out_size"] == [23, 38]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--stride", "0"], 2, "stride 0 on axis 0: a whole number of at least 1 is needed"),
        (["--stride", "1.5"], 2, "stride 1.5 on axis 0: a whole number of at least 1 is needed"),
        (
            ["--stride", "50"],
            1,
            "stride 50 on the rows is larger than the picture, 27 rows padded by 0+0: take at most 27",
        ),
        (["--stride", "1x2x3"], 2, "stride 1x2x3 has 3 entries, the input has 2 axes"),
        (["--stride", ""], 2, "stride on axis 0"),
        (["--kernel", "box:99"], 1, "no window fits: the kernel spans 99 positions, the input has 27"),
        (["--kernel", "nan 1; 1 1"], 2, "1 of 4 values are not finite"),
        (["--kernel", "roberts"], 2, "kernel 'roberts' is unknown"),
        (["--padding", "most"], 2, "padding most on axis 0"),
        (["--output", "/dev/null/x"], 1, "x: no folder can be made: Not a directory. Name another with -o"),
    ],
)
def test_a_bad_request_is_one_line_and_leaves_nothing(photograph, tmp_path, capsys, options, code, words):
    with pytest.raises(SystemExit) as stop:
        main(["slide", photograph, "-o", str(tmp_path / "out"), *options])
    printed = capsys.readouterr()
    assert stop.value.code == code
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert words in printed.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "words"), [("p.txt", "not a picture"), ("none.png", "No such file")])
def test_what_is_no_picture_is_named(tmp_path, capsys, name, words):
    (tmp_path / "p.txt").write_text("words")
    with pytest.raises(SystemExit) as stop:
        main(["slide", str(tmp_path / name)])
    assert stop.value.code == 1
    assert f"{tmp_path / name}: {words}" in capsys.readouterr().err


def test_a_write_that_fails_half_way_leaves_the_old_drawing(run, tmp_path, monkeypatch):
    run()
    before = (tmp_path / "out" / "slide.png").read_bytes()

    def fail(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", fail)
    with pytest.raises(Exception, match="No space left on device"):
        run("--stride", "2")
    assert (tmp_path / "out" / "slide.png").read_bytes() == before
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_builtin_picture_needs_no_file(tmp_path):
    found = CliRunner().invoke(command, ["builtin:digit", "-k", "gabor:3:90", "-s", "1", "-o", str(tmp_path)])
    assert found.exit_code == 0
    assert "gabor:3:90, 3 × 3, on 8 × 8" in found.stdout
