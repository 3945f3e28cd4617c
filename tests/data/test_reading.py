import io
import os
import pickle
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from made_media import SoundTrack, write_media
from PIL import Image

from ccformer_hf.data.avsbench import avss_palette
from ccformer_hf.data.reading import read_label_map, read_log_mel, read_sound
from ccformer_hf.model.media_ccformer import MediaError

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "avsbench_sample"
IDS = np.array([[0, 1, 36], [70, 255, 2]], dtype=np.uint8)


def png(image: Image.Image) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, "PNG")
    file.seek(0)
    return file


def read(image: Image.Image, num_classes: int = 71, binary: bool = False) -> np.ndarray:
    ids = read_label_map(png(image), num_classes, binary, "map.png")
    assert ids.dtype == np.uint8
    return ids


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)),
        Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8)),
        Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("1"),
        Image.fromarray(np.array([[[0, 0, 0], [0, 0, 9]], [[128, 0, 0], [0, 0, 0]]], dtype=np.uint8)),
        Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("LA"),
    ],
    ids=["0/255", "0/1", "1 bit", "RGB", "grey with alpha"],
)
def test_binary_masks_of_any_kind_say_the_same(mask):
    # Grey with alpha is opaque black where nothing sounds.
    assert read(mask, 2, binary=True).tolist() == [[0, 1], [1, 0]]


def test_ids_are_read_as_they_are_and_the_index_counts_in_a_palette_picture():
    assert (read(Image.fromarray(IDS)) == IDS).all()
    image = Image.fromarray(IDS)
    image.putpalette(avss_palette().tobytes())
    assert image.mode == "P" and (read(image) == IDS).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "I"])
def test_ids_of_any_depth(mode):
    ids = np.array([[0, 1], [1, 0]], dtype={"1": bool, "I;16": np.uint16, "I": np.int32}.get(mode, np.uint8))
    file = io.BytesIO()
    image = Image.fromarray(ids)
    if mode == "P":
        image.putpalette(avss_palette().tobytes())
    assert image.mode == mode
    image.save(file, "TIFF" if mode == "I" else "PNG")
    assert read_label_map(file, 2, False, "map.png").tolist() == [[0, 1], [1, 0]]


def test_an_id_below_zero_is_refused():
    file = io.BytesIO()
    Image.fromarray(np.array([[0, -1]], dtype=np.int32)).save(file, "TIFF")
    with pytest.raises(ValueError, match="holds the class id -1"):
        read_label_map(file, 5, False, "map.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_no_ids_of_ones_own_classes(mode):
    """They would be looked up in AVSBench's palette, where most are background."""
    with pytest.raises(
        ValueError, match=f"map.png: is a picture in {mode}; expected one number per pixel, its class id"
    ):
        read(Image.new(mode, (2, 2), (1,) * len(mode)), num_classes=4)


def test_a_map_is_turned_upright_as_its_frame_is():
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.fromarray(IDS).transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    assert (read_label_map(file, 71, False, "map.png") == IDS).all()


def test_colours_are_read_by_exact_match_and_others_are_background():
    ids = np.array([[0, 1, 36, 70]], dtype=np.uint8)
    colours = avss_palette()[ids]
    assert (read(Image.fromarray(colours)) == ids).all()
    colours[0, 2, 0] += 1
    assert read(Image.fromarray(colours)).tolist() == [[0, 1, 0, 70]]


def test_an_unknown_id_is_refused_and_ignore_is_not():
    with pytest.raises(ValueError, match=r"map.png: holds the class id 36; expected 0 \(background\) to 35, or 255"):
        read(Image.fromarray(IDS[:1]), num_classes=36)
    assert read(Image.fromarray(np.full((2, 2), 255, dtype=np.uint8)), 5).tolist() == [[255, 255], [255, 255]]


def test_ids_of_sixteen_bits_do_not_wrap_around():
    with pytest.raises(ValueError, match="holds the class id 256"):
        read(Image.fromarray(np.array([[0, 256]], dtype=np.uint16)), 5)


@pytest.mark.parametrize("content", [b"", b"no picture", png(Image.fromarray(IDS)).getvalue()[:50]])
def test_a_broken_picture_is_named(content):
    with pytest.raises(ValueError, match="map.png: cannot be read as a picture"):
        read_label_map(io.BytesIO(content), 71, False, "map.png")


def test_the_real_sample_shows_a_hen():
    if not SAMPLE.is_dir():
        pytest.skip("the AVSBench sample is not beside the repository")
    paths = sorted(SAMPLE.glob("AVSS/v2/hen_sample/labels_semantic/*.png"))
    assert len(paths) == 10
    for path in paths:
        assert set(np.unique(read_label_map(path, 71, False, str(path)))) == {0, 36}


def test_sound_keeps_its_rate_and_every_bit(tmp_path):
    samples = np.array([0, 1, -1, 16384, -32768, 32767] * 1000, dtype="<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22050)
        file.writeframes(samples.tobytes())
    waveform, rate = read_sound(tmp_path / "a.wav")
    assert rate == 22050 and waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, samples / np.float32(32768))


def test_other_kinds_of_wav_are_read_too(tmp_path):
    tone = np.sin(np.arange(8000) / 10).astype(np.float32) / 2
    for codec in ("pcm_f32le", "pcm_s24le", "pcm_s16le"):
        write_media(
            tmp_path / "a.wav", SoundTrack(rate=8000, waveform=np.stack([tone, tone / 2]), channels=2, codec=codec)
        )
        waveform, rate = read_sound(tmp_path / "a.wav")
        assert rate == 8000
        np.testing.assert_allclose(waveform, 0.75 * tone, atol=1e-4)


@pytest.mark.parametrize("rate", [0, 7])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:24] + rate.to_bytes(4, "little") + content[28:])
    with pytest.raises(MediaError, match=rf"a.wav: states {rate} samples per second, expected at least 1000; copy"):
        read_sound(tmp_path / "a.wav")


def test_sound_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(MediaError, match="a.wav"):
        read_sound(tmp_path / "a.wav")


# Official log-mel files ----------------------------------------------------------------------------------------------


def pickled(path: Path, value) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


@pytest.mark.parametrize("grad", [False, True])
def test_a_pickled_tensor_is_read_bit_for_bit(tmp_path, grad):
    tensor = torch.randn(5, 1, 96, 64, requires_grad=grad)  # the official ones carry requires_grad
    found = read_log_mel(pickled(tmp_path / "a.pkl", tensor))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.detach().numpy())


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_pickle_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    with pytest.raises(ValueError, match="it asks for .*mkdir, which a tensor does not need"):
        read_log_mel(pickled(tmp_path / "a.pkl", Evil(str(trap))))
    assert not trap.exists()


def test_code_inside_a_tensors_bytes_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    inner = io.BytesIO()
    torch.save(Evil(str(trap)), inner, _use_new_zipfile_serialization=False)

    class Outer:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    with pytest.raises(ValueError, match="cannot be read"):
        read_log_mel(pickled(tmp_path / "a.pkl", Outer()))
    assert not trap.exists()


@pytest.mark.parametrize("value", [torch.zeros(5, 96, 64), torch.zeros(5, 1, 64, 96)])
def test_other_tensors_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r"holds a tensor \(5, .*expected a pickled float32 tensor \(T, 1, 96, 64\)"):
        read_log_mel(pickled(tmp_path / "a.pkl", value))


def test_a_tensor_that_is_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a.pkl: holds NaN"):
        read_log_mel(pickled(tmp_path / "a.pkl", torch.full((5, 1, 96, 64), float("nan"))))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (pickle.dumps(torch.zeros(1, 1, 96, 64).expand(10**6, 1, 96, 64)), "holds fewer numbers than its shape"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "its memo has the place 2147483647"),  # 16 GB for all up to it
        (b"\x80\x02Np2147483647\n.", "its memo has the place"),
    ],
)
def test_a_small_pickle_asks_for_no_memory(tmp_path, content, fault):
    (tmp_path / "a.pkl").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"a.pkl: .*{fault}"):
        read_log_mel(tmp_path / "a.pkl")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_no_pickle_is_refused(tmp_path):
    (tmp_path / "a.pkl").write_text("nothing")
    with pytest.raises(ValueError, match="a.pkl: cannot be read"):
        read_log_mel(tmp_path / "a.pkl")
