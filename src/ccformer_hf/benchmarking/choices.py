"""What `ccformer benchmark` lets choose from: visual backbones and tables; here, so that `--help` loads no PyTorch."""

DEFAULT_BACKBONE = "resnet-50"
# Name -> `backbone_config`, as in the recipes of these names.
BACKBONES = {
    "resnet-50": {"model_type": "resnet"},
    "pvt-v2-b5": {
        "model_type": "pvt_v2",
        "hidden_sizes": [64, 128, 320, 512],
        "depths": [3, 6, 40, 3],
        "mlp_ratios": [4, 4, 4, 4],
    },
}
# A part alone; many clips at a time; clips of more frames, and of larger ones; a training step.
TABLES = ("parts", "batches", "frames", "sizes", "training")
