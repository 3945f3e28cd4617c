"""Gives a trained model the audio classifier of `use_audio_classifier`, fitted to what sounds in composed clips.

    python examples/maintainers/add_audio_classifier.py runs/mine/last --sources sources.yaml --output runs/heard

The classifier alone learns, on composed clips of the training split: from the sound of each frame, which classes sound
in it. A class that is not in view does not sound, unless it sounds off screen, when nobody knows in which frames; such
classes are many, and count less. All else of the model stays; training may go on from there with `start_from`.

Printed is how often it is right about the objects in view of the validation split, beside the model as it was, for
which an object sounds where more than half of what is seen of it is marked as its class.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation, load
from ccformer_hf.checkpoints import model_place
from ccformer_hf.data.composing.composed import ComposedClip, compose_clip
from ccformer_hf.data.composing.material import Material, read_material
from ccformer_hf.model.configuration_ccformer import CCFormerConfig
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE
from ccformer_hf.model_card import read_record

UNKNOWN = -1
NOT_IN_VIEW = 0.2  # what a class that is not in view counts in the loss
EPOCHS, BATCH, RATE, DECAY = 12, 320, 2e-3, 0.05
SMALLEST = 30  # pixels of an object that are judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or name")
    parser.add_argument("--sources", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--clips", type=int, default=3000, help="to fit it on (default %(default)s)")
    parser.add_argument("--check", type=int, default=200, help="clips to try it on (default %(default)s)")
    parser.add_argument("--output", required=True, help="model folder to write")
    args = parser.parse_args()

    old, processor = load(args.model, "cpu")
    material = read_material(args.sources)
    names, known = material["train"].sources.class_names, tuple(old.config.id2label.values())
    if names != known:
        parser.error(f"{args.sources} has the classes {names}, the model {known}; expected the same in the same order")
    examples = [
        (hear(old, processor, clip), what_sounds(clip, old.config), how_much_it_counts(clip, old.config))
        for clip in clips(material["train"], args.clips)
    ]
    torch.manual_seed(0)  # of its first weights, and of the order of the examples
    config = CCFormerConfig.from_dict(old.config.to_dict() | {"use_audio_classifier": True})
    new = CCFormerForAudioVisualSegmentation(config)
    new.load_state_dict(new.state_dict() | old.state_dict())
    fit(new.model.mtm.head.heard, *map(torch.cat, zip(*examples, strict=True)))
    new.eval().save_pretrained(args.output)
    # Without the calibration of scores, which are others now.
    images, sounds = processor.image_processor, processor.feature_extractor
    AudioVisualProcessor(images, sounds, fps=processor.fps).save_pretrained(args.output)
    if record := read_record(model_place(args.model)):
        record.write(args.output)  # its licence, which the weights keep

    right = {"the model as it was": [], "the classifier": []}
    for clip in clips(material["validation"], args.check):
        marked, truth = share_marked(old, processor, clip), what_sounds(clip, old.config)  # (T, K - 1)
        judged = (truth != UNKNOWN) & (marked >= 0)
        with torch.no_grad():
            heard = new.model.mtm.head.heard(hear(new, processor, clip)) > 0
        for name, says in zip(right, (marked > 0.5, heard), strict=True):
            right[name] += (says[judged] == truth[judged].bool()).tolist()
    for name, values in right.items():
        print(f"{name}: right about {np.mean(values):.1%} of {len(values)} objects in a frame")


def clips(material: Material, number: int) -> Iterator[ComposedClip]:
    return (compose_clip(material, 0, index) for index in tqdm(range(number), desc=material.split, unit="clip"))


@torch.no_grad()
def hear(model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor, clip: ComposedClip) -> Tensor:
    """The sound of each frame before any fusion, `(T, D)`."""
    made = processor.feature_extractor(clip.waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    return model.model.encode_audio(made["input_features"], made["audio_mask"])[0]


def what_sounds(clip: ComposedClip, config: CCFormerConfig) -> Tensor:
    """1 where a class sounds, 0 where it does not, UNKNOWN where nobody can tell: `(T, K - 1)`."""
    truth = torch.zeros(len(clip.frames), config.num_labels, dtype=torch.int64)
    if clip.off_screen in config.label2id:
        truth[:, config.label2id[clip.off_screen]] = UNKNOWN
    for class_id, audible in zip(clip.class_ids, torch.from_numpy(clip.audible.astype(int)), strict=True):
        truth[:, class_id] = torch.where(audible < 2, audible, UNKNOWN)
    return truth[:, 1:]


def how_much_it_counts(clip: ComposedClip, config: CCFormerConfig) -> Tensor:
    """Weights of `what_sounds` in the loss, `(T, K - 1)`."""
    weights = torch.full((len(clip.frames), config.num_labels), NOT_IN_VIEW)
    weights[:, clip.class_ids] = 1.0
    return weights[:, 1:]


@torch.no_grad()
def share_marked(
    model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor, clip: ComposedClip
) -> Tensor:
    """Share of the pixels of each class in view that are marked as it, `(T, K - 1)`; -1 where too little is seen."""
    outputs = model(**processor(clip.frames, audio=clip.waveform, sampling_rate=SAMPLING_RATE))
    (found,) = processor.post_process_semantic_segmentation(outputs, [clip.labels.shape[1:]])  # (T, H, W)
    marked = torch.full((len(clip.frames), model.config.num_labels), -1.0)
    for class_id, masks in zip(clip.class_ids, torch.from_numpy(clip.masks), strict=True):
        for frame, mask in enumerate(masks):
            if mask.sum() >= SMALLEST:
                marked[frame, class_id] = (found[frame][mask] == class_id).float().mean()
    return marked[:, 1:]


def fit(classifier: nn.Module, sounds: Tensor, sounding: Tensor, weights: Tensor) -> None:
    """Trains it to tell from sounds `(N, D)` which classes sound, `(N, K - 1)`; weights of the same shape."""
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=DECAY)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - epoch / EPOCHS)
        for chosen in torch.randperm(len(sounds)).split(BATCH):
            counts = weights[chosen] * (sounding[chosen] != UNKNOWN)
            wrong = F.binary_cross_entropy_with_logits(
                classifier(sounds[chosen]), sounding[chosen].clamp(min=0).float(), reduction="none"
            )
            loss = (wrong * counts).sum() / counts.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
