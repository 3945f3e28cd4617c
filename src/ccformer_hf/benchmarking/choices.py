"""What `ccformer benchmark` lets choose from: visual backbones and tables; here, so that `--help` loads no PyTorch."""

# Recipes; their `backbone_config` is taken.
BACKBONES = ("resnet50", "pvt-v2-b5", "dinov2-base")
# A part alone; many clips at a time; clips of more frames, and of larger ones; a training step.
TABLES = ("parts", "batches", "frames", "sizes", "training")
