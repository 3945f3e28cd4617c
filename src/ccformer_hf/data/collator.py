"""Clips -> a batch for the model, in `ccformer train`, the `Trainer` of transformers and a `DataLoader` alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..model.pictures_ccformer import IGNORE_LABEL
from ..model.processing_ccformer import AudioVisualProcessor

PADDING = {"labels": IGNORE_LABEL}  # all else is padded with zeros, which is False


class AudioVisualCollator:
    """Rows of a data set, or clips that are ready -> the model's keyword arguments, padded to the longest clip.

    `DataLoader(clips, batch_size=2, collate_fn=AudioVisualCollator(processor))`, and `data_collator` of the `Trainer`
    of transformers, which needs `TrainingArguments(remove_unused_columns=False)` to leave a row its frames.

    Args:
        processor: of the model; it makes the rows ready, each frame with its own sound alone (`without_shifts`).
        fps: frames per second of the rows.
    """

    def __init__(self, processor: AudioVisualProcessor, fps: float = 1.0):
        self.processor, self.fps = processor.without_shifts(), fps

    def __call__(self, clips: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch, `(B, T, ...)` each.

        Args:
            clips: B rows as `AudioVisualProcessor` takes them, or B clips that are ready: of each its tensors
                `(T, ...)` by the names of the model's arguments.

        Raises:
            ValueError: for clips of other kinds, or of both; for a row that cannot be used.
            OSError: for a picture file that is not there.
        """
        ready = ["pixel_values" in clip for clip in clips]
        if all(ready):
            return {name: _padded([clip[name] for clip in clips], name) for name in clips[0]}
        columns = clips[ready.index(False)]
        if any(ready) or "frames" not in columns:
            raise ValueError(
                f"a clip of the batch has {', '.join(columns) or 'no columns'}; expected the columns of a row, frames "
                "and what goes with them (the Trainer of transformers removes them: set remove_unused_columns=False), "
                "or in all clips pixel_values and the model's other arguments"
            )
        return dict(self.processor(list(clips), fps=self.fps))


def _padded(values: list[torch.Tensor], name: str) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=PADDING.get(name, 0))
