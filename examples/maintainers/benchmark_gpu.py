"""Every table of `ccformer benchmark` that a GPU is bought for, in one process and within so many minutes.

    python examples/maintainers/benchmark_gpu.py --output runs/gpu --minutes 3

ResNet-50 and PVT-v2-B5, inference and training, in bfloat16 and float32, against Mask2Former in the same rounds; long
clips and large frames; last, ResNet-50 compiled. Before them, ccformer-small (or `--model`) must compute on the GPU
what it computes on the CPU. What the minutes do not reach is left out and named.
"""

import argparse
import signal
import time
from pathlib import Path

import numpy as np
import torch

from ccformer_hf import load
from ccformer_hf.benchmarking.works import Clips
from ccformer_hf.cli.main import main as ccformer

RUNS = {
    "resnet50-bfloat16": "--backbone resnet50 --dtype bfloat16 --batches 16,1,4,64",
    "pvt-v2-b5-bfloat16": "--backbone pvt-v2-b5 --dtype bfloat16 --batches 16,1,64",
    "resnet50-float32": "--backbone resnet50 --dtype float32 --batches 16,1,64",
    "pvt-v2-b5-float32": "--backbone pvt-v2-b5 --dtype float32 --batches 16,1",
    "resnet50-frames": "--backbone resnet50 --dtype bfloat16 --batches 1 --only frames --frames 5,20,40,80,160",
    "resnet50-sizes": "--backbone resnet50 --dtype bfloat16 --batches 1 --only sizes --sizes 224,320,448,640",
    "resnet50-compiled": "--backbone resnet50 --dtype bfloat16 --batches 16 --only batches --compile",
}


class OutOfTime(Exception):
    """The minutes are over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder; one is made in it for each run")
    parser.add_argument("--minutes", type=float, default=3.0, help="(default %(default)s)")
    parser.add_argument("--model", default="ccformer-small", help="to compare with the CPU (default %(default)s)")
    parser.add_argument("--device", default="cuda", help="(default %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="of each table (default %(default)s)")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * args.minutes

    compare_with_cpu(args.model, args.device)
    signal.signal(signal.SIGALRM, _stop)
    for name, words in RUNS.items():
        left = end - time.monotonic()
        if left < 5:
            print(f"{name}: left out, the {args.minutes:g} minutes are over")
            continue
        signal.alarm(int(left))
        begun = time.monotonic()
        try:
            ccformer(
                ["benchmark", *words.split(), "--device", args.device, "--rounds", str(args.rounds)]
                + ["-o", str(args.output / name)]
            )
            print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
        except OutOfTime:
            print(f"{name}: cut short, the {args.minutes:g} minutes are over")
        finally:
            signal.alarm(0)


@torch.inference_mode()
def compare_with_cpu(name: str, device: str) -> None:
    """Prints how far probabilities and labels on a GPU lie from those on the CPU, on two random clips."""
    model, processor = load(name, "cpu")
    torch.manual_seed(0)
    pixels, log_mel = Clips(2, 5, processor.image_processor.size["height"]).random(model)
    expected = model(pixels, log_mel).logits.exp()
    model = model.to(device)
    for dtype in (torch.float32, torch.bfloat16):
        found = model.to(dtype)(pixels.to(device, dtype), log_mel.to(device, dtype)).logits.float().exp().cpu()
        far = (found - expected).abs()
        same = (found.argmax(2) == expected.argmax(2)).float().mean().item()
        print(
            f"{name} on {device} in {dtype}: probabilities at most {far.max():.1e} from the CPU's, in the middle "
            f"{np.median(far):.1e}; the same label in {same:.4%} of the cells",
            flush=True,
        )


def _stop(number: int, frame: object) -> None:
    raise OutOfTime


if __name__ == "__main__":
    main()
