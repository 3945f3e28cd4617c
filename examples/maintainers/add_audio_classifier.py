"""Gives a trained model the audio classifier of `use_audio_classifier`, fitted to who sounds, to be trained on from.

    python examples/maintainers/add_audio_classifier.py ccformer-small --sources sources.yaml --output runs/start

The layer learns alone, by logistic regression on composed clips of the training split: from the sound of each frame,
which of the classes in view sound in it. It prints how often it is right on clips of the validation split, beside the
model as it was, for which an object sounds where more than half of what is seen of it is marked as its class. SHARE
of its logits are written, since the queries have heard the sound already. Training goes on with `start_from`.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation, load
from ccformer_hf.data.composing.composed import ComposedClip, compose_clip
from ccformer_hf.data.composing.material import Material, read_material
from ccformer_hf.model.configuration_ccformer import CCFormerConfig
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE

UNKNOWN = -1  # not in view, or nobody can tell
SHARE = 0.4
EPOCHS, BATCH, RATE, DECAY = 12, 320, 2e-3, 0.05
SMALLEST = 30  # pixels of an object that are judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or name")
    parser.add_argument("--sources", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--clips", type=int, default=3000, help="to fit the layer on (default %(default)s)")
    parser.add_argument("--check", type=int, default=200, help="clips to try it on (default %(default)s)")
    parser.add_argument("--output", required=True, help="model folder to write")
    args = parser.parse_args()

    old, processor = load(args.model, "cpu")
    material = read_material(args.sources)
    sounds, sounding = zip(
        *((hear(old, processor, clip), who_sounds(clip, old)) for clip in clips(material["train"], args.clips)),
        strict=True,
    )
    layer = fit(torch.cat(sounds), torch.cat(sounding))

    right = {"the model as it was": [], "the layer": []}
    for clip in clips(material["validation"], args.check):
        seen = share_marked(old, processor, clip)  # (T, K)
        truth = who_sounds(clip, old)
        judged = (truth != UNKNOWN) & (seen >= 0)
        with torch.no_grad():
            found = {"the model as it was": seen > 0.5, "the layer": layer(hear(old, processor, clip)) > 0}
        for name, says in found.items():
            right[name] += (says[judged] == truth[judged].bool()).tolist()
    print(*(f"{name}: right in {np.mean(values):.1%} of {len(values)}" for name, values in right.items()), sep="\n")

    config = CCFormerConfig.from_dict(old.config.to_dict() | {"use_audio_classifier": True})
    new = CCFormerForAudioVisualSegmentation(config)
    head = "model.mtm.head.audio_label."
    heard = {head + name: SHARE * value for name, value in layer.state_dict().items()}
    new.load_state_dict(old.state_dict() | heard)
    new.save_pretrained(args.output)
    processor.save_pretrained(args.output)


def clips(material: Material, number: int) -> Iterator[ComposedClip]:
    return (compose_clip(material, 0, index) for index in tqdm(range(number), desc=material.split, unit="clip"))


@torch.no_grad()
def hear(model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor, clip: ComposedClip) -> Tensor:
    """The sound of each frame before any fusion, `(T, D)`."""
    made = processor.feature_extractor(clip.waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    return model.model.encode_audio(made["input_features"], made["audio_mask"])[0]


def who_sounds(clip: ComposedClip, model: CCFormerForAudioVisualSegmentation) -> Tensor:
    """1 where a class in view sounds, 0 where it is silent, else UNKNOWN: `(T, K)`."""
    truth = torch.full((len(clip.frames), model.config.num_labels), UNKNOWN)
    for class_id, audible in zip(clip.class_ids, torch.from_numpy(clip.audible.astype(int)), strict=True):
        truth[:, class_id] = torch.where(audible < 2, audible, UNKNOWN)
    return truth


@torch.no_grad()
def share_marked(
    model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor, clip: ComposedClip
) -> Tensor:
    """Share of the pixels of each class in view that are marked as it, `(T, K)`; -1 where too little is seen."""
    outputs = model(**processor(clip.frames, audio=clip.waveform, sampling_rate=SAMPLING_RATE))
    (found,) = processor.post_process_semantic_segmentation(outputs, [clip.labels.shape[1:]])  # (T, H, W)
    marked = torch.full((len(clip.frames), model.config.num_labels), -1.0)
    for class_id, masks in zip(clip.class_ids, torch.from_numpy(clip.masks), strict=True):
        for frame, mask in enumerate(masks):
            if mask.sum() >= SMALLEST:
                marked[frame, class_id] = (found[frame][mask] == class_id).float().mean()
    return marked


def fit(sounds: Tensor, sounding: Tensor) -> nn.Linear:
    """The layer that best tells from sounds `(N, D)` which classes sound, `(N, K)`; it says nothing of "no object"."""
    torch.manual_seed(0)
    layer = nn.Linear(sounds.shape[1], sounding.shape[1])
    optimizer = torch.optim.AdamW(layer.parameters(), weight_decay=DECAY)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - epoch / EPOCHS)
        for chosen in torch.randperm(len(sounds)).split(BATCH):
            known = sounding[chosen] != UNKNOWN
            loss = F.binary_cross_entropy_with_logits(layer(sounds[chosen])[known], sounding[chosen][known].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for values in layer.parameters():
        values.data[0] = 0
    return layer


if __name__ == "__main__":
    main()
