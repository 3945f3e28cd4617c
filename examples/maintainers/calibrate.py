"""Makes a trained model's queries as sure of their labels as they may be: a factor and a shift, written into its head.

    python examples/maintainers/calibrate.py runs/small/last --sources sources.yaml --output runs/small-calibrated

A query's label logits, before what is not heard is taken, are multiplied by the factor, and the shift is added to that
of "no object". Tried are all pairs of FACTORS and SHIFTS on clips of the validation split. Of the pairs that lose no
more than MOST_LOST of the best binary mIoU, so that what was found is not given up, that with the highest class mIoU
is kept, unless --keep names one: a larger shift marks less under sounds that are unknown. Nothing else of the model
changes: labels steer no mask and no other query.
"""

import argparse
import itertools

import numpy as np
import torch
from tqdm import tqdm

from ccformer_hf import load
from ccformer_hf.data.composing.composed import compose_clip
from ccformer_hf.data.composing.material import read_material
from ccformer_hf.data.reading import IGNORE_LABEL
from ccformer_hf.metrics.binary import binary_iou
from ccformer_hf.metrics.semantic import SemanticSegmentation
from ccformer_hf.model.audio_classifier_ccformer import log_heard
from ccformer_hf.model.modeling_ccformer import CCFormerOutput
from ccformer_hf.model.multi_query_transformer_ccformer import join_queries
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE
from ccformer_hf.model_card import read_record

FACTORS = (1.0, 1.25, 1.5, 2.0)
SHIFTS = (0.0, 0.25, 0.5, 1.0)
MOST_LOST = 0.01


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--sources", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--output", required=True, help="model folder to write")
    parser.add_argument("--clips", type=int, default=40, help="of the validation split (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of these clips (default %(default)s)")
    parser.add_argument("--keep", type=float, nargs=2, metavar=("FACTOR", "SHIFT"), help="instead of the pair found")
    args = parser.parse_args()

    model, processor = load(args.model, "cpu")
    head = model.model.mtm.head
    material = read_material(args.sources)["validation"]
    pairs = list(itertools.product(FACTORS, SHIFTS))
    binary = {pair: [] for pair in pairs}
    semantic = {
        pair: SemanticSegmentation(model.config.num_labels, IGNORE_LABEL, absent_classes="skip") for pair in pairs
    }
    for index in tqdm(range(args.clips), unit="clip"):
        clip = compose_clip(material, args.seed, index)
        known = clip.labels != IGNORE_LABEL
        inputs = processor(clip.frames, audio=clip.waveform, sampling_rate=SAMPLING_RATE)
        outputs = model.model(**inputs)
        # What follows the label layer in the head is done here, for each pair anew.
        of_layer = head.label(head.norm(outputs.last_hidden_state))  # (1, T, Q, K)
        heard = 0.0
        if outputs.heard_logits is not None:
            heard = log_heard(outputs.heard_logits, inputs["audio_mask"])  # (1, T, 1, K)
        for factor, shift in pairs:
            labels = of_layer * factor
            labels[..., 0] += shift
            labels = labels + heard
            joined = CCFormerOutput(logits=join_queries(labels, outputs.masks_queries_logits[-1]))
            (found,) = processor.post_process_semantic_segmentation(joined, [clip.labels.shape[1:]])  # (T, H, W)
            found = np.asarray(found)
            binary[factor, shift] += list(binary_iou((found > 0) & known, (clip.labels > 0) & known))
            semantic[factor, shift].add(found, clip.labels)
    figures = {pair: (float(np.mean(binary[pair])), semantic[pair].compute()["miou"]) for pair in pairs}
    for (factor, shift), (binary_miou, class_miou) in figures.items():
        print(f"factor {factor:g}, shift {shift:g}: binary mIoU {binary_miou:.3f}, class mIoU {class_miou:.3f}")
    best = max(binary_miou for binary_miou, _ in figures.values())
    factor, shift = max(
        (pair for pair in pairs if figures[pair][0] >= best - MOST_LOST), key=lambda pair: figures[pair][1]
    )
    factor, shift = args.keep or (factor, shift)
    print(f"kept: factor {factor:g}, shift {shift:g}")

    head.label.weight *= factor
    head.label.bias *= factor
    head.label.bias[0] += shift
    model.save_pretrained(args.output)
    processor.save_pretrained(args.output)
    if record := read_record(args.model):
        record.write(args.output)  # steps and recipe of the training, for its card


if __name__ == "__main__":
    main()
