"""Puts another audio backbone into a trained model, so that it hears with little change what it heard before.

    python examples/maintainers/exchange_audio.py ccformer-small --sources sources.yaml --config composed-small \\
        --audio-weights runs/audio/audio.safetensors --output runs/heard

The layer after the audio backbone is fitted by least squares: on composed clips of the training split it gives, from
the new backbone's embedding, what the old one gave from the old. All else is taken over, but for the calibration of
scores, which is to be measured anew, and for an audio classifier, which `add_audio_classifier.py` fits anew. Training
goes on from there with `start_from`.

With `--share 0.3` the new backbone is 0.7 of the model's own and 0.3 of the weights given: where the own one was once
tuned from these, their average is to hear what it learned, and again what tuning made it forget (WiSE-FT, Wortsman et
al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

import argparse

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation, load
from ccformer_hf.checkpoints import model_place
from ccformer_hf.data.composing.composed import compose_sound
from ccformer_hf.data.composing.material import read_material
from ccformer_hf.model.configuration_ccformer import CCFormerConfig
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE
from ccformer_hf.model_card import read_record
from ccformer_hf.training.initial_model import audio_front_end, load_audio_weights
from ccformer_hf.training.recipe import read_recipe

AUDIO = ("model.audio_backbone.", "model.audio_projection.0.")
CLASSIFIER = "model.audio_classifier."
RIDGE = 1e-2  # of the mean variance of the embedding


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or name")
    parser.add_argument("--sources", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--config", default="composed-small", help="recipe with an audio_config")
    parser.add_argument("--audio-weights", required=True, help="of the new backbone")
    parser.add_argument("--share", type=float, default=1.0, help="of them in the average (default %(default)s)")
    parser.add_argument("--clips", type=int, default=600, help="to fit the layer on (default %(default)s)")
    parser.add_argument("--output", required=True, help="model folder to write")
    args = parser.parse_args()

    old, before = load(args.model, "cpu")
    audio_config = read_recipe(args.config).model["audio_config"]
    if not 0 < args.share <= 1:
        parser.error(f"--share is {args.share:g}, expected more than 0 and at most 1")
    changed = {"audio_config": audio_config, "use_audio_classifier": False}
    new = CCFormerForAudioVisualSegmentation(CCFormerConfig.from_dict(old.config.to_dict() | changed)).eval()
    load_audio_weights(new, args.audio_weights)
    if args.share < 1:
        tuned = old.model.audio_backbone.state_dict()
        for name, values in new.model.audio_backbone.state_dict().items():
            if values.is_floating_point():
                values.lerp_(tuned[name], 1 - args.share)
    own = {name: value for name, value in new.state_dict().items() if name.startswith(AUDIO)}
    kept = {name: value for name, value in old.state_dict().items() if not name.startswith((*AUDIO, CLASSIFIER))}
    new.load_state_dict(kept | own)
    sounds = CCFormerFeatureExtractor(
        alignment=before.feature_extractor.alignment,
        silence_threshold=before.feature_extractor.silence_threshold,
        encoder_extractor=audio_front_end(new.config, None),
        sound_shifts=before.feature_extractor.sound_shifts,
    )

    material = read_material(args.sources)["train"]
    heard, wanted = [], []
    for index in tqdm(range(args.clips), unit="clip"):
        waveform = compose_sound(material, 0, index).waveform
        heard.append(embeddings(new, sounds, waveform))
        wanted.append(old.model.audio_projection[0](embeddings(old, before.feature_extractor, waveform)))
    weight, bias, share = least_squares(torch.cat(heard), torch.cat(wanted))
    print(f"{sum(map(len, heard))} seconds; the new layer gives {share:.0%} of what varies in the old one's output")
    layer = new.model.audio_projection[0]
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    new.save_pretrained(args.output)
    AudioVisualProcessor(before.image_processor, sounds, fps=before.fps).save_pretrained(args.output)
    if record := read_record(model_place(args.model)):
        record.write(args.output)  # its licence, for the card of what is trained from here


def embeddings(
    model: CCFormerForAudioVisualSegmentation, extractor: CCFormerFeatureExtractor, waveform: np.ndarray
) -> Tensor:
    """The audio backbone's embedding of each second that holds sound, `(seconds, W)`."""
    made = extractor.without_shifts()(waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    return model.model.audio_backbone(made["input_features"][0][made["audio_mask"][0]])


def least_squares(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor, float]:
    """Weight and bias of the linear layer that best gives `outputs (N, D)` from `inputs (N, W)`, and the share of
    their variance that it gives."""
    inputs, outputs = inputs.double(), outputs.double()
    mean, middle = inputs.mean(dim=0), outputs.mean(dim=0)
    x, y = inputs - mean, outputs - middle
    ridge = RIDGE * x.square().mean() * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(x.T @ x + ridge, x.T @ y).T  # (D, W)
    share = 1 - (y - x @ weight.T).square().sum() / y.square().sum()
    return weight, middle - weight @ mean, float(share)


if __name__ == "__main__":
    main()
