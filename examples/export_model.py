"""Exports a model (torch program, ONNX, half precision, int8); prints size, time and mIoU of each on synthetic clips.

    pip install "ccformer-hf[onnx]"
    python examples/export_model.py                                  # the checkpoint inside the package
    python examples/export_model.py --model runs/tiny/last --output runs/exported --clips 10

All run in one process on the CPU, clip by clip in turn, so that a slower moment of the machine meets them all. The
files stay in the output folder; the first lines of `variants` show how each is made and run.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccformer_hf import CCFormerForAudioVisualSegmentation
from ccformer_hf.data.synthetic.clips import make_clip
from ccformer_hf.inference.export import export_onnx, export_program, onnx_runner, quantize_int8
from ccformer_hf.inference.loading import load
from ccformer_hf.metrics.binary import binary_iou
from ccformer_hf.model.modeling_ccformer import CCFormerOutput
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE

Run = Callable[[dict[str, Tensor]], Tensor]  # what the processor returns -> logits


def in_torch(model: torch.nn.Module, dtype: torch.dtype) -> Run:
    def run(inputs: dict[str, Tensor]) -> Tensor:
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        result = model(**inputs)
        return result if isinstance(result, Tensor) else result.logits

    return run


def variants(
    model: CCFormerForAudioVisualSegmentation, folder: Path, size: tuple[int, int] | None
) -> dict[str, tuple[int, Run]]:
    """Name -> bytes and a call, the model as it is first."""
    program = export_program(model, size)
    torch.export.save(program, folder / "model.pt2")
    export_onnx(program, folder / "model.onnx")
    quantize_int8(folder / "model.onnx", folder / "model-int8.onnx")
    made = {"float32": (model.get_memory_footprint(), in_torch(model, torch.float32))}
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(model).to(dtype)
        made[str(dtype).removeprefix("torch.")] = (half.get_memory_footprint(), in_torch(half, dtype))
    made["torch program"] = ((folder / "model.pt2").stat().st_size, in_torch(program.module(), torch.float32))
    for name, file in (("ONNX", "model.onnx"), ("ONNX int8", "model-int8.onnx")):
        made[name] = ((folder / file).stat().st_size, onnx_runner(folder / file))
    return made


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ccformer-tiny", help="model folder or Hub id (default %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/exported"), help="folder (default %(default)s)")
    parser.add_argument("--clips", type=int, default=50, help="synthetic ms3 clips (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the clips (default %(default)s)")
    parser.add_argument(
        "--one-size",
        action="store_true",
        help="for pictures of the processor's size only, as some backbones of timm take them",
    )
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    model, processor = load(args.model, "cpu")

    size = processor.image_processor.size
    made = variants(model, args.output, (size["height"], size["width"]) if args.one_size else None)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in made}
    changed: dict[str, list[float]] = {name: [] for name in made}
    largest = dict.fromkeys(made, 0.0)
    for index in range(args.clips):
        clip = make_clip("ms3", args.seed, index)
        inputs = dict(processor(clip.frames, audio=clip.waveform, sampling_rate=SAMPLING_RATE))
        for name, (_, run) in made.items():
            if index == 0:
                run(inputs)  # the first run of each warms up
            start = time.perf_counter()
            logits = run(inputs)
            seconds[name].append(time.perf_counter() - start)
            if name == "float32":
                expected = logits
            largest[name] = max(largest[name], (logits.exp() - expected.exp()).abs().max().item())
            changed[name].append((logits.argmax(2) != expected.argmax(2)).float().mean().item())
            size = [clip.frames.shape[1:3]]
            maps = processor.post_process_semantic_segmentation(CCFormerOutput(logits=logits), target_sizes=size)[0]
            scores[name].append(binary_iou(np.asarray(maps) > 0, clip.labels > 0))

    print(
        f"{args.model} on {args.clips} synthetic ms3 clips, seed {args.seed}; CPU, {torch.get_num_threads()} threads"
    )
    print("                     MB   ms a clip  binary mIoU  cells changed  largest difference of a probability")
    for name, (size, _) in made.items():
        print(
            f"  {name:<14} {size / 1e6:6.1f} {statistics.median(seconds[name]) * 1000:10.1f} "
            f"{np.mean(np.concatenate(scores[name])):12.4f} {np.mean(changed[name]):13.3%} {largest[name]:12.1e}"
        )


if __name__ == "__main__":
    main()
