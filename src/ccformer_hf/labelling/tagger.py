"""Names what sounds in each second: an AST with labels of its own (AudioSet), or CLAP, which is asked in words.

Letters: `T` seconds, `S` samples of one, `C` classes.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Protocol

import numpy as np
import torch
from transformers import ASTForAudioClassification, AutoFeatureExtractor, AutoTokenizer, ClapModel

from ..inference.loading import choose_device
from .classes import SoundingClass
from .pretrained import load_network, load_processor, model_type

AST_TYPE, CLAP_TYPE = "audio-spectrogram-transformer", "clap"
# Root mean square below which a second counts as silent (-80 dB); a network would name something in it all the same.
SILENCE = 1e-4
CLAP_PROMPT = "This is a sound of {}."  # as its authors ask
CLAP_NEITHER = ("silence", "noise")  # what CLAP may hear in place of any class (ours): its answers add up to 1


class Tagger(Protocol):
    """Names what sounds.

    Attributes:
        sampling_rate: of the sound it takes.
    """

    sampling_rate: int

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        """Scores 0..1 of each class, float32 `(T, C)`, for the sound of each second, float32 `(T, S)` in -1..1."""


class AudioSetTagger:
    """AST: the score of a class is the highest probability among its labels; labels do not exclude each other.

    Args:
        name: folder or Hub id of an `ASTForAudioClassification` trained on AudioSet or the like.
        classes: to name.
        device: to run on.

    Raises:
        OSError, ValueError: as `load_network`; ValueError for a class with a label that the network does not know.
    """

    def __init__(self, name: str, classes: Sequence[SoundingClass], device: torch.device):
        self.model = load_network(ASTForAudioClassification, name, device)
        self.extractor = load_processor(AutoFeatureExtractor, name)
        self.sampling_rate = self.extractor.sampling_rate
        known = {label.lower(): number for number, label in self.model.config.id2label.items()}
        self.numbers = [_numbers(sounding, known, name) for sounding in classes]

    @torch.inference_mode()
    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        """See `Tagger`."""
        inputs = self.extractor(list(seconds), sampling_rate=self.sampling_rate, return_tensors="pt")
        logits = self.model(inputs["input_values"].to(self.model.device)).logits  # (T, L)
        scores = logits.sigmoid().cpu().numpy()
        named = np.stack([scores[:, numbers].max(axis=1) for numbers in self.numbers], axis=1)  # (T, C)
        return named * _sounds(seconds)


class ClapTagger:
    """CLAP: one probability is shared out among all labels of all classes, silence and noise; a class gets the sum of
    its labels'. Where two classes sound at once, neither gets much more than a half.

    Args, Raises: as for `AudioSetTagger`; CLAP knows any label.
    """

    def __init__(self, name: str, classes: Sequence[SoundingClass], device: torch.device):
        self.model = load_network(ClapModel, name, device)
        self.extractor = load_processor(AutoFeatureExtractor, name)
        self.sampling_rate = self.extractor.sampling_rate
        labels = list(dict.fromkeys([label for sounding in classes for label in sounding.labels] + [*CLAP_NEITHER]))
        self.numbers = [[labels.index(label) for label in sounding.labels] for sounding in classes]
        texts = [CLAP_PROMPT.format(label.lower()) for label in labels]
        tokens = load_processor(AutoTokenizer, name)(texts, padding=True, return_tensors="pt").to(device)
        self.tokens = {key: tokens[key] for key in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            silence = np.zeros((1, self.sampling_rate), np.float32)
            self.texts = self.model(**self._features(silence), **self.tokens).text_embeds  # (L, D)

    @torch.inference_mode()
    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        """See `Tagger`."""
        any_text = {key: value[:1] for key, value in self.tokens.items()}  # `forward` wants one
        sounds = self.model(**self._features(seconds), **any_text).audio_embeds  # (T, D)
        scores = (self.model.logit_scale_a.exp() * sounds @ self.texts.T).softmax(dim=1).cpu().numpy()  # (T, L)
        named = np.stack([scores[:, numbers].sum(axis=1) for numbers in self.numbers], axis=1)  # (T, C)
        return named * _sounds(seconds)

    def _features(self, seconds: np.ndarray) -> dict[str, torch.Tensor]:
        inputs = self.extractor(list(seconds), sampling_rate=self.sampling_rate, return_tensors="pt")
        # It draws one of the sounds at random and calls it longer than it is, which training needed.
        return {
            "input_features": inputs["input_features"].float().to(self.model.device),
            "is_longer": torch.zeros_like(inputs["is_longer"], dtype=torch.bool, device=self.model.device),
        }


TAGGERS = {AST_TYPE: AudioSetTagger, CLAP_TYPE: ClapTagger}


def load_tagger(name: str, classes: Sequence[SoundingClass], device: str = "auto") -> Tagger:
    """The tagger in a folder or of a Hub id, an AST or a CLAP.

    Args:
        name: folder or Hub id.
        classes: to name.
        device: see `inference.loading.load`.

    Raises:
        OSError: where there is none, or a part of it is missing.
        ValueError: where it is another kind of model, or does not know a label of a class.
    """
    kind = model_type(name)
    if kind not in TAGGERS:
        raise ValueError(f"{name}: is a model of type {kind!r}; expected a tagger, one of {', '.join(TAGGERS)}")
    return TAGGERS[kind](name, classes, choose_device(device))


def _numbers(sounding: SoundingClass, known: dict[str, int], name: str) -> list[int]:
    """Of the labels of a class among those of a network, which are `known` in lower case."""
    for label in sounding.labels:
        if label.lower() not in known:
            near = get_close_matches(label.lower(), known, n=3, cutoff=0.3) or sorted(known)[:3]
            raise ValueError(
                f"class {sounding.name}: {name} has no label {label!r}; near are {'; '.join(near)}. Write it as "
                f"{sounding.name}: label; label in the file that --classes names"
            )
    return [known[label.lower()] for label in sounding.labels]


def _sounds(seconds: np.ndarray) -> np.ndarray:
    """1 where a second sounds, 0 where it is silent, float32 `(T, 1)`."""
    return (np.sqrt(np.mean(np.square(seconds), axis=1, keepdims=True)) >= SILENCE).astype(np.float32)
