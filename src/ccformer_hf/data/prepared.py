"""Made-up clips made ready for training once, and batches of them: resized frames, label maps and log-mel in flat files.

The files hold one row per frame, memory-mapped, so that workers share them and a second run starts at once.
"""

import json
import os
import random
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from ..feature_extraction_ccformer import CCFormerFeatureExtractor
from ..image_processing_ccformer import CCFormerImageProcessor
from ..processing_ccformer import AudioVisualProcessor
from ..timeline_ccformer import Timeline
from .made_up import make_clip

# One clip in six has a single source, half are of the semantic set with its ten-frame clips.
SETTINGS = ("avss", "ms3", "avss", "s4", "avss", "ms3")


def _prepare_one(task: tuple[int, int, int]) -> dict[str, np.ndarray]:
    seed, index, size = task
    clip = make_clip(SETTINGS[index % len(SETTINGS)], seed, index)
    extractor = CCFormerFeatureExtractor()
    sound = extractor([clip.waveform], sampling_rate=16000, timestamps=[Timeline().frame_times(len(clip.frames))])
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float(), size=(size, size), mode="bilinear", antialias=True
    )
    labels = torch.nn.functional.interpolate(
        torch.from_numpy(clip.labels)[:, None], size=(size, size), mode="nearest-exact"
    )
    return {
        "frames": resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy(),
        "labels": labels[:, 0].numpy(),
        "features": np.asarray(sound["input_features"])[0, :, 0].astype(np.float32),
        "audio_mask": np.asarray(sound["audio_mask"])[0],
    }


def prepare_made_up_clips(folder: str | Path, clips: int, seed: int, size: int, workers: int = 2) -> Path:
    """Makes `clips` made-up clips of `seed` at `size` x `size` ready in `folder`; a folder that is already whole is kept."""
    folder = Path(folder) / f"made-up-{clips}-{seed}-{size}"
    if folder.exists():
        return folder
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    files = {name: open(temporary / f"{name}.bin", "wb") for name in ("frames", "labels", "features", "audio_mask")}
    lengths = []
    with get_context("spawn").Pool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        tasks = ((seed, index, size) for index in range(clips))
        for arrays in tqdm(pool.imap(_prepare_one, tasks, chunksize=8), total=clips, desc="making clips", unit="clip"):
            lengths.append(len(arrays["frames"]))
            for name, array in arrays.items():
                array.tofile(files[name])
    for file in files.values():
        file.close()
    (temporary / "clips.json").write_text(json.dumps({"size": size, "lengths": lengths}))
    os.replace(temporary, folder)
    return folder


class PreparedClips(Dataset):
    """Clips of a folder written by `prepare_made_up_clips`; item = dict of arrays with one row per frame."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        about = json.loads((folder / "clips.json").read_text())
        size, self.ends = about["size"], np.cumsum(about["lengths"])
        shapes = {
            "frames": (np.uint8, (size, size, 3)),
            "labels": (np.uint8, (size, size)),
            "features": (np.float32, (96, 64)),
            "audio_mask": (np.bool_, ()),
        }
        self.arrays = {
            name: np.memmap(folder / f"{name}.bin", dtype, "r").reshape(-1, *shape)
            for name, (dtype, shape) in shapes.items()
        }

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rows = slice(self.ends[index - 1] if index else 0, self.ends[index])
        return {name: array[rows] for name, array in self.arrays.items()}


class TrainingBatch:
    """Collates prepared clips: random mirror, random muting, a random span of frames per batch, padding.

    Args:
        processor: gives the normalisation of the frames.
        spans: numbers of frames to draw from, one drawn per batch.
        mute: share of clips that lose their sound; nothing of them is to be marked then.
    """

    def __init__(self, processor: AudioVisualProcessor, spans: tuple[int, ...] = (5, 5, 5, 10), mute: float = 0.05):
        images: CCFormerImageProcessor = processor.image_processor
        self.mean = torch.tensor(images.image_mean).view(3, 1, 1) * 255
        self.std = torch.tensor(images.image_std).view(3, 1, 1) * 255
        self.spans, self.mute = spans, mute

    def __call__(self, clips: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        most = random.choice(self.spans)
        rows = [self.augment(clip, most) for clip in clips]
        frames = max(len(row["frame_mask"]) for row in rows)
        batch = {}
        for name in rows[0]:
            padded = rows[0][name].new_zeros(len(rows), frames, *rows[0][name].shape[1:])
            for row, target in zip(rows, padded, strict=True):
                target[: len(row[name])] = row[name]
            batch[name] = padded
        return batch

    def augment(self, clip: dict[str, np.ndarray], most: int) -> dict[str, torch.Tensor]:
        length = min(most, len(clip["frames"]))
        start = random.randint(0, len(clip["frames"]) - length)
        clip = {name: torch.from_numpy(np.array(array[start : start + length])) for name, array in clip.items()}
        pixels = (clip["frames"].permute(0, 3, 1, 2).float() - self.mean) / self.std
        labels, features, audio_mask = clip["labels"].long(), clip["features"][:, None], clip["audio_mask"]
        if random.random() < 0.5:
            pixels, labels = pixels.flip(-1), labels.flip(-1)
        if random.random() < self.mute:
            labels, features, audio_mask = labels * 0, features * 0, audio_mask & False
        return {
            "pixel_values": pixels,
            "input_features": features,
            "audio_mask": audio_mask,
            "labels": labels,
            "frame_mask": torch.ones(length, dtype=torch.bool),
        }
