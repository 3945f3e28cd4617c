"""Gives a trained model the audio classifier of `use_audio_classifier`, fitted to what sounds in composed clips.

    python examples/maintainers/add_audio_classifier.py runs/mine/last --sources sources.yaml --output runs/heard \\
        --tagger mn04_as_mAP_432.pt class_labels_indices.csv examples/maintainers/audioset-tags.yaml

The classifier alone learns, on composed clips of the training split: from the sound of each frame, which classes sound
in it. Classes that are neither in view nor off screen are many, and count less. All else of the model stays; training
may go on from there with `start_from`, and `tune_hearing.py` teaches the audio backbone too.

With `--tagger` it begins as the head of EfficientAT's mn04_as, whose network the audio backbone once was: its first
layer, those of its tags that the yaml names, and their sum for each class. What is kept is the average of what it
began as and what it learned: the tagger has heard the sounds of two million videos, the composed clips hold few
recordings. The csv is AudioSet's own (columns `index` and `display_name`), which EfficientAT has beside its code.

Printed is how often it is right about the objects in view of the validation split, beside the model as it was, for
which an object sounds where more than half of what is seen of it is marked as its class.
"""

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation, load
from ccformer_hf.checkpoints import model_place
from ccformer_hf.data.composing.composed import ComposedClip, ComposedSound, compose_clip, compose_sound
from ccformer_hf.data.composing.material import Material, read_material
from ccformer_hf.model.audio_classifier_ccformer import CCFormerAudioClassifier
from ccformer_hf.model.configuration_ccformer import CCFormerConfig
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE
from ccformer_hf.model_card import read_record

UNKNOWN = -1
ELSEWHERE = 0.3  # what a class that is neither in view nor off screen counts in the loss
EPOCHS, BATCH, RATE, DECAY = 8, 320, 1e-3, 0.05
LEARNED = 0.75  # share of what was learned in the average with the tagger's head
LIFTED = 6.0  # added to a tag's logit: then Hardswish gives nearly 0 below -8, and the logit + 6 above -3
SUM_OF_NOTHING = -3.5  # logit of a class of which no tag is heard
SMALLEST = 30  # pixels of an object that are judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or name")
    parser.add_argument("--sources", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--clips", type=int, default=3000, help="to fit it on (default %(default)s)")
    parser.add_argument("--check", type=int, default=200, help="clips to try it on (default %(default)s)")
    parser.add_argument(
        "--tagger",
        nargs=3,
        metavar=("WEIGHTS", "LABELS", "TAGS"),
        help="file of the tagger's weights, csv of its tags, yaml of the tags of each class",
    )
    parser.add_argument("--output", required=True, help="model folder to write")
    args = parser.parse_args()

    old, processor = load(args.model, "cpu")
    material = read_material(args.sources)
    names, known = material["train"].sources.class_names, tuple(old.config.id2label.values())
    if names != known:
        parser.error(f"{args.sources} has the classes {names}, the model {known}; expected the same in the same order")
    torch.manual_seed(0)  # of its first weights, and of the order of the examples
    config = CCFormerConfig.from_dict(old.config.to_dict() | {"use_audio_classifier": True})
    new = CCFormerForAudioVisualSegmentation(config)
    kept = {name: value for name, value in old.state_dict().items() if not name.startswith("model.audio_classifier.")}
    new.load_state_dict(new.state_dict() | kept)
    classifier, share = new.model.audio_classifier, 1.0
    if args.tagger:
        weights, labels, tags = args.tagger
        share = LEARNED
        try:
            begin_as(classifier, weights, tag_numbers(labels, tags, names[1:]))
        except ValueError as error:
            parser.error(str(error))
    begun = [value.detach().clone() for value in classifier.parameters()]
    examples = [
        (*hear(old, processor, sound), how_much_it_counts(sound, old.config))
        for sound in many(compose_sound, material["train"], args.clips)
    ]
    fit(classifier, *map(torch.cat, zip(*examples, strict=True)))
    for value, at_first in zip(classifier.parameters(), begun, strict=True):
        value.data.lerp_(at_first, 1 - share)
    new.eval().save_pretrained(args.output)
    # Without the calibration of scores, which are others now.
    images, sounds = processor.image_processor, processor.feature_extractor
    AudioVisualProcessor(images, sounds, fps=processor.fps).save_pretrained(args.output)
    if record := read_record(model_place(args.model)):
        record.write(args.output)  # its licence, which the weights keep

    right = {"the model as it was": [], "the classifier": []}
    for clip in many(compose_clip, material["validation"], args.check):
        sounds, truth = hear(new, processor, clip)
        marked = share_marked(old, processor, clip)  # (T, K - 1)
        judged = (truth != UNKNOWN) & (marked >= 0)
        with torch.no_grad():
            heard = classifier(sounds) > 0
        for name, says in zip(right, (marked > 0.5, heard), strict=True):
            right[name] += (says[judged] == truth[judged].bool()).tolist()
    for name, values in right.items():
        print(f"{name}: right about {np.mean(values):.1%} of {len(values)} objects in a frame")


def many(compose: Callable[[Material, int, int], Any], material: Material, number: int) -> Iterator[Any]:
    """What `compose_clip` or `compose_sound` gives for the first indices."""
    return (compose(material, 0, index) for index in tqdm(range(number), desc=material.split, unit="clip"))


@torch.no_grad()
def hear(
    model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor, sound: ComposedSound
) -> tuple[Tensor, Tensor]:
    """The audio backbone's embedding of each frame `(T, W)`, and the truth of `inputs_and_truth`."""
    inputs, truth = inputs_and_truth(processor, sound, model.config)
    return model.model.audio_backbone(inputs), truth


def inputs_and_truth(
    processor: AudioVisualProcessor, sound: ComposedSound, config: CCFormerConfig
) -> tuple[Tensor, Tensor]:
    """Inputs of the audio backbone for each frame, and `what_sounds` in it; UNKNOWN in frames without sound, for which
    the model does not ask the classifier."""
    made = processor.feature_extractor.without_shifts()(
        sound.waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt"
    )
    truth = what_sounds(sound, config)
    truth[~made["audio_mask"][0]] = UNKNOWN
    return made["input_features"][0], truth


def tag_numbers(labels: str, tags: str, names: Sequence[str]) -> list[list[int]]:
    """The numbers of each class's tags in the tagger.

    Raises:
        ValueError: for a class without tags, or a tag that the tagger does not have.
    """
    with open(labels, newline="", encoding="utf-8") as rows:
        numbers = {row["display_name"]: int(row["index"]) for row in csv.DictReader(rows)}
    tags_of = yaml.safe_load(Path(tags).read_text(encoding="utf-8"))
    if missing := [name for name in names if name not in tags_of]:
        raise ValueError(f"{tags} has no tags of {missing}, expected some of each class of the model")
    if unknown := [tag for name in names for tag in tags_of[name] if tag not in numbers]:
        raise ValueError(f"{tags} has the tags {unknown}, which {labels} has not; write them as there")
    return [[numbers[tag] for tag in tags_of[name]] for name in names]


@torch.no_grad()
def begin_as(classifier: CCFormerAudioClassifier, tagger: str, tags: list[list[int]]) -> None:
    """Its first layer becomes the tagger's, units of its second become tags, and its third sums those of each class.

    Raises:
        ValueError: where the tagger's head does not fit the classifier.
    """
    head = torch.load(tagger, weights_only=True)
    first, second, third = classifier[0], classifier[2], classifier[4]
    given, count = head.get("classifier.2.weight", torch.empty(0)), sum(map(len, tags))
    if given.shape != first.weight.shape or count > second.out_features:
        raise ValueError(
            f"{tagger} has a head of shape {tuple(given.shape)}, and {count} of its tags are asked for; the model's "
            f"classifier takes {tuple(first.weight.shape)} and at most {second.out_features} tags: expected mn04_as, "
            "as the audio backbone of a model with hidden_size 128"
        )
    first.weight.copy_(given)
    first.bias.copy_(head["classifier.2.bias"])
    third.weight *= 0.1  # of units that are no tag
    third.bias.fill_(SUM_OF_NOTHING)
    pairs = [(class_id, tag) for class_id, of_class in enumerate(tags) for tag in of_class]
    for unit, (class_id, tag) in enumerate(pairs):
        second.weight[unit] = head["classifier.5.weight"][tag]
        second.bias[unit] = head["classifier.5.bias"][tag] + LIFTED
        third.weight[:, unit] = 0.0
        third.weight[class_id, unit] = 1.0


def sources(sound: ComposedSound, config: CCFormerConfig) -> list[tuple[int, np.ndarray]]:
    """Class id and `audible (T,)` of each object in view, and of what is off screen if the model knows its class."""
    found = list(zip(sound.class_ids, sound.audible, strict=True))
    if sound.off_screen in config.label2id:
        found.append((config.label2id[sound.off_screen], sound.off_screen_audible))
    return found


def what_sounds(sound: ComposedSound, config: CCFormerConfig) -> Tensor:
    """1 where a class sounds, 0 where it does not, UNKNOWN where nobody can tell: `(T, K - 1)`."""
    truth = torch.zeros(len(sound.off_screen_audible), config.num_labels, dtype=torch.int64)
    for class_id, audible in sources(sound, config):
        truth[:, class_id] = torch.from_numpy(np.where(audible < 2, audible.astype(int), UNKNOWN))
    return truth[:, 1:]


def how_much_it_counts(sound: ComposedSound, config: CCFormerConfig) -> Tensor:
    """Weights of `what_sounds` in the loss, `(T, K - 1)`."""
    weights = torch.full((len(sound.off_screen_audible), config.num_labels), ELSEWHERE)
    weights[:, [class_id for class_id, _ in sources(sound, config)]] = 1.0
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


def wrongness(logits: Tensor, sounding: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of logits against `what_sounds`, weighted by `how_much_it_counts`, all `(N, K - 1)`."""
    counts = weights * (sounding != UNKNOWN)
    wrong = F.binary_cross_entropy_with_logits(logits, sounding.clamp(min=0).float(), reduction="none")
    return (wrong * counts).sum() / counts.sum().clamp(min=1)


def fit(classifier: nn.Module, sounds: Tensor, sounding: Tensor, weights: Tensor) -> None:
    """Trains it to tell from sounds `(N, W)` which classes sound, `(N, K - 1)`; weights of the same shape."""
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=DECAY)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - epoch / EPOCHS)
        for chosen in torch.randperm(len(sounds)).split(BATCH):
            loss = wrongness(classifier(sounds[chosen]), sounding[chosen], weights[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
