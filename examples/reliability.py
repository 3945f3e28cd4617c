"""Whether a model is as sure as it is right: its confidence against how often it is, on clips it was never trained on.

    python examples/reliability.py                          # ccformer-tiny on drawn clips; takes minutes
    python examples/reliability.py --model ccformer-small --sources SOURCES.yaml   # composed clips, of its test split
    python examples/reliability.py --model runs/mine/best --fit runs/mine/best     # measures its calibration before

Three tables, each in ten bins of confidence, with the expected calibration error (ECE: the mean gap between confidence
and share that is right, weighted by how many there are):

    per second and class   each class that a look marks, with its score as in `segments.json`, which is calibrated;
                           right where that class sounds in view in that second
    not in view            each second with sound, with its `unseen`; right where nothing in view sounds
    per pixel              each marked pixel, with the probability of its class; right where that class sounds there

The picture (`--picture`) shows them: bars as high as the share that is right, and the line that a calibrated model
keeps to.

`--fit FOLDER` finds the `score_calibration` and `unseen_calibration` of the model's processor under which what is said
of other clips (of the validation split, where there are sources) was likeliest, and writes it with them into FOLDER.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers.modeling_outputs import SemanticSegmenterOutput

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation, load
from ccformer_hf.data.composing.composed import compose_clip
from ccformer_hf.data.composing.material import read_material
from ccformer_hf.data.reading import IGNORE_LABEL
from ccformer_hf.data.synthetic.clips import make_clip
from ccformer_hf.model.processing_ccformer import STEEPEST
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE

BINS = 10
SYNTHETIC_SEED, COMPOSED_SEED = 2_000_000, 1_000_000  # never trained on
FIT_SEED = 3_000_000  # of drawn clips


class Reliability:
    """Counts of what was said with which confidence, and of how much of it was right."""

    def __init__(self):
        self._said, self._sure, self._right = np.zeros((3, BINS))

    def add(self, confidences: np.ndarray, right: np.ndarray) -> None:
        """Confidences `(N,)`, 0..1, and whether each was right."""
        places = np.minimum((confidences * BINS).astype(int), BINS - 1)
        for counts, weights in ((self._said, None), (self._sure, confidences), (self._right, right)):
            counts += np.bincount(places, weights, minlength=BINS)

    def rows(self) -> list[tuple[int, float, float]]:
        """Of each bin: how many, mean confidence, share that was right."""
        counted = np.maximum(1, self._said)
        return list(zip(self._said.astype(int).tolist(), self._sure / counted, self._right / counted, strict=True))

    def error(self) -> float:
        """Expected calibration error."""
        return float(np.abs(self._sure - self._right).sum() / max(1, self._said.sum()))


def clips_of(sources: str | None, count: int, fit: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames `(T, H, W, 3)`, one a second, labels `(T, H, W)`, and sound `(S,)` at 16 kHz: to fit, or to measure."""
    if sources is None:
        for index in range(count):
            clip = make_clip("avss", FIT_SEED if fit else SYNTHETIC_SEED, index)
            yield clip.frames, clip.labels, clip.waveform
        return
    material = read_material(sources)["validation" if fit else "test"]
    for index in range(count):
        clip = compose_clip(material, COMPOSED_SEED, index)
        yield clip.frames, clip.labels, clip.waveform


@dataclass(frozen=True)
class Marked:
    """A class that the model marks in a second.

    Attributes:
        score: mean probability within its mask, 0..1, before calibration.
        sounds: whether it sounds in view.
        pixels: probability of each of its pixels, `(N,)`.
        right: whether it sounds there, `(N,)`.
    """

    score: float
    sounds: bool
    pixels: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Second:
    """What the model makes of a second.

    Attributes:
        marked: the classes.
        sounding: highest 1 - P(background), 0..1; None where there is no sound, or nobody can tell what sounds.
        in_view: whether anything in view sounds.
    """

    marked: list[Marked]
    sounding: float | None
    in_view: bool


def seconds_of(
    clips: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    threshold: float,
) -> list[Second]:
    """All seconds of these clips."""
    seconds = []
    for frames, labels, sound in clips:
        inputs = processor(frames, sound, sampling_rate=SAMPLING_RATE, fps=1).to(model.device)
        with torch.inference_mode():
            outputs = model(**inputs)
        size = [labels.shape[1:]]
        maps = processor.post_process_semantic_segmentation(outputs, size, threshold)[0].cpu().numpy()
        probabilities = outputs.logits[0].float().softmax(1)  # (T, K, h, w)
        sure = SemanticSegmenterOutput(logits=processor.sure_probabilities(probabilities, threshold).log()[None])
        scores = processor.post_process_scores(sure, size)[0].cpu().numpy()  # (T, K, H, W)
        background = probabilities[:, 0].flatten(1).amin(1).tolist()  # T
        heard = inputs["audio_mask"][0].tolist()
        for t, truth in enumerate(labels):
            marked = []
            for class_id in set(np.unique(maps[t]).tolist()) - {0}:
                mask = (maps[t] == class_id) & (truth != IGNORE_LABEL)
                pixels = scores[t, class_id][mask]
                if len(pixels):
                    sounds = bool((truth == class_id).any())
                    marked.append(Marked(float(pixels.mean()), sounds, pixels, truth[mask] == class_id))
            known = heard[t] and not (truth == IGNORE_LABEL).any()
            seconds.append(Second(marked, 1 - background[t] if known else None, bool(truth.any())))
    return seconds


def fitted(found: Sequence[tuple[float, bool]]) -> list[float]:
    """The slope and shift under which these probabilities were likeliest to come true, or not, as they did."""
    said, happened = torch.tensor(found, dtype=torch.float64).reshape(-1, 2).T  # (N,) each
    # Platt's targets, a little off 0 and 1: where they can be told apart wholly, the slope stays finite.
    true = happened.sum()
    happened = torch.where(happened > 0, (true + 1) / (true + 2), 1 / (len(happened) - true + 2))
    logits = said.logit(1e-6)
    calibration = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([calibration], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        unlikely = binary_cross_entropy_with_logits(calibration[0] * logits + calibration[1], happened)
        unlikely.backward()
        return unlikely

    optimizer.step(loss)
    slope, shift = (round(number, 3) for number in calibration.tolist())
    if not (found and 0 < slope <= STEEPEST and abs(shift) <= STEEPEST):
        raise SystemExit(f"no calibration fits {len(found)} cases, {int(true)} of them right; give it more --clips")
    return [slope, shift]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ccformer-tiny")
    parser.add_argument("--sources", help="a sources file, see `ccformer data compose --help`; without: drawn clips")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--fit", metavar="FOLDER", help="folder for the processor with the calibration that fits best")
    parser.add_argument("--picture", help="file to draw the diagrams into, such as reliability.png")
    args = parser.parse_args()
    model, processor = load(args.model)
    if args.fit:
        fit = seconds_of(clips_of(args.sources, args.clips, fit=True), model, processor, args.threshold)
        processor.score_calibration = fitted([(one.score, one.sounds) for second in fit for one in second.marked])
        known = [second for second in fit if second.sounding is not None]
        processor.unseen_calibration = fitted([(second.sounding, second.in_view) for second in known])
        processor.save_pretrained(args.fit)
        for name in ("score_calibration", "unseen_calibration"):
            print(f"{name} {getattr(processor, name)}: written to {args.fit}")
        print()
    tables = {name: Reliability() for name in ("per second and class", "not in view", "per pixel")}
    for second in seconds_of(clips_of(args.sources, args.clips, fit=False), model, processor, args.threshold):
        for one in second.marked:
            tables["per second and class"].add(np.array([processor.confidence(one.score)]), np.array([one.sounds]))
            tables["per pixel"].add(one.pixels, one.right)
        if second.sounding is not None:
            tables["not in view"].add(np.array([processor.unseen(second.sounding)]), np.array([not second.in_view]))
    print(f"{args.model}, {args.clips} {'composed' if args.sources else 'drawn'} clips, threshold {args.threshold:g}")
    for name, table in tables.items():
        print(f"\n{name}: expected calibration error {table.error():.3f}")
        print(f"{'confidence':<12} {'how many':>10} {'mean':>7} {'right':>7}")
        for place, (count, sure, right) in enumerate(table.rows()):
            if count:
                print(f"{place / BINS:.1f} - {(place + 1) / BINS:.1f}    {count:>10} {sure:>7.3f} {right:>7.3f}")
    if args.picture:
        picture_of(tables).save(args.picture)


def picture_of(tables: dict[str, Reliability]) -> Image.Image:
    """The diagrams beside each other."""
    side, margin = 360, 60
    picture = Image.new("RGB", (len(tables) * (side + margin) + margin, side + 2 * margin), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for number, (name, table) in enumerate(tables.items()):
        left, top = margin + number * (side + margin), margin
        draw.text((left, top - 30), f"{name}: ECE {table.error():.3f}", fill="black", font=font)
        for place, (count, _, right) in enumerate(table.rows()):
            if count:
                start = left + place * side / BINS
                draw.rectangle([start + 1, top + side * (1 - right), start + side / BINS - 1, top + side], "#56B4E9")
        draw.rectangle([left, top, left + side, top + side], outline="#787E84")
        draw.line([left, top + side, left + side, top], fill="#D55E00", width=2)
        draw.text((left, top + side + 8), "0", fill="black", font=font)
        draw.text((left + side, top + side + 8), "confidence 1", fill="black", font=font, anchor="ra")
        draw.text((left + 6, top + 4), "right 1", fill="black", font=font)
    return picture


if __name__ == "__main__":
    main()
