"""Teaches a trained model to hear: its audio backbone and its audio classifier alone, on composed sounds.

    python examples/maintainers/tune_hearing.py runs/mine/last --sources sources.yaml --output runs/hears
    python examples/maintainers/tune_hearing.py runs/mine/last --sources sources.yaml --output runs/hears \\
        --tagger mn04_as_mAP_432.pt class_labels_indices.csv examples/maintainers/audioset-tags.yaml --back 0.5

From the sound of each frame and of its neighbours, up to two seconds away, both learn which classes sound in it, in
view or off screen, as the classifier does in `add_audio_classifier.py`. A step costs a small part of one that trains
the whole model. Train that on afterwards, with `start_from` and `audio_rate=0`: what the audio backbone gives it has
changed.

With `--tagger` (as of `add_audio_classifier.py`) it begins part of the way back at the network that both once were: of
real sounds, that has forgotten nothing yet (as in WiSE-FT, Wortsman et al. 2022). It goes on telling that network's
527 tags then (as in Learning without Forgetting, Li and Hoiem 2016).

Printed before and after is how well the classifier tells whether what is in view or off screen in the validation split
sounds in a frame: the area under the ROC curve, and how often it is right at its best threshold.
"""

import argparse
import copy
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from add_audio_classifier import UNKNOWN, begin_as, how_much_it_counts, inputs_and_truth, tag_numbers, wrongness
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation, load
from ccformer_hf.checkpoints import model_place
from ccformer_hf.data.composing.composed import compose_sound
from ccformer_hf.data.composing.material import Material, read_material
from ccformer_hf.model.audio_classifier_ccformer import ever_longer
from ccformer_hf.model_card import read_record
from ccformer_hf.training.initial_model import load_audio_weights
from ccformer_hf.training.loop import warm_up_and_cosine

BATCH = 16  # clips of a step
NEIGHBOURS = torch.tensor([0, -1, 1, -2, 2])  # frames, of a second each, the nearest first
TAGS_COUNT = 0.02  # in the loss
CLASSIFIER_RATE, DECAY, WARMUP, AVERAGED = 5e-4, 0.02, 50, 0.99


class Sounds(IterableDataset):
    """Composed clips as the inputs of the audio backbone, what sounds in them, how much each class counts, and the
    `neighbours` of their frames."""

    def __init__(
        self,
        material: Material,
        seed: int,
        model: CCFormerForAudioVisualSegmentation,
        processor: AudioVisualProcessor,
    ):
        self.material, self.seed, self.config, self.processor = material, seed, model.config, processor

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        for index in itertools.count():
            sound = compose_sound(self.material, self.seed, index)
            inputs, truth = inputs_and_truth(self.processor, sound, self.config)
            yield inputs, truth, how_much_it_counts(sound, self.config), neighbours((truth != UNKNOWN).any(dim=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or name, with `use_audio_classifier`")
    parser.add_argument("--sources", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--steps", type=int, default=1000, help=f"of {BATCH} clips (default %(default)s)")
    parser.add_argument(
        "--learning-rate", type=float, default=3e-4, help="of the audio backbone (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the clips (default %(default)s)")
    parser.add_argument("--check", type=int, default=300, help="clips to try it on (default %(default)s)")
    parser.add_argument(
        "--tagger",
        nargs=3,
        metavar=("WEIGHTS", "LABELS", "TAGS"),
        help="file of the tagger's weights, csv of its tags, yaml of the tags of each class",
    )
    parser.add_argument(
        "--back", type=float, default=0.5, help="share of the tagger in what it begins as (default %(default)s)"
    )
    parser.add_argument("--output", required=True, help="model folder to write")
    args = parser.parse_args()
    if not 0 < args.back <= 1:
        parser.error(f"--back is {args.back:g}, expected more than 0 and at most 1")
    for name in ("steps", "check"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}, expected at least 1")

    model, processor = load(args.model, "cpu")
    if model.model.audio_classifier is None:
        parser.error(f"{args.model} has no audio classifier; add_audio_classifier.py gives it one")
    material = read_material(args.sources)
    names, known = material["train"].sources.class_names, tuple(model.config.id2label.values())
    if names != known:
        parser.error(f"{args.sources} has the classes {names}, the model {known}; expected the same in the same order")
    tagger = Tagger(model, *args.tagger) if args.tagger else None
    if tagger:
        tagger.draw_back(model, args.back)
    held_back = list(itertools.islice(Sounds(material["validation"], 1_000_000, model, processor), args.check))
    print("before:", told(model, held_back))
    tune(model, Sounds(material["train"], args.seed, model, processor), args.steps, args.learning_rate, tagger)
    print("after:", told(model, held_back))
    model.save_pretrained(args.output)
    # With the sound that it was tuned on, and without the calibration of scores, which are others now.
    images, sounds = processor.image_processor, copy.copy(processor.feature_extractor)
    sounds.sound_shifts = [float(seconds) for seconds in NEIGHBOURS[1:]]
    AudioVisualProcessor(images, sounds, fps=processor.fps).save_pretrained(args.output)
    if record := read_record(model_place(args.model)):
        record.write(args.output)  # its licence, which the weights keep


def neighbours(has_sound: Tensor) -> Tensor:
    """Whether each frame has sound `(T,)` -> the frames whose examples it hears, its own first, `(T, E)`: itself where
    a neighbour is beyond the clip or without sound. By `sound_shifts` a half silent one does not count either."""
    own = torch.arange(len(has_sound))[:, None]
    near = own + NEIGHBOURS
    there = (near >= 0) & (near < len(has_sound)) & has_sound[near.clamp(0, len(has_sound) - 1)]
    return torch.where(there, near, own)


class Tagger(nn.Module):
    """The network that both parts once were, with its own tags.

    Args:
        model: of the same architecture.
        weights: file of the tagger's weights.
        labels, tags: files, see `tag_numbers`.
    """

    def __init__(self, model: CCFormerForAudioVisualSegmentation, weights: str, labels: str, tags: str):
        super().__init__()
        model = copy.deepcopy(model)
        load_audio_weights(model, weights)
        self.backbone, self.classifier = model.model.audio_backbone, model.model.audio_classifier
        begin_as(self.classifier, weights, tag_numbers(labels, tags, list(model.config.id2label.values())[1:]))
        head = torch.load(weights, weights_only=True)
        self.tags = nn.Linear(*reversed(head["classifier.5.weight"].shape))
        self.tags.load_state_dict({name: head[f"classifier.5.{name}"] for name in ("weight", "bias")})
        self.requires_grad_(False)

    def draw_back(self, model: CCFormerForAudioVisualSegmentation, share: float) -> None:
        """Both parts become the average of what they are and of what they began as."""
        pairs = (model.model.audio_backbone, self.backbone), (model.model.audio_classifier, self.classifier)
        for own, at_first in pairs:
            values = own.state_dict()
            for name, first in at_first.state_dict().items():
                if first.is_floating_point():
                    values[name].lerp_(first, share)

    def forgotten(self, features: Tensor, near: Tensor, longer: Tensor, classifier: nn.Sequential) -> Tensor:
        """How far what the trained parts tell of its tags is from its own: summed Kullback-Leibler divergences.

        Args:
            features, near: as `Sounds` gives them, `near (N, E)` of the frames with sound.
            longer: `ever_longer` embeddings of the trained backbone, `(N, E, W)`.
            classifier: the trained one, whose first layer was the tagger's.
        """
        wanted = self.told(ever_longer(self.backbone(features)[near]), self.classifier).sigmoid()
        told = self.told(longer, classifier)
        wrong = F.binary_cross_entropy_with_logits(told, wanted, reduction="none")
        return (wrong - F.binary_cross_entropy(wanted, wanted, reduction="none")).sum(dim=-1).mean()

    def told(self, embedding: Tensor, classifier: nn.Sequential) -> Tensor:
        """Logits of its tags, by the first layer of a classifier."""
        first, activation, *_ = classifier
        return self.tags(activation(first(embedding)))


def joined(batch: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> list[Tensor]:
    *others, near = zip(*batch, strict=True)
    firsts = itertools.accumulate(map(len, near), initial=0)
    return [
        *map(torch.cat, others),
        torch.cat([numbers + first for numbers, first in zip(near, firsts, strict=False)]),
    ]


def tune(
    model: CCFormerForAudioVisualSegmentation, sounds: Sounds, steps: int, rate: float, tagger: Tagger | None
) -> None:
    """Trains both parts, and leaves them at the moving average of their weights."""
    classifier, backbone = model.model.audio_classifier, model.model.audio_backbone
    groups = [
        {"params": list(classifier.parameters()), "lr": CLASSIFIER_RATE},
        {"params": list(backbone.parameters()), "lr": rate},  # its norms keep their statistics
    ]
    learned = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, steps, WARMUP))
    averages = [parameter.detach().clone() for parameter in learned]
    loader = DataLoader(sounds, BATCH, num_workers=1, collate_fn=joined)  # two would compose the same clips twice
    progress = tqdm(itertools.islice(loader, steps), total=steps, unit="step")
    for features, truth, weights, near in progress:
        longer = ever_longer(backbone(features)[near])  # (N, E, W)
        loss = wrongness(classifier(longer).mean(dim=1), truth, weights)
        if tagger:
            sounding = (truth != UNKNOWN).any(dim=1)
            loss = loss + TAGS_COUNT * tagger.forgotten(features, near[sounding], longer[sounding], classifier)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
        with torch.no_grad():
            for average, parameter in zip(averages, learned, strict=True):
                average.lerp_(parameter, 1 - AVERAGED)
    with torch.no_grad():
        for average, parameter in zip(averages, learned, strict=True):
            parameter.copy_(average)


@torch.no_grad()
def told(model: CCFormerForAudioVisualSegmentation, clips: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> str:
    """How well the classifier tells whether what is in view or off screen sounds."""
    logits, truths = [], []
    for features, truth, weights, near in clips:
        judged = (truth != UNKNOWN) & (weights == 1)
        longer = ever_longer(model.model.audio_backbone(features)[near])
        logits.append(model.model.audio_classifier(longer).mean(dim=1)[judged])
        truths.append(truth[judged] == 1)
    logits, truth = torch.cat(logits).numpy(), torch.cat(truths).numpy()
    order = truth[np.argsort(logits, kind="stable")]  # whether it sounds, from the least to the most heard
    silent_below = np.cumsum(~order)
    area = silent_below[order].sum() / max(1, order.sum() * (~order).sum())
    # Everything above a threshold is said to sound: right are the silent ones below it and the sounding ones above.
    right = np.concatenate([[order.sum()], silent_below + order.sum() - np.cumsum(order)]).max() / len(order)
    return f"of {len(order)} possible sounds in a frame, area under the curve {area:.4f}, right about {right:.1%}"


if __name__ == "__main__":
    main()
