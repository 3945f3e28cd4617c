"""Measures a model: by part, many clips at a time, in training, and against the number and the size of the frames."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..atomic import scratch_folder
from ..inference.export import export_onnx, export_program, onnx_runner, quantize_int8
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from .choices import TABLES
from .measuring import Row, measure, ratio
from .works import (
    AUDIO,
    FLOOR,
    REST,
    VISUAL,
    WHOLE,
    Clips,
    Network,
    mask2former,
    network_works,
    networks,
    part_works,
    training_works,
)

PARTS, BATCHES, FRAMES, SIZES, TRAINING = TABLES


@dataclass(frozen=True)
class Table:
    """Rows that were measured in the same rounds; those of the same input have a `FLOOR` among them.

    Attributes:
        kind: one of `TABLES`.
        rows: in the order to show them.
    """

    kind: str
    rows: list[Row]

    def against_floor(self, row: Row) -> tuple[float, float, float]:
        """How many times as long as both backbones alone on the same input: median and quartiles, see `ratio`."""
        of_input = (row.clips, row.frames, row.size)
        floor = next(r for r in self.rows if r.name == FLOOR and (r.clips, r.frames, r.size) == of_input)
        return ratio(row, floor)


def benchmark(
    model: CCFormerForAudioVisualSegmentation,
    frames: Sequence[int] = (5,),
    sizes: Sequence[int] = (224,),
    batches: Sequence[int] = (1, 4, 16),
    rounds: int = 5,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    onnx: bool = False,
    only: str | None = None,
) -> Iterator[Table]:
    """Measures a model against its two backbones alone (its floor) and against Mask2Former on the same visual one.

    Args:
        model: on the device to measure. It is changed (dtype, statistics of its batch norms): load it anew for use.
        frames: of a clip.
        sizes: sides of the frames in pixels, multiples of 32 and at least 64.
        batches: clips at a time. Of each of the three the first is taken where the others vary.
        rounds: times everything is timed.
        dtype: of the weights and, in training, of the computations alone.
        compiled: also what `torch.compile` makes of the model and of its backbones; takes minutes.
        onnx: also the ONNX file, and the one in int8; takes minutes, on a CPU in float32 alone.
        only: one of `TABLES`; None: all.

    Returns:
        An iterator over the tables, each as soon as it is measured, in the order of `TABLES`; those of frames and of
        sizes where there are several of these.

    Raises:
        ValueError: where the GPU has too little memory; for `onnx` elsewhere than on a CPU in float32; for `only` a
            table of frames or sizes where there is one value.
    """
    if onnx and (model.device.type != "cpu" or dtype != torch.float32):
        raise ValueError(
            f"ONNX files are measured on a CPU in float32, not on {model.device.type} in "
            f"{str(dtype).removeprefix('torch.')}; leave out --onnx; expected --device cpu --dtype float32 with it"
        )
    for kind, values in ((FRAMES, frames), (SIZES, sizes)):
        if only == kind and len(values) == 1:
            raise ValueError(f"a table over {kind} was asked for and one value given, {values[0]}; expected several")
    device, first = model.device, Clips(batches[0], frames[0], sizes[0])
    model = model.to(dtype).eval().requires_grad_(False)  # counting FLOPs stumbles over weights that want a gradient
    other = mask2former(model)
    if other is not None:
        other.requires_grad_(False)
    found = networks(model, other, compiled)
    eager = [network for network in found if network.counted]
    varied = {
        BATCHES: [Clips(number, frames[0], sizes[0]) for number in batches],
        FRAMES: [Clips(batches[0], number, sizes[0]) for number in frames],
        SIZES: [Clips(batches[0], frames[0], size) for size in sizes],
    }
    wanted = [kind for kind in TABLES if only in (None, kind)]
    wanted = [kind for kind in wanted if kind not in (FRAMES, SIZES) or len(varied[kind]) > 1]
    onnx = onnx and (PARTS in wanted or BATCHES in wanted)
    with _onnx_networks(model if onnx else None) as files:
        if PARTS in wanted:
            whole = [network for network in (*found, *files) if network.name != FLOOR]
            with torch.inference_mode():
                works = [*part_works(model, first), *network_works(whole, model, [first])]
                rows = measure(works, rounds, device, PARTS)
            yield Table(PARTS, _with_sums(rows))
        for kind in (kind for kind in wanted if kind in varied):
            given = [*found, *files] if kind == BATCHES else eager
            with torch.inference_mode():
                rows = measure(network_works(given, model, varied[kind]), rounds, device, kind)
            yield Table(kind, rows)
    if TRAINING in wanted:
        for network in filter(None, (model, other)):
            network.float().train().requires_grad_(True)
        works = training_works(model, other, first, dtype)
        yield Table(TRAINING, measure(works, rounds, device, TRAINING))


def _with_sums(rows: list[Row]) -> list[Row]:
    """The parts, with the sum of both backbones and with what the whole model takes beyond all parts, round by round.

    A part alone may wait less than within the whole, so that the rest holds that too.
    """
    at_whole = next(number for number, row in enumerate(rows) if row.name == WHOLE)
    parts, whole = rows[:at_whole], rows[at_whole:]
    backbones = [row for row in parts if row.name in (VISUAL, AUDIO)]
    return [
        *backbones,
        _combined(FLOOR, backbones, []),
        *(row for row in parts if row not in backbones),
        _combined(REST, [whole[0]], parts),
        *whole,
    ]


def _combined(name: str, plus: Sequence[Row], minus: Sequence[Row]) -> Row:
    """The sum of some rows less that of others, in all that adds up; memory does not."""
    seconds = np.sum([row.seconds for row in plus], axis=0) - np.sum([row.seconds for row in minus], axis=0)
    parameters = sum(row.parameters for row in plus) - sum(row.parameters for row in minus)
    flops = sum(row.flops for row in plus) - sum(row.flops for row in minus)
    return Row(name, plus[0].clips, plus[0].frames, plus[0].size, seconds.tolist(), parameters, flops)


@contextmanager
def _onnx_networks(model: CCFormerForAudioVisualSegmentation | None) -> Iterator[list[Network]]:
    """The model's ONNX file and that in int8, as long as they are in use; None: none."""
    if model is None:
        yield []
        return
    with scratch_folder("ccformer-benchmark") as folder:
        files = {name: folder / f"{name}.onnx" for name in ("ONNX", "ONNX int8")}
        with torch.inference_mode(False):
            export_onnx(export_program(model), files["ONNX"])
        quantize_int8(files["ONNX"], files["ONNX int8"])
        yield [_onnx_network(name, path) for name, path in files.items()]


def _onnx_network(name: str, path: Path) -> Network:
    run = onnx_runner(path)

    def call(pixels: Tensor, log_mel: Tensor) -> Tensor:
        every = torch.ones(pixels.shape[:2], dtype=torch.bool)
        return run({"pixel_values": pixels, "input_features": log_mel, "frame_mask": every, "audio_mask": every})

    return Network(name, call, counted=False)
