"""How long a model takes on a clip, as a whole and by part, against its floor: the two backbones alone.

    python examples/benchmark.py                       # ResNet-50 model, random weights, 5 frames of 224 x 224
    python examples/benchmark.py --model ccformer-tiny --frames 10

All parts are timed in one process, interleaved round by round, so that a slower or faster moment of the machine meets them all;
the table gives medians. Nothing here is a score: random weights are as fast as trained ones.
"""

import argparse
import statistics
import time

import torch

from ccformer_hf import CCFormerConfig, CCFormerForAudioVisualSegmentation
from ccformer_hf.inference.loading import load
from ccformer_hf.model.layers_ccformer import sine_code


def parts(model: CCFormerForAudioVisualSegmentation, frames: int, size: int) -> dict[str, object]:
    """Name -> a call that runs this part alone, on inputs that were made by the parts before it."""
    device = model.device
    pixels = torch.randn(1, frames, 3, size, size, device=device)
    log_mel = torch.randn(1, frames, 1, 96, 64, device=device)
    inner = model.model
    audible = torch.ones(1, frames, dtype=torch.bool, device=device)
    maps, sound = inner.see(pixels, None), inner.hear(log_mel, audible)
    times = sine_code(torch.arange(frames, device=device), sound.shape[-1])
    fused, heard = inner.eim(maps, sound, times, None) if inner.eim is not None else (maps, [])
    sounds = torch.stack([sound, *heard], dim=2)
    memory, fine = inner.pixel_decoder(fused)
    calls = {
        "whole model": lambda: model(pixels, log_mel),
        "visual backbone": lambda: inner.backbone(pixels.flatten(0, 1)),
        "audio backbone": lambda: inner.audio_backbone(log_mel.flatten(0, 1)),
        "EIM": lambda: inner.eim(maps, sound, times, None),
        "pixel decoder": lambda: inner.pixel_decoder(fused),
        "MTM": lambda: inner.mtm(memory, fine, sounds, times, None),
    }
    if inner.eim is None:
        del calls["EIM"]
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model folder or Hub id (default: the ResNet-50 model with random weights)")
    parser.add_argument("--frames", type=int, default=5, help="frames of the clip (default %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the frames in pixels (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="times each part runs (default %(default)s)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()

    if args.model:
        model, _ = load(args.model, args.device)
    else:
        model = CCFormerForAudioVisualSegmentation(CCFormerConfig()).to(args.device).eval()
    with torch.inference_mode():
        calls = parts(model, args.frames, args.size)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for round_number in range(args.rounds + 2):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                if args.device == "cuda":
                    torch.cuda.synchronize()
                if round_number >= 2:  # the first rounds warm up
                    seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    floor = median["visual backbone"] + median["audio backbone"]
    threads = f", {torch.get_num_threads()} threads" if args.device == "cpu" else ""
    print(
        f"{args.model or 'ResNet-50'}: {args.frames} frames of {args.size} x {args.size}, float32, {args.device}{threads}"
    )
    for name, value in median.items():
        print(f"  {name:<16} {value * 1000:8.1f} ms  {value / floor:5.2f} x floor")
    rest = median["whole model"] - sum(value for name, value in median.items() if name != "whole model")
    print(f"  {'the rest':<16} {rest * 1000:8.1f} ms  {rest / floor:5.2f} x floor")
    print(f"  {'floor':<16} {floor * 1000:8.1f} ms  (both backbones)")
    print(f"whole model = {median['whole model'] / floor:.2f} x its floor")


if __name__ == "__main__":
    main()
