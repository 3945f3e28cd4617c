"""How long a model takes on a clip, as a whole and by part, against its floor: the two backbones alone.

    python examples/benchmark.py                       # ResNet-50 model, random weights, 5 frames of 224 x 224
    python examples/benchmark.py --backbone pvt-v2-b5 --rounds 5
    python examples/benchmark.py --training            # a step, forward and backward, against the backbones' own
    python examples/benchmark.py --model ccformer-tiny --frames 10

All parts are timed in one process, interleaved round by round, so that a slower or faster moment of the machine meets
them all; the table gives medians. Nothing here is a score: random weights are as fast as trained ones.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from ccformer_hf import CCFormerConfig, CCFormerForAudioVisualSegmentation
from ccformer_hf.inference.loading import load
from ccformer_hf.model.layers_ccformer import time_embedding

BACKBONES = {
    "resnet-50": {"model_type": "resnet"},
    "pvt-v2-b5": {
        "model_type": "pvt_v2",
        "hidden_sizes": [64, 128, 320, 512],
        "depths": [3, 6, 40, 3],
        "mlp_ratios": [4, 4, 4, 4],
    },
}
Calls = dict[str, Callable[[], object]]


def random_clip(
    model: CCFormerForAudioVisualSegmentation, frames: int, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures `(1, T, 3, S, S)` and log-mel `(1, T, 1, 96, 64)`."""
    pixels = torch.randn(1, frames, 3, size, size, device=model.device)
    return pixels, torch.randn(1, frames, 1, 96, 64, device=model.device)


def inference_calls(model: CCFormerForAudioVisualSegmentation, frames: int, size: int) -> Calls:
    """Name -> a call that runs this part alone, on inputs that were made by the parts before it."""
    pixels, log_mel = random_clip(model, frames, size)
    inner = model.model
    audible = torch.ones(1, frames, dtype=torch.bool, device=model.device)
    maps, audio = inner.encode_frames(pixels, None), inner.encode_audio(log_mel, audible)
    time_embed = time_embedding(audio)
    fused, fused_audio = inner.eim(maps, audio, time_embed, None) if inner.eim is not None else (maps, [])
    audio_tokens = torch.stack([audio, *fused_audio], dim=2)
    multi_scale_features, mask_features = inner.pixel_decoder(fused)
    calls = {
        "whole model": lambda: model(pixels, log_mel),
        "visual backbone": lambda: inner.backbone_features(pixels.flatten(0, 1)),
        "audio backbone": lambda: inner.audio_backbone(log_mel.flatten(0, 1)),
        "EIM": lambda: inner.eim(maps, audio, time_embed, None),
        "pixel decoder": lambda: inner.pixel_decoder(fused),
        "MTM": lambda: inner.mtm(multi_scale_features, mask_features, audio_tokens, time_embed, None),
    }
    if inner.eim is None:
        del calls["EIM"]
    return calls


def training_calls(model: CCFormerForAudioVisualSegmentation, frames: int, size: int) -> Calls:
    """Forward and backward: of the whole model with its losses, and of each backbone with the sum of what it gives."""
    pixels, log_mel = random_clip(model, frames, size)
    labels = torch.zeros(1, frames, size, size, dtype=torch.long, device=model.device)
    labels[:, :, size // 4 : size // 2, size // 4 : size // 2] = 1
    inner = model.model
    return {
        "whole model": lambda: model(pixels, log_mel, labels=labels).loss.backward(),
        "visual backbone": lambda: sum(m.sum() for m in inner.backbone_features(pixels.flatten(0, 1))).backward(),
        "audio backbone": lambda: inner.audio_backbone(log_mel.flatten(0, 1)).sum().backward(),
    }


def median_seconds(calls: Calls, rounds: int, device: str) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_number >= 2:  # the first rounds warm up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of = parser.add_mutually_exclusive_group()
    of.add_argument("--model", help="model folder or Hub id (default: a model with random weights)")
    of.add_argument("--backbone", choices=BACKBONES, default="resnet-50", help="of that one (default %(default)s)")
    parser.add_argument("--training", action="store_true", help="time training steps, not use")
    parser.add_argument("--frames", type=int, default=5, help="frames of the clip (default %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the frames in pixels (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="times each part runs (default %(default)s)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()

    if args.model:
        model, _ = load(args.model, args.device)
    else:
        config = CCFormerConfig(backbone_config=BACKBONES[args.backbone])
        model = CCFormerForAudioVisualSegmentation(config).to(args.device).eval()
    model.train(args.training)
    with torch.inference_mode(not args.training):
        calls = (training_calls if args.training else inference_calls)(model, args.frames, args.size)
        median = median_seconds(calls, args.rounds, args.device)
    floor = median["visual backbone"] + median["audio backbone"]
    what = "training step" if args.training else "inference"
    threads = f", {torch.get_num_threads()} threads" if args.device == "cpu" else ""
    print(
        f"{args.model or args.backbone}: {args.frames} frames of {args.size} x {args.size}, {what}, float32, "
        f"{args.device}{threads}"
    )
    for name, value in median.items():
        print(f"  {name:<16} {value * 1000:8.1f} ms  {value / floor:5.2f} x floor")
    rest = median["whole model"] - sum(value for name, value in median.items() if name != "whole model")
    print(f"  {'the rest':<16} {rest * 1000:8.1f} ms  {rest / floor:5.2f} x floor")
    print(f"  {'floor':<16} {floor * 1000:8.1f} ms  (both backbones)")
    print(f"whole model = {median['whole model'] / floor:.2f} x its floor")


if __name__ == "__main__":
    main()
