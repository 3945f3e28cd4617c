"""Trains a CCFormer on made-up clips: how the checkpoint inside the package was made.

    accelerate launch examples/train.py --output runs/tiny                        # the tiny model, from scratch
    accelerate launch examples/train.py --output runs/again --model runs/tiny/last --steps 500 --learning-rate 3e-4

The clips are made on this machine (`ccformer data make` writes the same ones as files); `output/last` is a model folder.
"""

import argparse
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import set_seed

from ccformer_hf import (
    AudioVisualProcessor,
    CCFormerConfig,
    CCFormerFeatureExtractor,
    CCFormerForAudioVisualSegmentation,
    CCFormerImageProcessor,
)
from ccformer_hf.data.made_up import CLASS_NAMES
from ccformer_hf.data.prepared import PreparedClips, TrainingBatch, prepare_made_up_clips
from ccformer_hf.training import TrainingRecipe, train


def tiny_config() -> CCFormerConfig:
    """ccformer-tiny: a narrow ResNet and a narrow VGGish, under 3 million parameters together."""
    return CCFormerConfig(
        backbone_config={
            "model_type": "resnet",
            "layer_type": "basic",
            "embedding_size": 32,
            "hidden_sizes": [32, 64, 128, 256],
            "depths": [2, 2, 2, 1],
        },
        audio_hidden_sizes=(16, 32, 64, 128),
        audio_fc_size=128,
        audio_embed_size=64,
        hidden_size=64,
        num_heads=4,
        feed_forward_size=128,
        pixel_decoder_layers=1,
        decoder_layers=3,
        num_queries=8,
        num_video_queries=4,
        contrastive_size=32,
        num_loss_points=256,
        id2label=dict(enumerate(CLASS_NAMES)),
    )


def parser() -> argparse.ArgumentParser:
    recipe = TrainingRecipe()
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--output", type=Path, required=True, help="folder of the run; the clips made ready lie in it too"
    )
    arguments.add_argument(
        "--model", help="model folder or Hub id to go on from (default: the tiny model, random weights)"
    )
    arguments.add_argument("--clips", type=int, default=4000, help="made-up clips to train on (default %(default)s)")
    arguments.add_argument(
        "--size", type=int, default=128, help="side of the frames in pixels, a multiple of 32 (default %(default)s)"
    )
    arguments.add_argument("--steps", type=int, default=recipe.steps, help="optimizer steps (default %(default)s)")
    arguments.add_argument(
        "--batch-size", type=int, default=recipe.batch_size, help="clips per process and step (default %(default)s)"
    )
    arguments.add_argument(
        "--learning-rate", type=float, default=recipe.learning_rate, help="peak rate of AdamW (default %(default)s)"
    )
    arguments.add_argument("--warmup-steps", type=int, default=recipe.warmup_steps, help="(default %(default)s)")
    arguments.add_argument(
        "--seed", type=int, default=recipe.seed, help="of weights, order and clips (default %(default)s)"
    )
    return arguments


def main() -> None:
    args = parser().parse_args()
    set_seed(args.seed)  # before the model draws its weights
    images = CCFormerImageProcessor(size={"height": args.size, "width": args.size})
    processor = AudioVisualProcessor(images, CCFormerFeatureExtractor())
    if args.model:
        model = CCFormerForAudioVisualSegmentation.from_pretrained(args.model)
    else:
        model = CCFormerForAudioVisualSegmentation(tiny_config())
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        clips = PreparedClips(prepare_made_up_clips(args.output, args.clips, args.seed, args.size))
    recipe = TrainingRecipe(
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        seed=args.seed,
    )
    losses = train(model, processor, clips, TrainingBatch(processor), recipe, args.output)
    print(
        f"{len(losses)} steps, mean loss of the last 50: {sum(losses[-50:]) / len(losses[-50:]):.3f}; {args.output / 'last'}"
    )


if __name__ == "__main__":
    main()
