"""Tunes a MobileNet as audio backbone before a model is trained with it, so that it names what sounds in mixtures.

    python examples/maintainers/distil_audio.py sources.yaml --weights mn04_as_mAP_432.pt --teacher teacher.pt \\
        --config composed-small --output runs/audio

It starts from published weights, learns the sounds that each mixture was made of, and keeps the tags and embeddings
that a teacher gives to the mixture. `--teacher` is a TorchScript file that turns sound at 16 kHz, float32
`(B, 15600)` in -1..1, into logits of its tags `(B, tags)` and an embedding `(B, width)`. Writes `audio.safetensors`,
which a recipe names as its `audio_weights`, and `audio.json`, how well it names sounds of the validation split.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.signal import oaconvolve
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from ccformer_hf.data.composing.material import Material, read_material
from ccformer_hf.data.composing.sound_mix import AUDIBLE_FROM, REFERENCE, SILENT_BELOW
from ccformer_hf.data.composing.sounds import Recording, load_recording
from ccformer_hf.data.composing.sources import OTHER
from ccformer_hf.data.levels import factor
from ccformer_hf.data.noises import NOISES, make_noise
from ccformer_hf.model.configuration_ccformer import CCFormerConfig
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.model.mobilenet_ccformer import CCFormerMobileNet
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE, FrameTiming
from ccformer_hf.training.initial_model import audio_front_end
from ccformer_hf.training.loop import warm_up_and_cosine
from ccformer_hf.training.pretrained_weights import load_audio_encoder
from ccformer_hf.training.recipe import read_recipe

OTHERS = 0.25  # share of the sounds that belong to no class
NOISE_ALONE = 0.08  # share of the mixtures that are nothing but noise or bleeps
WITH_NOISE = 0.7  # share of the others that have noise under them
WITH_CHANNEL = 0.3  # share of the sounds that go through a room or a bad loudspeaker
SOURCES_AT_ONCE = {1: 0.45, 2: 0.35, 3: 0.2}
LEVELS = (-12.0, 0.0)  # dB, of each sound
NOISE_LEVELS = (-40.0, -12.0)  # dB, under them
WHOLE_LEVELS = (-20.0, 10.0)  # dB, of the mixture
SPEEDS = (0.8, 1.25)  # played slower or faster, which changes the pitch too
SAMPLES = FrameTiming(sampling_rate=SAMPLING_RATE).example_samples
BATCH = 60
HEADS_RATE = 2e-3  # learning rate of the heads, which are new
WARM_UP = 50  # steps
NOISES_KEPT = 40  # of each kind, 4 s long
VALIDATION_MIXTURES = 1500


class Mixtures(IterableDataset):
    """Endless batches of log-mel `(N, columns, bands)`, what sounds in them, the teacher's tags and embeddings.

    What sounds is `(N, classes)`: 1, 0, or -1 where nobody can tell.
    """

    def __init__(self, material: Material, extractor: CCFormerFeatureExtractor, teacher: str, seed: int):
        self.material, self.extractor, self.teacher, self.seed = material, extractor, teacher, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        teacher = torch.jit.load(self.teacher).eval()
        # The material keeps no more than a share of its recordings; here all are needed all the time.
        recordings = {key: [load_recording(sound.file) for sound in of] for key, of in self.material.sounds.items()}
        noises = [make_noise(kind, rng, 4) for kind in NOISES for _ in range(NOISES_KEPT)]
        while True:
            drawn = [self.mixture(recordings, noises, rng) for _ in range(BATCH)]
            sounds = np.stack([sound for sound, _ in drawn])
            with torch.no_grad():
                tags, embeddings = teacher(torch.from_numpy(sounds))
            classes = torch.from_numpy(np.stack([classes for _, classes in drawn]))
            yield self.extractor.examples(torch.from_numpy(sounds)), classes, tags.sigmoid(), embeddings

    def mixture(
        self, recordings: dict[int | str, list[Recording]], noises: list[np.ndarray], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sound of 0.975 s, float32, and what sounds in it, `(classes,)`."""
        classes = np.zeros(len(self.material.sources.classes), dtype=np.int8)
        noise = noises[rng.integers(len(noises))]
        start = rng.integers(len(noise) - SAMPLES)
        noise = noise[start : start + SAMPLES]
        if rng.random() < NOISE_ALONE:
            return noise, classes
        whole = noise * np.float32(
            REFERENCE * factor(rng.uniform(*NOISE_LEVELS)) / (np.sqrt(np.square(noise).mean()) + 1e-9)
        )
        whole *= np.float32(rng.random() < WITH_NOISE)
        count = int(rng.choice(list(SOURCES_AT_ONCE), p=list(SOURCES_AT_ONCE.values())))
        for name in rng.choice([key for key in recordings if key != OTHER], count, replace=False):
            key = OTHER if rng.random() < OTHERS else int(name)
            recording = recordings[key][rng.integers(len(recordings[key]))]
            part = some_part(recording, rng)
            loudness = 20 * np.log10(np.sqrt(np.square(part).mean()) / recording.loudness + 1e-6)
            whole += part * np.float32(REFERENCE * factor(rng.uniform(*LEVELS)) / recording.loudness)
            if key != OTHER:
                classes[key - 1] = 1 if loudness >= AUDIBLE_FROM else 0 if loudness < SILENT_BELOW else -1
        whole *= np.float32(factor(rng.uniform(*WHOLE_LEVELS)))
        return whole * np.float32(min(1.0, 0.98 / max(1e-9, float(np.abs(whole).max())))), classes


def some_part(recording: Recording, rng: np.random.Generator) -> np.ndarray:
    """0.975 s of a recording at some speed, float32; one that is shorter comes at some place in silence."""
    samples = recording.samples
    speed = np.exp(rng.uniform(*np.log(SPEEDS)))
    needed = int(SAMPLES * speed) + 2
    if len(samples) < needed:
        before = int(rng.integers(0, needed - len(samples) + 1))
        part = np.pad(samples, (before, needed - len(samples) - before))
    else:
        start = int(rng.integers(0, len(samples) - needed + 1))
        part = samples[start : start + needed]
    part = np.interp(np.arange(SAMPLES) * speed, np.arange(needed), part).astype(np.float32) / 32768
    if rng.random() < WITH_CHANNEL:
        length = int(rng.integers(8, 1600))
        echo = rng.standard_normal(length) * np.exp(-6 * np.arange(length) / length) * factor(rng.uniform(-20, -5))
        echo[0] = 1
        wet = oaconvolve(part, echo.astype(np.float32))[:SAMPLES]
        part = wet * np.float32(np.sqrt(np.square(part).sum() / (np.square(wet).sum() + 1e-12)))
    return part


class Student(nn.Module):
    """The audio encoder, whose norms learn here; heads on its embedding give classes, tags and the teacher's
    embedding."""

    def __init__(self, encoder: CCFormerMobileNet, classes: int, tags: int, width: int):
        super().__init__()
        self.encoder = encoder
        self.classes, self.tags, self.embedding = (nn.Linear(encoder.width, size) for size in (classes, tags, width))

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embedding = self.encoder(log_mel).pooler_output
        return self.classes(embedding), self.tags(embedding), self.embedding(embedding)


def losses(outputs: tuple[Tensor, Tensor, Tensor], classes: Tensor, tags: Tensor, embeddings: Tensor) -> Tensor:
    known = classes >= 0
    named = F.binary_cross_entropy_with_logits(outputs[0][known], classes[known].float())
    tagged = F.binary_cross_entropy_with_logits(outputs[1], tags)
    alike = 1 - F.cosine_similarity(outputs[2], embeddings).mean()
    return 10 * named + 30 * tagged + alike


@torch.no_grad()
def scores(student: Student, batches: list[tuple[Tensor, ...]], names: list[str]) -> dict[str, float]:
    """Average precision of each class over the validation mixtures, and their mean."""
    student.eval()
    found = torch.cat([student(batch[0])[0] for batch in batches]).sigmoid()
    classes = torch.cat([batch[1] for batch in batches])
    student.train()
    precision = {}
    for number, name in enumerate(names):
        known = classes[:, number] >= 0
        order = found[known, number].argsort(descending=True)
        right = classes[known, number][order].float()
        if right.sum():
            ranks = torch.arange(1, len(right) + 1)
            precision[name] = float((right.cumsum(0) / ranks * right).sum() / right.sum())
    return {"mean": float(np.mean(list(precision.values())))} | precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--weights", required=True, help="published weights of the audio backbone")
    parser.add_argument("--teacher", required=True, help="TorchScript file of the tagger")
    parser.add_argument("--config", default="composed-small", help="recipe with a MobileNet as audio_config")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--steps", type=int, default=1200, help=f"steps of {BATCH} examples (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="at its highest (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    material = read_material(args.sources)
    names = list(material["train"].sources.classes)
    config = CCFormerConfig(**read_recipe(args.config).model)
    extractor = CCFormerFeatureExtractor(encoder_extractor=audio_front_end(config, None))
    held_out = iter(Mixtures(material["validation"], extractor, args.teacher, 1))
    batches = [next(held_out) for _ in range(VALIDATION_MIXTURES // BATCH)]
    encoder = CCFormerMobileNet(config.audio_config)
    load_audio_encoder(encoder, args.weights)
    student = Student(encoder, len(names), batches[0][2].shape[1], batches[0][3].shape[1])
    student.to(memory_format=torch.channels_last).train()
    heads = [parameter for name, parameter in student.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": encoder.parameters(), "lr": args.learning_rate}, {"params": heads, "lr": HEADS_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, args.steps, WARM_UP))
    mixtures = Mixtures(material["train"], extractor, args.teacher, args.seed)
    loader = iter(DataLoader(mixtures, batch_size=None, num_workers=1))
    args.output.mkdir(parents=True, exist_ok=True)
    begun, bar = time.time(), tqdm(range(args.steps), unit="step")
    for step in bar:
        log_mel, *targets = next(loader)
        loss = losses(student(log_mel), *targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % 250 == 0 or step + 1 == args.steps:
            found = scores(student, batches, names)
            record = {
                "step": step + 1,
                "minutes": (time.time() - begun) / 60,
                "loss": loss.item(),
                "average_precision": found,
            }
            weights = {name: value.contiguous() for name, value in encoder.state_dict().items()}
            save_file(weights, args.output / "audio.safetensors")
            (args.output / "audio.json").write_text(json.dumps(record, indent=2) + "\n")
            tqdm.write(json.dumps(record))


if __name__ == "__main__":
    main()
