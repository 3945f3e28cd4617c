"""Gives a trained model the hearing of others: the mean of their audio backbones, and of their audio classifiers.

    python examples/maintainers/exchange_hearing.py runs/sees --hearing runs/hears runs/hears-otherwise \\
        --sources sources.yaml --output runs/both

All are of one architecture and one line of training, as of `tune_hearing.py`. The layer after the audio backbone is
fitted by least squares to what it gave before, as in `exchange_audio.py`, so that the rest need not learn anew.
"""

import argparse

import torch
from add_audio_classifier import many
from exchange_audio import CLASSIFIER, embeddings, least_squares

from ccformer_hf import AudioVisualProcessor, load
from ccformer_hf.checkpoints import model_place
from ccformer_hf.data.composing.composed import compose_sound
from ccformer_hf.data.composing.material import read_material
from ccformer_hf.model_card import read_record

PARTS = ("model.audio_backbone.", CLASSIFIER)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or name, with `use_audio_classifier`")
    parser.add_argument("--hearing", nargs="+", required=True, help="model folders or names")
    parser.add_argument("--sources", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--clips", type=int, default=300, help="to fit the layer on (default %(default)s)")
    parser.add_argument("--output", required=True, help="model folder to write")
    args = parser.parse_args()

    model, processor = load(args.model, "cpu")
    material = read_material(args.sources)["train"]
    waveforms = [sound.waveform for sound in many(compose_sound, material, args.clips)]

    def heard() -> torch.Tensor:
        return torch.cat([embeddings(model, processor.feature_extractor, waveform) for waveform in waveforms])

    layer = model.model.audio_projection[0]
    wanted = layer(heard())
    others = [load(name, "cpu")[0].state_dict() for name in args.hearing]
    for name, values in model.state_dict().items():
        if name.startswith(PARTS) and values.is_floating_point():
            values.copy_(torch.stack([other[name].float() for other in others]).mean(dim=0))
    weight, bias, share = least_squares(heard(), wanted)
    print(f"{len(wanted)} seconds; the layer gives {share:.1%} of what varies in its output before")
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    model.save_pretrained(args.output)
    # Without the calibration of scores, which are others now.
    AudioVisualProcessor(processor.image_processor, processor.feature_extractor, fps=processor.fps).save_pretrained(
        args.output
    )
    if record := read_record(model_place(args.model)):
        record.write(args.output)  # its licence, which the weights keep


if __name__ == "__main__":
    main()
