"""Clips on their way into training: which ones make up a step, what is changed in them, and how they become a batch.

How a clip is augmented in its n-th showing depends on the seed and on n alone. So a step holds the same clips whatever
the number of processes, workers and accumulated parts, and a run that was stopped goes on with exactly the clip that
was next.

Letters: `B` clips, `T` frames, `S` side of the frames.
"""

import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from datasets import Dataset

from ..atomic import atomic_file
from ..model.pictures_ccformer import reduced_size
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.timing_ccformer import SAMPLING_RATE
from .audio import ClipAudio, sound_examples
from .augmentation import Augmentation, augment_pictures, augment_sound, cut_frames, negative_kind, nothing_sounds
from .features import Frames
from .listing import file_name_of
from .noises import NOISES, make_noise
from .sounding import NOT_TOLD, UNKNOWN, SoundingClasses
from .workers import errors_name_the_clip


class ClipOrder:
    """The endless order in which clips are shown: one shuffled round after the other, without a break between rounds.

    A step takes the next `batch_size` of them, so no batch is ever smaller than the others and no clip is left out.

    Args:
        num_clips: how many there are.
        batch_size: clips of a step, over all processes.
        seed: of the shuffling.
    """

    def __init__(self, num_clips: int, batch_size: int, seed: int):
        self.num_clips, self.batch_size, self.seed = num_clips, batch_size, seed
        self._round = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, number: int) -> np.ndarray:
        return np.random.default_rng([self.seed, number]).permutation(self.num_clips)

    def step(self, number: int) -> list[tuple[int, int]]:
        """The clips of a step: the number of the showing, counted through the whole run, and the clip's index."""
        showings = range(number * self.batch_size, (number + 1) * self.batch_size)
        return [(n, int(self._round(n // self.num_clips)[n % self.num_clips])) for n in showings]


class ShareOfSteps:
    """Batch sampler of one process: for each step its share of the clips, in as many parts as are accumulated.

    Args:
        order: of all clips.
        steps: numbers of the steps to give.
        process, processes: which process this is, of how many.
        accumulate: parts of each share.

    Raises:
        ValueError: where the batch cannot be shared out evenly.
    """

    def __init__(self, order: ClipOrder, steps: range, process: int = 0, processes: int = 1, accumulate: int = 1):
        if order.batch_size % (processes * accumulate):
            raise ValueError(
                f"batch_size is {order.batch_size}, expected a multiple of {processes * accumulate}: "
                f"{processes} process(es) times {accumulate} accumulated part(s)"
            )
        self.order, self.steps, self.accumulate = order, steps, accumulate
        self.part = order.batch_size // (processes * accumulate)
        self.first = process * self.part * accumulate

    def __len__(self) -> int:
        return len(self.steps) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # The clips of a step lie in one row: each process has a stretch of it, cut into its accumulated parts.
        # Together they are the same clips for any number of processes and parts.
        for number in self.steps:
            clips = self.order.step(number)
            for start in range(self.first, self.first + self.part * self.accumulate, self.part):
                yield clips[start : start + self.part]


class TrainingClips(torch.utils.data.Dataset):
    """Rows of `load_avsbench`, augmented and made ready for the model; an item is `(showing, index)`.

    Args:
        clips: one split.
        processor: of the model; its size is S.
        augmentation: what is changed.
        seed: of the changes.
        batch_size: clips of a step; their number of frames is drawn for all of them, so that little is padded.
        log_mel_cache: folder to keep log-mel examples in, for sound that is the same every time; None: made anew each
            time.
    """

    def __init__(
        self,
        clips: Dataset,
        processor: AudioVisualProcessor,
        augmentation: Augmentation,
        seed: int,
        batch_size: int,
        log_mel_cache: str | os.PathLike | None = None,
    ):
        self.clips, self.processor, self.augmentation = clips, processor, augmentation
        # Labels are of a frame's own example; where several are heard, they are so after training.
        self.extractor = processor.feature_extractor.without_shifts()
        self.seed, self.batch_size = seed, batch_size
        table = clips.select_columns(["id", "setting"])[:]
        self.ids, self.classes = table["id"], SoundingClasses(clips)
        if (augmentation.mix or augmentation.off_screen) and self.classes.told_by == UNKNOWN:
            warnings.warn(f"no sound is mixed in, and silence stands for off_screen: {NOT_TOLD}", stacklevel=2)
        self.repeat_last = "avss" not in table["setting"]
        # Apart, so that the sound of another clip can be had without decoding its frames.
        self.pictures = clips.select_columns(["frames", "labels", "annotated"])
        # A JPEG need not be decoded larger than it is used.
        self.least = math.ceil(processor.image_processor.size["height"] * augmentation.scale[1])
        if isinstance(clips.features["frames"], Frames):
            frames = replace(clips.features["frames"], least=self.least)
            self.pictures = self.pictures.cast_column("frames", frames)
        self.sounds = clips.select_columns(["sound", "log_mel"])
        self.cache = Path(log_mel_cache) if log_mel_cache and not augmentation.changes_sound else None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        showing, index = key
        with errors_name_the_clip(self.ids[index]):
            return self._make(showing, index)

    def _make(self, showing: int, index: int) -> dict[str, torch.Tensor]:
        # The generators follow from the showing alone, not from what was drawn before: any worker can make any clip.
        # Picture and sound draw apart, so that cached sound leaves the pictures what they are.
        rng, sound_rng = (np.random.default_rng([self.seed, showing, purpose]) for purpose in (1, 3))
        row = self.pictures[index]
        kept = cut_frames(len(row["frames"]), self._frames_of_step(showing // self.batch_size), rng)
        negative = negative_kind(self.augmentation, rng)
        features, audio_mask = self._sound(index, len(row["frames"]), kept, negative, sound_rng)
        size = self.processor.image_processor.size["height"]
        self._check_sizes(row)
        pictures, labels = augment_pictures(row["frames"][kept], row["labels"][kept], size, self.augmentation, rng)
        if negative:
            labels = nothing_sounds(labels)
        batch = self.processor(pictures, segmentation_maps=labels, label_mask=row["annotated"][kept])
        return {
            # The processor makes a batch of one clip; `AudioVisualCollator` makes the real one.
            "pixel_values": batch["pixel_values"][0],  # (1, T, 3, S, S) -> (T, 3, S, S)
            "input_features": features,  # (T, 1, 96, 64)
            "frame_mask": batch["frame_mask"][0],  # (1, T) -> (T,)
            "audio_mask": audio_mask,  # (T,)
            "labels": batch["labels"][0],  # (1, T, S, S) -> (T, S, S)
            "label_mask": batch["label_mask"][0],  # (1, T) -> (T,)
        }

    def _check_sizes(self, row: dict) -> None:
        height, width = row["labels"].shape[1:]
        sizes = {frame.size for frame in row["frames"]}
        fitting = {(width, height), reduced_size((width, height), self.least)}
        if not sizes <= fitting and any(row["annotated"]):
            raise ValueError(
                f"its frames are {sorted(sizes)} (width, height) in size, its label maps {(width, height)}; make "
                "them one size"
            )

    def _frames_of_step(self, step: int) -> int | None:
        choices = self.augmentation.frames
        return int(np.random.default_rng([self.seed, step, 2]).choice(choices)) if choices else None

    def _sound(
        self, index: int, length: int, kept: slice, negative: str | None, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Examples `(T, 1, 96, 64)` and which of them there is sound for `(T,)`."""
        extractor, frames = self.extractor, kept.stop - kept.start
        if negative == "silence":
            return sound_examples(extractor, ClipAudio(), frames, self.repeat_last)
        if self.cache is not None:
            features, audio_mask = self._cached(index, length)
            return features[kept], audio_mask[kept]
        own = ClipAudio.of(self.sounds[index])
        if negative == "noise_only":
            own = ClipAudio(make_noise(str(rng.choice(list(NOISES))), rng, length + 1), SAMPLING_RATE)
        elif negative == "off_screen":
            own = self._other(index, rng) or ClipAudio()
        elif own.waveform is not None and self.augmentation.changes_sound:
            other = self._other(index, rng) if rng.random() < self.augmentation.mix else None
            mixed = None if other is None else other.waveform_at(own.sampling_rate)
            changed = augment_sound(own.waveform, own.sampling_rate, self.augmentation, rng, mixed)
            own = ClipAudio(changed, own.sampling_rate)
        features, audio_mask = sound_examples(extractor, own, length, self.repeat_last)
        # Cut after the sound was made of the whole clip: the first frames kept hear what came just before them.
        return features[kept], audio_mask[kept]

    def _other(self, index: int, rng: np.random.Generator) -> ClipAudio | None:
        """The sound of another clip with no class in common; None where ten tries find none or classes are unknown."""
        for other in rng.integers(0, len(self.clips), size=10).tolist():
            own, its = self.classes.of(index), self.classes.of(other)
            if own and its and own.isdisjoint(its):
                return ClipAudio.of(self.sounds[other])
        return None

    def _cached(self, index: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        # The id is part of the name, lest a set that has grown mixes its sounds up.
        path = self.cache / f"{index:06d}-{file_name_of(self.ids[index])}.npz"
        try:
            with np.load(path) as kept:
                return torch.from_numpy(kept["features"]), torch.from_numpy(kept["audio_mask"])
        except (FileNotFoundError, EOFError, ValueError, KeyError, BadZipFile):
            pass  # not there yet, cut short by a loss of power, or of an earlier version
        sound = ClipAudio.of(self.sounds[index])
        features, audio_mask = sound_examples(self.extractor, sound, length, self.repeat_last)
        self.cache.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, features=features.numpy(), audio_mask=audio_mask.numpy())
        return features, audio_mask
