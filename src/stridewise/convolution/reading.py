"""A picture as an array of numbers, from a file, a PIL image, an array or a built-in; bounded, and turned upright."""

import errno
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stridewise.errors import DataError, LoadError, UsageError
from stridewise.files import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.float64]
Values = TypeVar("Values", NDArray[np.float64], NDArray[np.uint8])
Picture: TypeAlias = "str | Path | bytes | Image | NDArray[Any] | Sequence[Any]"

_SHIPPED = Path(__file__).parents[1] / "pictures"
BUILTIN = ("builtin:china", "builtin:flower", "builtin:digit")
_LARGEST_FILE = 64 << 20  # bytes
_MOST_PIXELS = 25_000_000
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # no format that starts another program
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def read_picture(source: Picture) -> Pixels:
    """The picture as numbers, 0 black to 1 white. Shape: (channels, rows, columns), channels 1 (grey) or 3 (RGB).

    `source` is a path, a file's bytes, "builtin:china", "builtin:flower" or "builtin:digit", a PIL image, or an array
    (rows, columns) or (rows, columns, 3). uint8 is divided by 255; other arrays are taken as they are. EXIF orientation
    is applied, transparency laid on white. Decoded are at most 64 MiB and 25 million pixels of BMP, GIF (first frame),
    JPEG, PNG, PPM, TIFF or WebP.
    Raises: LoadError for a file that is no such picture; DataError for an array of another shape or with NaN.
    """
    if isinstance(source, str) and source.startswith("builtin:"):
        return _from_array(_builtin(source), source)
    if isinstance(source, bytes):
        return _from_file(source, "picture")
    if isinstance(source, str | Path):
        return _from_file(_content(Path(source)), str(source))
    if hasattr(source, "getexif"):
        return _from_image(source, "picture")
    return _from_array(source, "picture")


def read_shrunk(content: bytes, side: int, most: int = _MOST_PIXELS) -> NDArray[np.uint8]:
    """The picture in a file's bytes, at most `side` pixels a side, upright. Shape: (channels, rows, columns), 1 or 3.

    It is made small while it is decoded or at once behind that, so that a large one takes little memory: a JPEG's
    decoder halves (PIL's draft), another format is held once at eight bits. Raises: as `read_picture`, for more than
    `most` pixels.
    """

    def shrunk(image: Any, where: str) -> Pixels:
        _refuse_large(image, where, most)
        image.draft("RGB", (side, side))
        if image.mode in ("1", "P"):  # no colours between those of a palette
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        elif image.mode.startswith("I"):
            image = image.convert("I").convert("F").point(lambda level: level * (1 / 65535))
        image.thumbnail((side, side), reducing_gap=2.0)
        return _from_image(image, where)

    pixels = _from_file(content, "picture", shrunk)
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)


def fitted(pixels: Pixels, shape: tuple[int, ...]) -> Pixels:
    """A picture as a network of `shape` (channels, rows, columns) reads it: its largest middle part, resized.

    One channel is the mean of the colours; more than three repeat them.
    """
    picture = resized(middle(pixels, shape[1:]), shape[1:])
    if shape[0] == 1:
        grey: Pixels = picture.mean(axis=0, keepdims=True)
        return grey
    return picture if shape[0] == len(picture) else np.resize(picture, shape)


def middle(pixels: Values, sizes: tuple[int, ...]) -> Values:
    """The largest middle part with the proportions of `sizes`."""
    rows, columns = pixels.shape[1:]
    scale = min(rows / sizes[0], columns / sizes[1])
    height, width = max(1, round(sizes[0] * scale)), max(1, round(sizes[1] * scale))
    top, left = (rows - height) // 2, (columns - width) // 2
    return pixels[:, top : top + height, left : left + width]


def resized(pixels: Pixels, sizes: tuple[int, ...]) -> Pixels:
    """Antialiased, to (rows, columns)."""
    from PIL import Image

    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize((sizes[1], sizes[0]), Image.Resampling.BILINEAR))
        for plane in pixels
    ]
    return np.stack(planes).astype(np.float64)


def luminance(pixels: Pixels) -> Pixels:
    """One grey channel. Shape: (C, rows, columns) -> (1, rows, columns). Source: ITU-R BT.601 weights."""
    return pixels if len(pixels) == 1 else np.einsum("c,cyx->yx", np.array(_LUMINANCE), pixels)[None]


def _builtin(name: str) -> NDArray[Any]:
    if name not in BUILTIN:
        raise UsageError(f"picture '{name}' is unknown: take one of {', '.join(BUILTIN)}, or a file")
    from PIL import Image

    if name == "builtin:digit":
        digit: NDArray[Any] = np.load(_SHIPPED / "digit.npy", allow_pickle=False) / 16.0
        return digit
    with Image.open(_SHIPPED / f"{name.removeprefix('builtin:')}.jpg") as image:
        return np.asarray(image)


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, _LARGEST_FILE)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise LoadError(_too_large(path)) from error
        raise LoadError(f"{path}: {error.strerror}: name a picture file or one of {', '.join(BUILTIN)}") from error


def _too_large(where: object) -> str:
    return f"{where}: larger than {_LARGEST_FILE >> 20} MiB: take a smaller picture"


def _from_file(content: bytes, where: str, read: Callable[[Any, str], Pixels] | None = None) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    if len(content) > _LARGEST_FILE:
        raise LoadError(_too_large(where))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return (read or _from_image)(image, where)
    except Image.DecompressionBombError as error:
        raise LoadError(f"{where}: more than {_MOST_PIXELS} pixels: take a smaller picture") from error
    except UnidentifiedImageError as error:
        raise LoadError(f"{where}: not a picture: one of {', '.join(_FORMATS)} is needed") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise LoadError(f"{where}: a broken picture ({error}): save it again, or take another") from error


def _refuse_large(image: Any, where: str, most: int = _MOST_PIXELS) -> None:
    if image.width * image.height > most:
        size = f"{image.height} × {image.width}"
        raise LoadError(f"{where}: {size} is more than {most} pixels: take a smaller picture")


def _from_image(image: Any, where: str) -> Pixels:
    from PIL import ImageOps

    _refuse_large(image, where)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits
        return _from_array(np.asarray(upright, dtype=np.float64) / 65535.0, where)
    if upright.mode == "F":
        return _from_array(np.asarray(upright), where)
    if upright.mode in ("1", "L"):
        return _from_array(np.asarray(upright.convert("L")), where)
    if upright.has_transparency_data:
        return _from_array(np.asarray(_on_white(upright)), where)
    return _from_array(np.asarray(upright.convert("RGB")), where)


def _on_white(image: Any) -> Any:
    from PIL import Image

    see_through = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", see_through.size, "white"), see_through).convert("RGB")


def _from_array(source: object, where: str) -> Pixels:
    try:
        array = np.asarray(source)
        scale = 255.0 if array.dtype == np.uint8 else 1.0
        pixels = array.astype(np.float64) / scale
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: neither a file, an image nor an array of real numbers: {error}") from error
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or pixels.size == 0:
        raise DataError(f"{where} {pixels.shape}: needed is (rows, columns) or (rows, columns, 3)")
    if not np.isfinite(pixels).all():
        raise DataError(f"{where}: {int((~np.isfinite(pixels)).sum())} of {pixels.size} values are not finite")
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
