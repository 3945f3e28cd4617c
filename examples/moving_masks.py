"""How well masks follow the picture, and at what price: made clips of fast objects, whose masks and onsets are known.

    python examples/moving_masks.py                # takes minutes
    python examples/moving_masks.py --clips 2 --fps 2 8

Every row is `segment_video` with so many looks of the model per second. "frozen" is the mask of one look a second,
held over that second as it was before masks followed. IoU is the mean over all frames in which either marks something,
of the same class, with the masks of the model run at every frame ("model") and with what was drawn ("truth"). Boundary
F is DAVIS's, at its tolerance of 0.8 % of the diagonal and at half of it, on the frames of the looks, raw
(`iter_segments`) and as written.
Onset and end: how much later than the sound (s) the mask of its object appears and goes, over the clips: median, and
the one furthest off. Price: seconds of computing for all four outputs.
"""

import argparse
import tempfile
import time
import wave
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ccformer_hf import iter_segments, load, segment_video
from ccformer_hf.data.synthetic.clips import STANDARD
from ccformer_hf.data.synthetic.pictures import Layer, draw_background, draw_object, render
from ccformer_hf.data.synthetic.sounds import SAMPLING_RATE, make_background_noise, make_room, make_stem
from ccformer_hf.inference.video_writer import VideoWriter

SECONDS, FPS, SIZE = 5, 25, 448
LARGE_ENOUGH = 0.01  # share of the picture that counts as marked


def make_clip(path: Path, seed: int) -> tuple[np.ndarray, float, float]:
    """Two objects cross the picture; one sounds, then the other, and each change has a known time.

    Returns:
        What sounds, `(T, H, W)` uint8 class ids of ccformer-tiny, and the times (s) of onset and change.
    """
    rng = np.random.default_rng([14, seed])
    ids = rng.permutation(len(STANDARD))[:2]
    layers = []
    for class_id in ids:
        direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.7)  # sides of the picture per second
        layer = Layer.draw(draw_object(STANDARD[class_id], rng, SIZE), rng, 0.3, 0.42)
        moving = speed * np.cos(direction), speed * np.sin(direction)
        layers.append(replace(layer, speed=moving, turning=rng.uniform(-60, 60)))
    background = draw_background(rng, SIZE)
    onset, change = (round(rng.uniform(low, low + 1) * FPS) / FPS for low in (0.6, 2.5))
    stems = [make_stem(STANDARD[class_id], rng, SECONDS, make_room(rng)).reshape(-1) for class_id in ids]
    clock = np.arange(SECONDS * SAMPLING_RATE) / SAMPLING_RATE
    sound = stems[0] * ((clock >= onset) & (clock < change)) + stems[1] * (clock >= change)
    sound += 0.3 * make_background_noise(rng, SECONDS)
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes((sound / max(1, np.abs(sound).max()) * 32767).astype("<i2").tobytes())
    truth = np.zeros((SECONDS * FPS, SIZE, SIZE), np.uint8)
    with VideoWriter(path, SIZE, SIZE, FPS, path.with_suffix(".wav")) as video:
        for number, labels in enumerate(truth):
            frame, masks, _ = render(background, layers, number / FPS)
            video.write(frame, number / FPS)
            if number / FPS >= onset:
                sounding = int(number / FPS >= change)
                labels[masks[sounding]] = ids[sounding] + 1
    return truth, onset, change


def masks_of(folder: Path) -> np.ndarray:
    """`(T, H, W)` uint8 class ids."""
    return np.stack([np.array(Image.open(path)) for path in sorted(folder.iterdir())])


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean IoU over the frames in which either marks something."""
    same = ((found == wanted) & (found > 0)).sum((1, 2))
    either = ((found > 0) | (wanted > 0)).sum((1, 2))
    return float((same[either > 0] / either[either > 0]).mean())


def boundary_f(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> float:
    """F of the outlines of two masks `(H, W)`, at a tolerance in diagonals."""
    reach = round(tolerance * np.hypot(*found.shape))
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    lines = [cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2, 2))) for mask in (found, wanted)]
    if not lines[0].any() or not lines[1].any():
        return 0.0
    precision, recall = ((one & cv2.dilate(other, near)).sum() / one.sum() for one, other in (lines, lines[::-1]))
    return 2 * precision * recall / max(precision + recall, 1e-9)


def lateness(found: np.ndarray, class_id: int, onset: float, end: float) -> tuple[float, float]:
    """How much later (s) than its sound a mask appears, and goes."""
    marked = np.flatnonzero((found == class_id).mean((1, 2)) > LARGE_ENOUGH) / FPS
    if not len(marked):
        return float("nan"), float("nan")
    return marked[0] - onset, marked[-1] + 1 / FPS - end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--fps", type=float, nargs="+", default=[1, 2, 4, 5, 8], help="looks per second, a row each")
    args = parser.parse_args()
    loaded = load("ccformer-tiny")
    rows: dict[str, list] = {}
    outlines = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.clips):
            clip = Path(folder, f"{seed}.mp4")
            truth, onset, change = make_clip(clip, seed)
            first = int(truth[round((onset + change) / 2 * FPS)].max())

            def masks(fps, which="every-frame", clip=clip):
                made = segment_video(clip, folder, loaded, fps, formats=["masks"], masks=which, progress=False)
                return masks_of(made.masks)

            model = masks("all", "looks")
            found = {"frozen": np.repeat(masks(1, "looks"), FPS, axis=0), "all": model}
            found |= {f"{fps:g}": masks(fps) for fps in args.fps}
            for name, ids in found.items():
                row = [agreement(ids, model), agreement(ids, truth), *lateness(ids, first, onset, change)]
                if name not in ("frozen", "all"):
                    clock = time.process_time()
                    segment_video(clip, folder, loaded, float(name), progress=False)
                    row.append(time.process_time() - clock)
                rows.setdefault(name, []).append(row)
            raw = list(iter_segments(clip, *loaded, fps=4))
            for look, written in zip(raw, masks(4, "looks"), strict=True):
                wanted = truth[min(int(look.time * FPS + 1e-6), len(truth) - 1)] > 0
                if wanted.any():
                    pair = look.class_map > 0, written > 0
                    scores = [
                        (*(boundary_f(ids, wanted, far) for far in (0.008, 0.004)), iou(ids, wanted)) for ids in pair
                    ]
                    outlines.append(np.array(scores))
    print(f"{args.clips} clips of {SECONDS} s, {SIZE} x {SIZE} at {FPS} frames per second, ccformer-tiny")
    print(f"{'looks/s':<8} {'IoU model':>9} {'IoU truth':>9} {'onset':>14} {'end':>14} {'price':>8}")
    for name, values in rows.items():
        numbers = np.array(values)
        late = [f"{np.nanmedian(column):+.2f} ({max(column, key=abs):+.2f})" for column in numbers[:, 2:4].T]
        price = f"{numbers[:, 4].mean():.2f} s" if numbers.shape[1] > 4 else ""
        model, truth = numbers[:, :2].mean(axis=0)
        print(f"{name:<8} {model:9.3f} {truth:9.3f} {late[0]:>14} {late[1]:>14} {price:>8}")
    for name, (f, strict_f, overlap) in zip(("raw", "written"), np.mean(outlines, axis=0), strict=True):
        print(f"{name:<8} boundary F {f:.3f}, at half the tolerance {strict_f:.3f}; IoU {overlap:.3f}")


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    """IoU of two masks `(H, W)`, one of which marks something."""
    return (found & wanted).sum() / (found | wanted).sum()


if __name__ == "__main__":
    main()
