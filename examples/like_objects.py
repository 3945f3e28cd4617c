"""How well objects are taken apart and followed: made clips of two objects, scored as AVISeg is.

    python examples/like_objects.py                # takes minutes
    python examples/like_objects.py --clips 4 --fps 4 8

Three cases, each of so many clips of drawn objects of ccformer-tiny that move across the picture:

    two classes       two objects of two classes, one sounds, then the other
    two alike, both   two objects of one class, and both sound
    two alike, one    two objects of one class; one moves and sounds, from the moment at which it sets out; the other
                      stands still, and the sound cannot tell which of them it is

`segment_video` looks `--fps` times a second; its objects (`segments.json`) are scored at the looks against what was
drawn, by mAP, HOTA with its halves, and FSLA, see `ccformer_hf.metrics.instances`. "numbers" is how many objects it
counted for each that sounded. For "two alike, one" also, over the looks that mark any: how much of the pixels marked
on the two objects is on the one that sounds, where a half is no better than chance.
"""

import argparse
import tempfile
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np

from ccformer_hf import load, segment_video
from ccformer_hf.data.synthetic.clips import STANDARD
from ccformer_hf.data.synthetic.pictures import Layer, draw_background, draw_object, render
from ccformer_hf.data.synthetic.sounds import SAMPLING_RATE, make_background_noise, make_room, make_stem
from ccformer_hf.inference.rle import decoded
from ccformer_hf.inference.segments_json import Segments
from ccformer_hf.inference.video_writer import VideoWriter
from ccformer_hf.metrics.instances import InstanceSegmentation, SoundingObject

SECONDS, FPS, SIZE = 5, 25, 448
CASES = ("two classes", "two alike, both", "two alike, one")


def make_clip(path: Path, case: str, seed: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Writes a clip of two objects.

    Returns:
        Their class ids, their visible pixels `(2, T, H, W)` bool, and whether each sounds in each frame `(2, T)`.
    """
    rng = np.random.default_rng([140, CASES.index(case), seed])
    first, other = rng.permutation(len(STANDARD))[:2].tolist()
    classes = [first, other if case == "two classes" else first]
    times = np.arange(SECONDS * FPS) / FPS
    onset = round(rng.uniform(0.8, 2.0) * FPS) / FPS
    change = round(rng.uniform(2.5, 3.5) * FPS) / FPS
    if case == "two classes":
        sounding = np.stack([(times >= onset) & (times < change), times >= change])
    elif case == "two alike, both":
        sounding = np.stack([times >= onset] * 2)
    else:
        sounding = np.stack([times >= onset, np.zeros(len(times), bool)])
    layers = []
    for number, class_id in enumerate(classes):
        direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.3)  # sides of the picture per second
        layer = Layer.draw(draw_object(STANDARD[class_id], rng, SIZE), rng, 0.26, 0.36)
        moving = speed * np.cos(direction), speed * np.sin(direction)
        still = case == "two alike, one" and number == 1
        layers.append(replace(layer, speed=(0.0, 0.0) if still else moving, turning=0.0))
    background = draw_background(rng, SIZE)
    audible = np.repeat(sounding, SAMPLING_RATE // FPS, axis=1)  # (2, S)
    stems = [make_stem(STANDARD[class_id], rng, SECONDS, make_room(rng)).reshape(-1) for class_id in classes]
    sound = sum(stem * heard for stem, heard in zip(stems, audible, strict=True))
    sound = sound + 0.3 * make_background_noise(rng, SECONDS)
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes((sound / max(1, np.abs(sound).max()) * 32767).astype("<i2").tobytes())
    pixels = np.zeros((2, len(times), SIZE, SIZE), bool)
    with VideoWriter(path, SIZE, SIZE, FPS, path.with_suffix(".wav")) as video:
        for number, time in enumerate(times.tolist()):
            # "two alike, one": both stand still until the onset
            shown = max(0.0, time - onset) if case == "two alike, one" else time
            frame, pixels[:, number], _ = render(background, layers, shown)
            video.write(frame, time)
    return [1 + class_id for class_id in classes], pixels, sounding


def objects_of(segments: Segments) -> list[SoundingObject]:
    """The objects of a result, with a mask for each look."""
    frames, (height, width) = segments["frames"], (segments["source"]["height"], segments["source"]["width"])
    masks = {one["id"]: np.zeros((len(frames), height, width), bool) for one in segments["objects"]}
    for index, frame in enumerate(frames):
        for entry in frame["sounding"]:
            for seen in entry["objects"]:
                masks[seen["id"]][index] = decoded(seen["rle"])
    return [SoundingObject(one["class_id"], masks[one["id"]], one["score"]) for one in segments["objects"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12, help="of each case")
    parser.add_argument("--fps", type=float, nargs="+", default=[4], help="looks per second")
    args = parser.parse_args()
    loaded = load("ccformer-tiny")
    print(f"{args.clips} clips of {SECONDS} s per case, {SIZE} x {SIZE}, ccformer-tiny")
    print(
        f"{'case':<16} {'looks/s':>7} {'mAP':>6} {'HOTA':>6} {'DetA':>6} {'AssA':>6} {'FSLA':>6} {'one':>6} "
        f"{'several':>8} {'numbers':>8}"
    )
    for case in CASES:
        for fps in args.fps:
            scores, counted, sounded, shares = InstanceSegmentation(), 0, 0, []
            for seed in range(args.clips):
                with tempfile.TemporaryDirectory() as folder:
                    clip = Path(folder, "clip.mp4")
                    classes, pixels, sounding = make_clip(clip, case, seed)
                    segments = segment_video(clip, folder, loaded, fps, formats=["json"], progress=False).segments
                at = [min(int(frame["time"] * FPS + 1e-6), SECONDS * FPS - 1) for frame in segments["frames"]]
                heard = pixels[:, at] & sounding[:, at, None, None]
                truth = [SoundingObject(c, masks) for c, masks in zip(classes, heard, strict=True) if masks.any()]
                found = objects_of(segments)
                scores.add(found, truth, len(at))
                counted, sounded = counted + len(found), sounded + len(truth)
                marked = np.any([one.masks for one in found], axis=0) if found else np.zeros_like(heard[0])
                right, wrong = ((marked & pixels[number, at]).sum((1, 2)) for number in (0, 1))
                some = right + wrong > 0
                shares += (right[some] / (right + wrong)[some]).tolist()
            row = scores.compute()
            numbers = [row[name] for name in ("map", "hota", "deta", "assa", "fsla", "fsla_one", "fsla_several")]
            text = " ".join(f"{'-' if value is None else f'{value:.3f}':>6}" for value in numbers)
            print(f"{case:<16} {fps:>7g} {text:>50} {counted / max(1, sounded):>8.2f}")
            if case == "two alike, one":
                print(f"{'':<16} share of what is marked that is on the one that sounds: {np.mean(shares):.3f}")


if __name__ == "__main__":
    main()
