"""Makes a set of clips out of videos that nobody has annotated: the tagger listens, the segmenter draws what may
sound, `agreement` decides, and a person reviews.

Nothing here was measured on real weights; how good such labels are is not known, which is what the review is for.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tqdm import tqdm

from ..atomic import AtomicFolder, refuse_filled_folder
from ..data.avsbench import SPLITS
from ..data.folder import CLASSES_FILE
from ..data.synthetic.clips import write_folder_clip
from ..inference.contained_media import probe
from ..model.media_ccformer import MediaError, MediaInfo, shown_path
from ..model.pictures_ccformer import IGNORE_LABEL
from ..model.timing_ccformer import FrameTiming
from .agreement import Thresholds, agreed_labels, silent_classes
from .classes import SoundingClass
from .review import ReviewRow, draw_clip, review_rows, write_review
from .segmenter import Segmenter
from .tagger import Tagger
from .videos import VideoClip, iter_clips, share_out, video_names


@dataclass
class LabelledSet:
    """What `label_videos` wrote.

    Attributes:
        clips: how many of each split.
        empty: how many clips were left out, since nothing in them was sure.
        seconds: of each class, how many it is marked in.
        ignored: 0..1, the share of the pixels that is 255.
        failed: what is wrong with each video that could not be used, to its end or at all.
    """

    clips: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    ignored: float = 0.0
    failed: list[str] = field(default_factory=list)


def probe_videos(videos: Sequence[str | os.PathLike]) -> tuple[list[MediaInfo], list[str]]:
    """What is in the videos that can be used, and what is wrong with the others; reads them in a child process."""
    infos, failed = [], []
    for video in videos:
        try:
            info = probe(video)
        except MediaError as error:
            failed.append(str(error))
            continue
        if info.has_audio:
            infos.append(info)
        else:
            failed.append(f"{shown_path(video)}: has no sound that can be used; expected a video with sound")
    return infos, failed


def label_videos(
    infos: Sequence[MediaInfo],
    out: str | os.PathLike,
    classes: Sequence[SoundingClass],
    tagger: Tagger,
    segmenter: Segmenter,
    thresholds: Thresholds,
    length: int = 10,
    progress: bool = True,
) -> LabelledSet:
    """Labels videos and writes them as clips in the layout of `ccformer_hf.data.folder`, with `review.csv` and
    `review.html` (see `review`). The folder appears whole or not at all.

    One frame per second, at most 512 pixels wide and high, with its sound at 16 kHz. The clips of a video are all in
    one split. A video that cannot be read to its end gives the clips before; a clip in which all is ignored is left
    out.

    Args:
        infos: of the videos, from `probe_videos`.
        out: folder to make; it must not exist yet, or be empty.
        classes: to look for; their places are the ids, from 1.
        tagger, segmenter: of these classes; see there.
        thresholds: from which scores on something is believed.
        length: of a clip in seconds.
        progress: whether to show a progress bar.

    Raises:
        FileExistsError: where `out` is a file, or a folder with something in it.
        ValueError: where no clip is left.
        OSError: where `out` cannot be made.
    """
    out = Path(out)
    refuse_filled_folder(out)
    if length < 1:
        raise ValueError(f"the clips are {length} seconds long; expected at least 1")
    names = video_names([info.path for info in infos])
    jobs = list(zip(infos, names, share_out(names), strict=True))
    total = sum(FrameTiming().num_frames(info.duration) for info in infos)
    made, rows = LabelledSet(), []
    ignored: list[float] = []
    with (
        AtomicFolder(out.resolve(), new=True) as folder,
        tqdm(total=total, desc="labelling", unit="s", disable=not progress) as bar,
    ):
        class_names = ("background", *(sounding.name for sounding in classes))
        (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in class_names[1:]), encoding="utf-8")
        for info, name, split in jobs:
            try:
                for clip in iter_clips(info, length, tagger.sampling_rate):
                    labels, sureness = label_clip(clip, classes, tagger, segmenter, thresholds)
                    bar.update(len(labels))
                    if (labels == IGNORE_LABEL).all():
                        made.empty += 1
                        continue
                    of_clip = _write(folder, split, f"{name}-{clip.start:05d}", clip, labels, sureness, class_names)
                    rows += of_clip
                    made.clips[split] += 1
                    for second in labels:
                        made.seconds.update(
                            class_names[number] for number in np.unique(second) if 0 < number < IGNORE_LABEL
                        )
                    ignored.append(float((labels == IGNORE_LABEL).mean()))
            except MediaError as error:
                made.failed.append(str(error))
        if not rows:
            raise ValueError(
                f"none of {len(infos)} videos gave a clip with anything sure in it; try lower thresholds, other "
                "classes, or more videos" + "".join(f"; {fault}" for fault in made.failed[:1])
            )
        rows.sort(key=lambda row: SPLITS.index(row.split))
        write_review(folder, rows)
    made.ignored = float(np.mean(ignored))
    return made


def label_clip(
    clip: VideoClip,
    classes: Sequence[SoundingClass],
    tagger: Tagger,
    segmenter: Segmenter,
    thresholds: Thresholds,
) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a clip, and how sure they are.

    Returns:
        Labels uint8 `(T, H, W)`, see `agreed_labels`; and `(T, C)`, 0..1, the tagger's score of each class times the
        segmenter's highest.
    """
    scores = tagger(clip.seconds)  # (T, C)
    asked = ~silent_classes(scores, thresholds)
    # Of the classes alone that may sound somewhere in the clip: a drawing is as large as a picture.
    numbers = np.flatnonzero(asked.any(axis=0))
    drawings = np.zeros((len(clip.frames), len(numbers), *clip.frames.shape[1:3]), np.float32)
    for second, frame in enumerate(clip.frames):
        wanted = np.flatnonzero(asked[second, numbers])
        if len(wanted):
            prompts = [classes[number].prompt for number in numbers[wanted]]
            drawings[second, wanted] = segmenter(frame, prompts, thresholds.doubtful)
    found = agreed_labels(scores[:, numbers], drawings, thresholds)  # ids of `numbers`, from 1
    ids = np.arange(256, dtype=np.uint8)
    ids[1 : len(numbers) + 1] = numbers + 1
    sureness = np.zeros_like(scores)
    sureness[:, numbers] = scores[:, numbers] * drawings.max(axis=(2, 3))
    return ids[found], sureness


def _write(
    folder: Path,
    split: str,
    name: str,
    clip: VideoClip,
    labels: np.ndarray,
    sureness: np.ndarray,
    class_names: Sequence[str],
) -> list[ReviewRow]:
    parts = SimpleNamespace(name=name, frames=clip.frames, labels=labels, waveform=clip.waveform)
    write_folder_clip(parts, split, folder)
    draw_clip(folder, split, name, class_names)
    return review_rows(split, name, labels, sureness, class_names)
