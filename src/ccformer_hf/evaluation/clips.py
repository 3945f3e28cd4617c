"""The clips of a data set in an evaluation: read ahead, with their sounds and the label maps to compare with.

Letters: `B` clips, `T` frames, `S` side of the scored maps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from ..data.audio import ClipAudio, sound_examples
from ..data.avsbench import FOLDER
from ..data.reading import IGNORE_LABEL
from ..data.sounding import UNKNOWN, SoundingClasses
from ..data.workers import errors_name_the_clip, read_ahead
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.timing_ccformer import FrameTiming
from .robustness import NOISE_RATE, SOUNDS, choose_off_screen, silence, white_noise


@dataclass(frozen=True)
class ClipTruth:
    """What a clip's prediction is compared with.

    Attributes:
        place: among the clips that are scored, from 0.
        length: of the clip in frames.
        annotated: bool `(length,)`.
        labels: uint8 `(T, S, S)` of the T annotated frames.
        kind: see `ClipAudio`.
        digest: of its content, an integer of 64 bits.
    """

    place: int
    length: int
    annotated: np.ndarray
    labels: np.ndarray
    kind: str
    digest: int


@dataclass(frozen=True)
class Batch:
    """Clips as the model takes them: `inputs` without sound, and `audio`, the other inputs under each sound."""

    clips: list[ClipTruth]
    inputs: dict[str, torch.Tensor]
    audio: dict[str, dict[str, torch.Tensor]]


class ClipFeed(torch.utils.data.Dataset):
    """The clips of a data set that have an annotated frame, each with its sounds.

    Args:
        clips: see `evaluate_avsbench`.
        size: of the label maps.
        robust: give the negative sounds too.

    Raises:
        ValueError: where no clip has an annotated frame; for a single clip where `robust`.
    """

    def __init__(self, clips: Dataset, size: int, robust: bool = False):
        table = clips.select_columns(["id", "setting", "annotated"])[:]
        self.clips, self.size = clips, size
        self.numbers = [number for number, frames in enumerate(table["annotated"]) if any(frames)]
        if not self.numbers:
            raise ValueError("no clip of the split has an annotated frame; there is nothing to compare with")
        self.ids = table["id"]
        self.setting: str = table["setting"][0]
        self.names: tuple[str, ...] = tuple(clips.features["labels"].names)
        # AVSBench knows no pixels to ignore.
        self.ignore_label = IGNORE_LABEL if self.setting == FOLDER and len(self.names) > 2 else None
        self.sounds = SOUNDS if robust else SOUNDS[:1]
        self.off_screen, self.classes_told_by = [], UNKNOWN
        if robust:
            classes = SoundingClasses(clips)
            self.off_screen = choose_off_screen(self.ids, [classes.of(number) for number in range(len(clips))])
            self.classes_told_by = classes.told_by
        self._only_sound = clips.select_columns(["sound", "log_mel"])

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[list[Image.Image], dict[str, ClipAudio], ClipTruth]:
        with errors_name_the_clip(self.ids[self.numbers[place]]):
            return self._read(place)

    def _read(self, place: int) -> tuple[list[Image.Image], dict[str, ClipAudio], ClipTruth]:
        number = self.numbers[place]
        row = self.clips[number]
        audio, annotated = ClipAudio.of(row), np.asarray(row["annotated"])
        sounds = {"original": audio}
        if self.off_screen:
            seconds = len(row["frames"])
            sounds["silence"] = ClipAudio(silence(seconds), FrameTiming().sampling_rate)
            sounds["noise"] = ClipAudio(white_noise(row["id"], seconds), NOISE_RATE)
            sounds["off-screen"] = ClipAudio.of(self._only_sound[self.off_screen[number].index])
        if self.ignore_label is None and (row["labels"][annotated] == IGNORE_LABEL).any():
            raise ValueError(
                f"its label maps hold pixels to ignore ({IGNORE_LABEL}), which AVSBench's protocol does not know; "
                "give every pixel "
                "a class, or leave out the label map of the frame"
            )
        labels = [
            np.asarray(Image.fromarray(ids).resize((self.size, self.size), Image.Resampling.NEAREST))
            for ids in row["labels"][annotated]
        ]
        truth = ClipTruth(place, len(annotated), annotated, np.stack(labels), audio.kind, _digest(row, audio))
        return row["frames"], sounds, truth

    def describe(self, clip: ClipTruth) -> dict[str, Any]:
        """How a clip is called in the results."""
        number = self.numbers[clip.place]
        about = {"number": number, "id": self.ids[number], "frames": len(clip.labels), "audio": clip.kind}
        return about | ({"off_screen_from": self.ids[self.off_screen[number].index]} if self.off_screen else {})

    def batches(
        self, processor: AudioVisualProcessor, places: Sequence[int], batch_size: int = 1, workers: int = 0
    ) -> Iterator[Batch]:
        """The clips at `places` among those that are scored, read ahead by `workers` processes.

        Raises:
            OSError, ValueError: for a clip that cannot be read or used; the text names it.
        """
        collate = _Collate(processor, repeat_last=self.setting != "avss")
        return read_ahead(self, collate, min(workers, len(places)), batch_size=batch_size, sampler=places)


@dataclass(frozen=True)
class _Collate:
    processor: AudioVisualProcessor
    repeat_last: bool

    def __call__(self, items: list) -> Batch:
        frames, sounds, clips = zip(*items, strict=True)
        inputs = self.processor(list(frames))
        audio = {name: self._audio_inputs([some[name] for some in sounds], clips) for name in sounds[0]}
        return Batch(list(clips), {name: inputs[name] for name in ("pixel_values", "frame_mask")}, audio)

    def _audio_inputs(self, sounds: list[ClipAudio], clips: Sequence[ClipTruth]) -> dict[str, torch.Tensor]:
        extractor = self.processor.feature_extractor
        examples, masks = zip(
            *(
                sound_examples(extractor, sound, clip.length, self.repeat_last)
                for sound, clip in zip(sounds, clips, strict=True)
            ),
            strict=True,
        )
        return {
            "input_features": pad_sequence(list(examples), batch_first=True),
            "audio_mask": pad_sequence(list(masks), batch_first=True),
        }


def _digest(row: dict[str, Any], audio: ClipAudio) -> int:
    summary = blake2b(row["id"].encode(), digest_size=8)
    arrays = [row["labels"], *map(np.asarray, row["frames"]), audio.waveform, audio.sampling_rate, audio.log_mel]
    for array in map(np.asarray, (array for array in arrays if array is not None)):
        summary.update(f"{array.shape}".encode())
        summary.update(array.tobytes())
    return int.from_bytes(summary.digest())
