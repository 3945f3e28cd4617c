"""Four maps of the one that a plain vision transformer has: the simple feature pyramid of ViTDet (*lineage*).

Letters in the shapes: F frames of all clips, H W picture, P side of a patch, C channels, h w feature map.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .layers_ccformer import channels_first, channels_last

MIDDLE_STRIDE = 16  # of the map that all others are made of


def seen_picture(frames: Tensor, patch_size: int) -> Tensor:
    """Frames `(F, 3, H, W)` -> `(F, 3, H/16*P, W/16*P)`, so that a patch stands for 16 x 16 pixels of the picture.

    *Ours*: DINOv2's patches of 14 then give the same maps as patches of 16, at 7/8 of the picture's resolution.
    """
    height, width = (side // MIDDLE_STRIDE * patch_size for side in frames.shape[-2:])
    if (height, width) == frames.shape[-2:]:
        return frames
    return F.interpolate(frames, size=(height, width), mode="bilinear", align_corners=False)


class CCFormerCellNorm(nn.LayerNorm):
    """A layer norm of each cell of maps `(F, C, h, w)`."""

    def forward(self, feature_map: Tensor) -> Tensor:
        return channels_first(super().forward(channels_last(feature_map)))


class CCFormerFeaturePyramid(nn.Module):
    """One map at stride 16 -> four at strides 4, 8, 16 and 32 (*lineage*, ViTDet).

    Finer ones by transposed convolutions, which halve the channels each time; the coarser one by pooling.
    """

    def __init__(self, channels: int):
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.channels = (quarter, half, channels, channels)
        self.to_8 = nn.ConvTranspose2d(channels, half, 2, stride=2)
        self.to_4 = nn.Sequential(
            nn.ConvTranspose2d(channels, half, 2, stride=2),
            CCFormerCellNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )

    def forward(self, feature_map: Tensor) -> tuple[Tensor, ...]:
        """`(F, C, H/16, W/16)` -> `(F, C/4, H/4, W/4)`, `(F, C/2, H/8, W/8)`, itself, `(F, C, H/32, W/32)`."""
        return self.to_4(feature_map), self.to_8(feature_map), feature_map, F.max_pool2d(feature_map, 2)
