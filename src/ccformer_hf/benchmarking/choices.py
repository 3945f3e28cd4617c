"""What `ccformer benchmark` lets choose from: backbones and tables; here, so that `--help` loads no PyTorch."""

# Recipes; their `backbone_config` and `audio_config` are taken.
BACKBONES = ("resnet50", "pvt-v2-b5", "dinov2-base", "resnet50-ast", "resnet50-clap")
# A part alone; many clips at a time; clips of more frames, and of larger ones; a training step.
TABLES = ("parts", "batches", "frames", "sizes", "training")
