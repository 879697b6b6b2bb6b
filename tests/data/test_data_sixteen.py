"""Pictures of 8 to 16 bits stored in 16: one rule for a data set, checked against the numbers that were written."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stridewise.data import Picture, open_dataset
from stridewise.data.picture import white_of

WHITES = {8: 255, 10: 1023, 12: 4095, 14: 16383, 16: 65535}


def png(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG of (height, width, 1 to 4), which Pillow itself cannot write in colour."""
    height, width, channels = pixels.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, byteorder: str) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    shown = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    tifffile.imwrite(file, shown, photometric="rgb" if shown.ndim == 3 else "minisblack", byteorder=byteorder)
    return file.getvalue()


def drawn(bits: int, channels: int, seed: int = 0) -> np.ndarray:
    """Numbers of up to `bits` bits, the largest and the least among them."""
    pixels = np.random.default_rng(seed).integers(0, 1 << bits, (9, 7, channels)).astype(np.uint16)
    pixels[0, 0], pixels[-1, -1] = (1 << bits) - 1, 0
    return pixels


def written(pixels: np.ndarray, kind: str) -> bytes:
    if kind == "png":
        return png(pixels)
    order = {"big": ">", "little": "<"}[kind]
    return tiff(pixels, byteorder=order)


@pytest.mark.parametrize("bits", sorted(WHITES))
@pytest.mark.parametrize(
    ("kind", "channels"),
    [("png", 2), *((kind, channels) for kind in ("png", "big", "little") for channels in (1, 3, 4))],  # 2: a PNG's
)
def test_what_the_bits_reach_becomes_white(bits: int, kind: str, channels: int) -> None:
    pixels = drawn(bits, channels)
    picture = Picture(name="x", source=written(pixels, kind))
    assert picture.header().deep
    white, largest = white_of([picture])
    colours = pixels[..., : channels - 1] if channels in (2, 4) else pixels
    assert (white, largest) == (WHITES[bits], colours.max())
    loaded = Picture(name="x", source=picture.source, white=white).load()
    wanted = np.broadcast_to(colours.astype(np.int64) * 255 // white, (9, 7, 3))
    # of 16 whole bits Pillow's upper byte is taken: up to one level from the quotient
    assert np.abs(loaded.astype(int) - wanted).max() <= (1 if bits == 16 and channels > 1 else 0)


def test_the_rule_is_that_of_the_whole_set(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, label in enumerate(("cat", "dog")):
            (tmp_path / split / label).mkdir(parents=True)
            for place in range(2):  # one bright picture; the others fit in 10 bits, and stay dark beside it
                bits = 12 if (split, label, place) == ("train", "dog", 1) else 10
                pixels = drawn(bits, 1, seed=10 * number + place)
                (tmp_path / split / label / f"{place}.png").write_bytes(png(pixels))
    Image.new("L", (7, 9), 200).save(tmp_path / "train" / "cat" / "plain.png")
    data = open_dataset(tmp_path)
    assert data.white == 4095
    assert {s.picture.white for s in data.samples} == {4095}
    assert any("the largest met is 4,095, so 4,095 becomes 255" in note for note in data.report.notes)
    brightest = {s.name: int(data.under_white(4095).pictures(size=(9, 7))[i].max()) for i, s in enumerate(data.samples)}
    assert brightest.pop("train/dog/1.png") == 255
    assert brightest.pop("train/cat/plain.png") == 200
    assert set(brightest.values()) == {1023 * 255 // 4095}


def test_values_above_white_are_white_and_a_black_set_says_nothing() -> None:
    above = np.array([[[5000], [10]]], np.uint16)
    assert Picture(name="x", source=png(above), white=4095).load()[0, :, 0].tolist() == [255, 0]
    black = Picture(name="x", source=png(np.zeros((2, 2, 1), np.uint16)))
    assert white_of([black]) == (65535, 0)
    assert white_of([]) == (65535, 0)


def test_a_trained_network_keeps_the_rule_of_its_training(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import stridewise as sw
    from stridewise.tasks.trained import predict

    for label, value in (("dark", 300), ("light", 3900)):
        for place in range(6):
            (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8, 1), value + place, np.uint16)
            (tmp_path / "data" / label / f"{place}.png").write_bytes(png(pixels))
    sw.train("classify", "builtin:resnet20-narrow", data=tmp_path / "data", epochs=1, batch=4, run=tmp_path / "run")
    trained = sw.load_trained(tmp_path / "run")
    assert trained.data.white == 4095
    dim = np.full((8, 8, 1), 1000, np.uint16)  # alone it would be taken as of 10 bits
    eight = (dim.astype(np.int64) * 255 // 4095).astype(np.uint8)
    deep, plain = (
        next(predict(trained, [p])).values
        for p in (Picture(name="a", source=png(dim)), Picture(name="a", source=eight))
    )
    assert deep == plain
