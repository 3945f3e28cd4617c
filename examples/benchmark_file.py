"""How fast whole files are segmented: seconds by the clock and of computing, and times real time, by what is written.

    python examples/benchmark_file.py                              # a made clip of 10 s, 1280 x 720 at 25 per second
    python examples/benchmark_file.py --seconds 60 --threshold 0.1 # a longer one; more is marked at a lower threshold
    python examples/benchmark_file.py clip.mp4 --rounds 3

The model is loaded before the clock starts. Computing is that of this process and of those that read the file; on a
machine that does other work too, that is what to compare. Memory is the most that this process ever held, so that of
one row is also that of the rows before it.
"""

import argparse
import resource
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from ccformer_hf import load, segment_video
from ccformer_hf.inference.contained_media import probe
from ccformer_hf.inference.isolation import end_idle_children

OUTPUTS = {
    "all": ("video", "masks", "json", "sheet"),
    "video": ("video",),
    "masks and json": ("masks", "json"),
    "json": ("json",),
}
WIDTH, HEIGHT, FPS, RATE = 1280, 720, 25, 44100


def make_clip(path: Path, seconds: float) -> None:
    """A film that pans over a picture with fine detail, with noise for its sound."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (3, 3 * HEIGHT // 40, 3 * WIDTH // 40, 1))
    # Smooth areas with edges between them, and a little grain: codes about as real films do.
    wide = np.kron(coarse[0, ..., 0], np.ones((20, 20))) + generator.normal(0, 4, (3 * HEIGHT // 2, 3 * WIDTH // 2))
    wide = wide.clip(0, 255).astype(np.uint8)
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = output.add_stream("aac", rate=RATE, layout="mono")
        chroma = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
        for index in range(round(seconds * FPS)):
            left, top = (round((1 + np.sin(index / turn)) * size / 4) for turn, size in ((60, WIDTH), (45, HEIGHT)))
            luma = wide[top : top + HEIGHT, left : left + WIDTH]
            frame = av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            output.mux(pictures.encode(frame))
            samples = generator.normal(0, 0.1, (1, RATE // FPS)).astype(np.float32)
            heard = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, index * (RATE // FPS), Fraction(1, RATE)
            output.mux(sound.encode(heard))
        output.mux(pictures.encode(None))
        output.mux(sound.encode(None))


def computing() -> float:
    """Seconds of computing of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", help="video file (default: one is made)")
    parser.add_argument("--seconds", type=float, default=10, help="of the clip that is made (default %(default)s)")
    parser.add_argument("--model", default="ccformer-tiny", help="model folder or Hub id (default %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.5, help="as of `ccformer segment` (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="times each is run; the fastest counts")
    parser.add_argument("--only", choices=OUTPUTS, help="one row (default: all)")
    args = parser.parse_args()

    loaded = load(args.model)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(args.clip) if args.clip else Path(folder, "made.mp4")
        if not args.clip:
            make_clip(clip, args.seconds)
        info = probe(clip)
        print(
            f"{clip.name}: {info.duration:.1f} s of {info.width} x {info.height} at {info.fps:g} frames per second; "
            f"{args.model}, {torch.get_num_threads()} threads"
        )
        for name in [args.only] if args.only else OUTPUTS:
            runs = []
            for _ in range(args.rounds):
                clock, used = time.perf_counter(), computing()
                segment_video(clip, folder, loaded, threshold=args.threshold, formats=OUTPUTS[name], progress=False)
                clock = time.perf_counter() - clock
                end_idle_children()  # what they have used is known when they have ended
                runs.append((clock, computing() - used))
            clock, used = min(runs)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"  {name:<15} {clock:7.2f} s = {info.duration / clock:5.1f} x real time, "
                f"{used:6.2f} s of computing, {peak:5.0f} MB"
            )


if __name__ == "__main__":
    main()
