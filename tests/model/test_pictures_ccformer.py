import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ccformer_hf.model.pictures_ccformer import (
    LARGEST_PICTURE,
    PictureError,
    open_picture,
    picture_size,
    read_labels,
    read_picture,
    reduced_size,
    rgb,
)

# What each orientation of EXIF says of the upright picture, and so how it has to be stored.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(width: int = 16, height: int = 8) -> Image.Image:
    """Four quarters of four greys, so that no two ways to turn it look the same, also as a JPEG."""
    greys = np.array([[0, 80], [160, 240]], dtype=np.uint8)
    pixels = greys.repeat(height // 2, axis=0).repeat(width // 2, axis=1)
    return Image.fromarray(np.stack([pixels] * 3, axis=-1))


def turned(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[274] = orientation
    return (image if STORED[orientation] is None else image.transpose(STORED[orientation])), exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_turned_upright(tmp_path, suffix, orientation):
    stored, exif = turned(picture(), orientation)
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    assert picture_size(path) == (16, 8)
    found = read_picture(path)
    assert found.mode == "RGB" and found.size == (16, 8)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(picture())).max() < 12
    # Once only: what was turned is not turned again.
    assert np.array_equal(rgb(found), found) and np.array_equal(rgb(open_picture(path)), found)


def test_a_damaged_exif_turns_nothing(tmp_path):
    picture().save(tmp_path / "a.png", exif=b"Exif\0\0nonsense")
    assert picture_size(tmp_path / "a.png") == read_picture(tmp_path / "a.png").size == (16, 8)


def test_sixteen_bits_become_eight(tmp_path):
    Image.fromarray(np.array([[0, 255, 256, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(read_picture(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 0, 1, 255]
    for values in (np.zeros((2, 2), np.int32), np.zeros((2, 2), np.float32)):
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(PictureError, match="a.tif: has 32 bits per pixel; expected 8 or 16"):
            read_picture(tmp_path / "a.tif")


def test_a_file_that_is_no_whole_picture_is_named(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for content in (b"", b"no picture", whole[:50], whole[:2000]):
        path.write_bytes(content)
        with pytest.raises(PictureError, match="a.png: cannot be read as a picture"):
            read_picture(path)
        with pytest.raises(PictureError, match="from within: cannot be read as a picture"):
            read_picture(io.BytesIO(content), "from within")
    with pytest.raises(FileNotFoundError, match="b.png: there is no such file"):
        read_picture(tmp_path / "b.png")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(LARGEST_PICTURE + 1, 1), (60000, 60000)])
def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path, size, monkeypatch):
    (tmp_path / "a.png").write_bytes(png_that_claims(*size))
    for bound in (Image.MAX_IMAGE_PIXELS, None):  # whatever else has been said to Pillow
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", bound)
        for read in (open_picture, picture_size):
            with pytest.raises(PictureError, match="a.png: claims more than 89 million pixels; scale it down"):
                read(tmp_path / "a.png")


def test_a_picture_of_a_format_that_starts_programs_is_not_opened(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(PictureError, match="a.jpg: cannot be read as a picture"):
        read_picture(tmp_path / "a.jpg")


def test_labels_keep_their_mode_and_are_no_jpeg(tmp_path):
    for mode in ("1", "L", "P", "I;16", "RGB", "LA"):
        Image.new(mode, (4, 2)).save(tmp_path / "a.png")
        assert read_labels(tmp_path / "a.png").mode == mode
    Image.new("L", (4, 2)).save(tmp_path / "a.png", "JPEG")
    with pytest.raises(PictureError, match="a.png: is a JPEG, which blurs class ids"):
        read_labels(tmp_path / "a.png")


def test_the_first_picture_of_several_in_a_jpeg_counts(tmp_path):
    """As phones write them, with a preview or a depth map behind the picture."""
    picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
    assert picture_size(tmp_path / "a.jpg") == read_picture(tmp_path / "a.jpg").size == (16, 8)
    with pytest.raises(PictureError, match="is a JPEG"):
        read_labels(tmp_path / "a.jpg")


def test_a_jpeg_is_decoded_as_small_as_it_is_needed(tmp_path):
    waves = np.sin(np.add.outer(np.arange(150), np.arange(201)) / 30)  # (150, 201)
    whole = Image.fromarray((127 + 100 * waves).astype(np.uint8)).convert("RGB")
    whole.save(tmp_path / "a.png")
    whole.save(tmp_path / "a.jpg", quality=95)
    stored, exif = turned(whole, 6)
    stored.save(tmp_path / "turned.jpg", quality=95, exif=exif)
    for least, size in ((150, (201, 150)), (76, (201, 150)), (75, (101, 75)), (37, (51, 38)), (1, (26, 19))):
        assert reduced_size((201, 150), least) == size
        assert read_picture(tmp_path / "a.jpg", least=least).size == size
        assert read_picture(tmp_path / "turned.jpg", least=least).size == size
        assert read_picture(tmp_path / "a.png", least=least).size == (201, 150)
    small, exact = (
        np.asarray(read_picture(tmp_path / "a.jpg", least=least).resize((40, 30), Image.Resampling.BILINEAR), float)
        for least in (75, None)
    )
    assert 0 < np.abs(small - exact).mean() < 2  # of 255
