"""Teaches the audio backbone before a model is trained with it: the tags that a teacher gives to mixtures of sounds.

    python examples/maintainers/distil_audio.py sources.yaml --teacher teacher.pt --config composed-small \\
        --output runs/audio

It also learns the sounds that each mixture was made of. `--teacher` is a TorchScript file that turns sound at 16 kHz,
float32 `(B, 15600)` in -1..1, into logits of its tags `(B, tags)` and an embedding `(B, width)`. Writes
`audio.safetensors`, which a recipe names as its `audio_weights`, and `audio.json`, how well it names sounds of the
validation split. The convolutions are followed by batch norms while they learn; these are folded into them at the end.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
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
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE, FrameTiming
from ccformer_hf.model.vggish_ccformer import CCFormerVGGish
from ccformer_hf.training.loop import warm_up_and_cosine
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
WARM_UP = 50  # steps
NOISES_KEPT = 40  # of each kind, 4 s long
VALIDATION_MIXTURES = 1500


class Mixtures(IterableDataset):
    """Endless batches of log-mel `(N, 1, 96, 64)`, what sounds in them, and the teacher's tags and embeddings.

    What sounds is `(N, classes)`: 1, 0, or -1 where nobody can tell.
    """

    def __init__(self, material: Material, teacher: str, seed: int):
        self.material, self.teacher, self.seed = material, teacher, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        teacher, extractor = torch.jit.load(self.teacher).eval(), CCFormerFeatureExtractor()
        # The material keeps no more than a share of its recordings; here all are needed all the time.
        recordings = {key: [load_recording(sound.file) for sound in of] for key, of in self.material.sounds.items()}
        noises = [make_noise(kind, rng, 4) for kind in NOISES for _ in range(NOISES_KEPT)]
        while True:
            drawn = [self.mixture(recordings, noises, rng) for _ in range(BATCH)]
            sounds = np.stack([sound for sound, _ in drawn])
            log_mel = extractor.log_mel(sounds)[:, None]  # 0.975 s are just 96 columns
            with torch.no_grad():
                tags, embeddings = teacher(torch.from_numpy(sounds))
            yield log_mel, torch.from_numpy(np.stack([classes for _, classes in drawn])), tags.sigmoid(), embeddings

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
    """The audio backbone with batch norms; heads on its embedding give classes, tags and the teacher's embedding."""

    def __init__(self, config: CCFormerConfig, classes: int, tags: int, width: int):
        super().__init__()
        self.backbone = CCFormerVGGish(config)
        layers: list[nn.Module] = []
        for layer in self.backbone.features:
            layers.append(layer)
            if isinstance(layer, nn.Conv2d):
                layers.append(nn.BatchNorm2d(layer.out_channels))
        self.features = nn.Sequential(*layers)
        size = config.audio_embed_size
        self.classes, self.tags, self.embedding = (
            nn.Linear(size, classes),
            nn.Linear(size, tags),
            nn.Linear(size, width),
        )

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.features(log_mel)  # (N, C, 6, 4)
        embedding = self.backbone.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return self.classes(embedding), self.tags(embedding), self.embedding(embedding)

    @torch.no_grad()
    def start_from(self, file: Path, log_mel: Tensor) -> None:
        """Takes the weights of a backbone without norms. Each norm starts with the mean and the deviation of what
        comes to it for some `log_mel`, so that it changes nothing there."""
        self.backbone.load_state_dict(load_file(file))
        maps = log_mel
        for layer in self.features:
            if isinstance(layer, nn.BatchNorm2d):
                layer.bias.copy_(maps.mean(dim=(0, 2, 3)))
                layer.weight.copy_((maps.var(dim=(0, 2, 3), correction=0) + layer.eps).sqrt())
            maps = layer(maps)

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        """Weights of the backbone alone, which computes the same as it does with its norms in evaluation."""
        weights = {name: value.clone() for name, value in self.backbone.state_dict().items()}
        convolutions = [index for index, layer in enumerate(self.backbone.features) if isinstance(layer, nn.Conv2d)]
        norms = [layer for layer in self.features if isinstance(layer, nn.BatchNorm2d)]
        for index, norm in zip(convolutions, norms, strict=True):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight, bias = f"features.{index}.weight", f"features.{index}.bias"
            weights[weight] *= scale[:, None, None, None]
            weights[bias] = (weights[bias] - norm.running_mean) * scale + norm.bias
        return weights


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
    parser.add_argument("--teacher", required=True, help="TorchScript file of the tagger")
    parser.add_argument("--config", default="composed-small", help="recipe that says how wide the backbone is")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--steps", type=int, default=2000, help=f"steps of {BATCH} examples (default %(default)s)")
    parser.add_argument("--start-from", type=Path, help="an audio.safetensors to go on from")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="at its highest (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    material = read_material(args.sources)
    names = list(material["train"].sources.classes)
    held_out = iter(Mixtures(material["validation"], args.teacher, 1))
    batches = [next(held_out) for _ in range(VALIDATION_MIXTURES // BATCH)]
    student = Student(
        CCFormerConfig(**read_recipe(args.config).model), len(names), batches[0][2].shape[1], batches[0][3].shape[1]
    )
    if args.start_from:
        student.start_from(args.start_from, torch.cat([batch[0] for batch in batches[:10]]))
    student.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(student.parameters(), args.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, args.steps, WARM_UP))
    loader = iter(DataLoader(Mixtures(material["train"], args.teacher, args.seed), batch_size=None, num_workers=1))
    args.output.mkdir(parents=True, exist_ok=True)
    begun, bar = time.time(), tqdm(range(args.steps), unit="step")
    for step in bar:
        log_mel, *targets = next(loader)
        loss = losses(student(log_mel.contiguous(memory_format=torch.channels_last)), *targets)
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
            save_file(
                {name: value.contiguous() for name, value in student.folded().items()},
                args.output / "audio.safetensors",
            )
            (args.output / "audio.json").write_text(json.dumps(record, indent=2) + "\n")
            tqdm.write(json.dumps(record))


if __name__ == "__main__":
    main()
