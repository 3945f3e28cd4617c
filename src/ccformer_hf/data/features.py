"""The columns of a clip, as features of `datasets`: Arrow holds paths or a shard's values, rows what they mean.

A whole clip is decoded by one feature, at the moment its column is asked for, and without torchcodec or a system
FFmpeg. Letters: `T` frames, `H W` picture.
"""

import io
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets import Features, Image, List, Value
from datasets.features.features import register_feature
from PIL import Image as PillowImage

from ..model.media_ccformer import probe, read_clip
from ..model.pictures_ccformer import picture_size, read_picture
from ..model.timing_ccformer import EXAMPLE_COLUMNS
from .avsbench import VIDEOS
from .reading import IGNORE_LABEL, MEL_BANDS, read_label_map, read_log_mel, read_sound

FILE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def _source_and_name(file: dict, unnamed: str, shards: str) -> tuple[str | io.BytesIO, str]:
    """A value of `FILE` -> what to open, and its name for errors, where they lie and all.

    Raises:
        ValueError: for a path or an address where the file itself has to be: whoever made the shard would choose what
            is read of this machine.
    """
    if shards and file["bytes"] is None:
        raise ValueError(
            f"{shards}: a shard names {file['path']!r} in place of {unnamed}; expected the picture itself, convert "
            "the data set again with `ccformer data convert`"
        )
    source = file["path"] if file["bytes"] is None else io.BytesIO(file["bytes"])
    name = file["path"] or unnamed
    return source, f"{shards}: {name}" if shards else name


class _Decoded:
    """What `datasets` asks of a feature that decodes; a subclass says how it is stored and how it is read."""

    def __call__(self) -> pa.DataType:
        return self.pa_type

    def encode_example(self, value: Any) -> Any:
        return value

    def cast_storage(self, storage: pa.Array) -> pa.Array:
        return storage.cast(self.pa_type)


@dataclass
class LabelMaps(_Decoded):
    """Label pictures, one per frame or None -> uint8 `(T, H, W)` class ids; 255 in a frame that is not annotated.

    Args:
        names: of the class ids, background first.
        binary: see `read_label_map`.
        shards: the folder of the shards, in which each file must be in the row itself; "": the files lie anywhere.
    """

    names: list[str]
    binary: bool = False
    shards: str = ""
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "uint8"
    pa_type: ClassVar[pa.DataType] = pa.list_(FILE)
    _type: str = field(default="LabelMaps", init=False, repr=False)

    def encode_example(self, value: list[str | None]) -> list[dict | None]:
        return [None if path is None else {"bytes": None, "path": path} for path in value]

    def decode_example(self, value: list[dict | None], token_per_repo_id: dict | None = None) -> np.ndarray:
        maps = [None if file is None else self._read(file) for file in value]
        known = [ids for ids in maps if ids is not None]
        shapes = {ids.shape for ids in known}
        if len(shapes) > 1:
            files = [file["path"] for file in value if file is not None]
            raise ValueError(
                f"the label maps from {files[0]} on have different sizes: {sorted(shapes)}; a clip needs one size"
            )
        blank = np.full(shapes.pop() if shapes else (1, 1), IGNORE_LABEL, dtype=np.uint8)
        return np.stack([blank if ids is None else ids for ids in maps])

    def _read(self, file: dict) -> np.ndarray:
        source, name = _source_and_name(file, "a label picture", self.shards)
        return read_label_map(source, len(self.names), self.binary, name)


@dataclass
class Frames(_Decoded):
    """Picture files -> a list of `T` upright RGB pictures.

    Args:
        shards: the folder of the shards, in which each file must be in the row itself; "": the files lie anywhere.
        least: see `open_picture`; for training, which scales the frames down.
    """

    shards: str = ""
    least: int | None = None
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "list"
    pa_type: ClassVar[pa.DataType] = pa.list_(FILE)
    _type: str = field(default="Frames", init=False, repr=False)

    def encode_example(self, value: list[str]) -> list[dict]:
        return [{"bytes": None, "path": path} for path in value]

    def decode_example(self, value: list[dict], token_per_repo_id: dict | None = None) -> list[PillowImage.Image]:
        return [read_picture(*_source_and_name(file, "a frame", self.shards), self.least) for file in value]


@dataclass
class Sound(_Decoded):
    """A file with sound -> `{"waveform": float32 (samples,) in -1..1, mono, "sampling_rate": int}`."""

    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "dict"
    pa_type: ClassVar[pa.DataType] = pa.string()
    _type: str = field(default="Sound", init=False, repr=False)

    def decode_example(self, value: str, token_per_repo_id: dict | None = None) -> dict:
        waveform, sampling_rate = read_sound(value)
        return {"waveform": waveform, "sampling_rate": sampling_rate}


@dataclass
class LogMel(_Decoded):
    """An official log-mel `.pkl` -> float32 `(T, 1, 96, 64)`."""

    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "float32"
    pa_type: ClassVar[pa.DataType] = pa.string()
    _type: str = field(default="LogMel", init=False, repr=False)

    def decode_example(self, value: str, token_per_repo_id: dict | None = None) -> np.ndarray:
        return read_log_mel(value)


@dataclass
class VideoFrames(_Decoded):
    """A video -> the frames AVSBench would take of it, 15/16 into each second: a list of `T` RGB pictures."""

    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "list"
    pa_type: ClassVar[pa.DataType] = pa.list_(pa.string())
    _type: str = field(default="VideoFrames", init=False, repr=False)

    def decode_example(self, value: list[str], token_per_repo_id: dict | None = None) -> list[PillowImage.Image]:
        return [PillowImage.fromarray(frame) for frame in read_clip(value[0]).frames]


@dataclass
class PictureSize(_Decoded):
    """A picture or video file -> `[height, width]` in pixels, upright, read from the head of the file."""

    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "list"
    pa_type: ClassVar[pa.DataType] = pa.string()
    _type: str = field(default="PictureSize", init=False, repr=False)

    def decode_example(self, value: str, token_per_repo_id: dict | None = None) -> list[int]:
        if value.lower().endswith(VIDEOS):
            info = probe(value)
            return [info.height, info.width]
        width, height = picture_size(value)
        return [height, width]


@dataclass
class Floats(_Decoded):
    """Nested lists of a shard -> float32 array. Held as bytes: `datasets` would make Python numbers one by one.

    Args:
        shape: of the array, -1 for the one length that differs between clips; as many as the lists are deep.
    """

    shape: list[int]
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "float32"
    pa_type: ClassVar[pa.DataType] = pa.large_binary()
    _type: str = field(default="Floats", init=False, repr=False)

    def cast_storage(self, storage: pa.Array) -> pa.Array:
        if not pa.types.is_list(storage.type):
            return storage.cast(self.pa_type)
        values, ends = storage, np.arange(len(storage) + 1)
        while pa.types.is_list(values.type):
            ends = values.offsets.to_numpy()[ends]
            values = values.values
        numbers = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        rows = [
            numbers[start:end].tobytes() if valid else None
            for start, end, valid in zip(ends, ends[1:], storage.is_valid().to_pylist(), strict=False)
        ]
        return pa.array(rows, self.pa_type)

    def decode_example(self, value: bytes, token_per_repo_id: dict | None = None) -> np.ndarray:
        return np.frombuffer(value, dtype=np.float32).reshape(self.shape).copy()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # `datasets` calls its registration experimental, on every call
    for _feature in (LabelMaps, Frames, Sound, LogMel, VideoFrames, PictureSize, Floats):
        register_feature(_feature, _feature.__name__)


def folder_features(names: tuple[str, ...], binary: bool, video: bool = False) -> Features:
    """Columns of clips whose files lie in folders.

    Args:
        names: of the class ids, background first.
        binary: whether the label pictures tell only 0 from the rest.
        video: whether the frames lie in one video per clip.
    """
    return Features(
        _common()
        | {
            "frames": VideoFrames() if video else Frames(),
            "labels": LabelMaps(list(names), binary),
            "sound": Sound(),
            "log_mel": LogMel(),
            "size": PictureSize(),
        }
    )


def shard_features() -> Features:
    """Columns of a converted shard: `datasets`' own features alone, so that it loads without this package."""
    return Features(
        _common()
        | {
            "frames": List(Image()),
            "labels": List(Image()),
            "sound": {"waveform": List(Value("float32")), "sampling_rate": Value("int32")},
            "log_mel": List(List(List(List(Value("float32"))))),
            "size": List(Value("int32")),
        }
    )


def decoded_shard_features(names: tuple[str, ...], shards: str) -> Features:
    """The columns of a shard with the same rows as `folder_features` gives.

    Args:
        names: of the class ids, background first.
        shards: the folder that they lie in, for errors.
    """
    return Features(
        shard_features()
        | {
            "frames": Frames(shards),
            "labels": LabelMaps(list(names), shards=shards),
            "sound": {"waveform": Floats([-1]), "sampling_rate": Value("int32")},
            "log_mel": Floats([-1, 1, EXAMPLE_COLUMNS, MEL_BANDS]),
        }
    )


def _common() -> dict:
    return {
        "id": Value("string"),
        "setting": Value("string"),
        "classes": List(Value("string")),
        "annotated": List(Value("bool")),
    }
