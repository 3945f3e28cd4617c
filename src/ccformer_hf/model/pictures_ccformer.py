"""Opens picture files, the one place for it: upright, of a bounded size, with errors that name the file."""

import io
import os

import numpy as np
from PIL import ExifTags, Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
# What Pillow may take a file for, whatever its name says. It knows more, but EPS, for one, starts another program to
# draw it.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
# Pixels; a file of some kB may claim to hold any number of them. Pillow warns from here on.
LARGEST_PICTURE = 89_478_485
# One number a pixel: black and white, grey of 8, 16 or 32 bits, or the index into a palette.
ID_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
# Value of pixels in label maps that count neither as an object nor as background; label ids stay below it.
IGNORE_LABEL = 255
_TOO_LARGE = f"{{}}: claims more than {LARGEST_PICTURE // 10**6} million pixels; scale it down"

# The orientations of EXIF, and how each is turned upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """A picture file that cannot be used; one line that says which, why and what to do."""


def read_picture(
    source: str | os.PathLike | io.BytesIO, name: str | None = None, least: int | None = None
) -> Image.Image:
    """The picture of a file, upright, mode RGB. Arguments and errors: see `open_picture` and `rgb`."""
    return rgb(open_picture(source, name, least), name or str(source))


def read_labels(source: str | os.PathLike | io.BytesIO, name: str | None = None) -> Image.Image:
    """A picture whose pixels are class ids or colours of classes, upright, in its own mode.

    Arguments and errors are those of `open_picture`; a JPEG is refused too, which blurs ids.
    """
    image = open_picture(source, name)
    if image.format in ("JPEG", "MPO"):
        raise PictureError(f"{name or source}: is a JPEG, which blurs class ids into others; save it as PNG")
    return image


def open_picture(
    source: str | os.PathLike | io.BytesIO, name: str | None = None, least: int | None = None
) -> Image.Image:
    """The picture of a file, decoded and upright, in the mode it was saved in.

    Args:
        source: a file, or its content.
        name: of the picture, for errors; left out: the path.
        least: pixels; a JPEG is decoded at the size that `reduced_size` tells, which costs a third and is 0.3 of 255
            off on average, once scaled to `least`, where bilinear and bicubic scaling are 0.6 apart (measured on video
            frames). None: as it is.

    Raises:
        FileNotFoundError: where there is no such file.
        PictureError: for a file that is not a picture, is damaged or cut short, or claims more than `LARGEST_PICTURE`
            pixels (a ValueError too).
    """
    with _opened(source, name or str(source)) as image:
        try:
            if least is not None:
                image.draft(image.mode, (least, least))  # does nothing to other formats
            image.load()
        except Exception as error:  # a damaged picture raises nearly anything
            raise _unreadable(name or str(source), error) from None
        return upright(image)


def reduced_size(size: tuple[int, int], least: int) -> tuple[int, int]:
    """Width and height of a JPEG at a half, a quarter or an eighth, the smallest with both sides at least `least`."""
    scale = max((scale for scale in (2, 4, 8) if min(size) >= scale * least), default=1)
    return (-(-size[0] // scale), -(-size[1] // scale))  # rounded up, as the decoder does


def picture_size(source: str | os.PathLike | io.BytesIO) -> tuple[int, int]:
    """Width and height (pixels) of the upright picture, from the head of the file. Errors: see `open_picture`."""
    return picture_size_and_mode(source)[0]


def picture_size_and_mode(source: str | os.PathLike | io.BytesIO) -> tuple[tuple[int, int], str]:
    """`picture_size`, and the mode as Pillow names it, from the head of the file. Errors: see `open_picture`."""
    with _opened(source, str(source)) as image:
        # A TIFF states its upright size itself.
        lies = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return image.size[::-1] if lies else image.size, image.mode


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; the mark is removed, so that it is turned once only."""
    image.load()
    turn = TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    turned.info.clear()
    return turned


def rgb(image: Image.Image, name: str = "a picture") -> Image.Image:
    """The picture upright and in RGB of 8 bits; an alpha channel is dropped.

    Args:
        image: of any mode; of 16 bits the upper 8 count, as in a viewer.
        name: for errors.

    Raises:
        PictureError: for 32 bits per channel, whose range nobody knows.
    """
    image = upright(image)
    if image.mode in ("I", "F"):
        raise PictureError(
            f"{name}: has 32 bits per pixel; expected 8 or 16, save it so with values from black to white"
        )
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _opened(source: str | os.PathLike | io.BytesIO, name: str) -> Image.Image:
    """The picture with nothing but its head read."""
    if isinstance(source, (str, os.PathLike)) and not os.path.isfile(source):
        raise FileNotFoundError(f"{name}: there is no such file; check the name")
    try:
        image = Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError:  # twice Pillow's own bound and more
        raise PictureError(_TOO_LARGE.format(name)) from None
    except Exception as error:
        raise _unreadable(name, error) from None
    if image.width * image.height > LARGEST_PICTURE:
        image.close()
        raise PictureError(_TOO_LARGE.format(name))
    return image


def _unreadable(name: str, error: Exception) -> PictureError:
    if isinstance(error, PermissionError):
        return PictureError(f"{name}: may not be read; give yourself read permission on it")
    what = (
        f"it is not a picture, or not one of {', '.join(SUFFIXES)}"
        if isinstance(error, Image.UnidentifiedImageError)
        else error
    )
    return PictureError(f"{name}: cannot be read as a picture ({what}); copy or download it again")


def _orientation(image: Image.Image) -> int | None:
    try:
        # Pillow's own method of a PNG would decode it first.
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF turns nothing
        return None
