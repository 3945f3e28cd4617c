"""Networks written here from the published descriptions compute what ours do after loading their weights."""

import json
import re

import pytest
import timm
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoBackbone,
    PvtV2Config,
    ResNetConfig,
    SwinConfig,
    SwinForImageClassification,
    Swinv2Config,
    Swinv2ForImageClassification,
    TimmBackboneConfig,
)

from ccformer_hf.training.pretrained_weights import differences, load_pretrained_weights

STAGES = ["stage1", "stage2", "stage3", "stage4"]
PICTURE = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
SIZES = (8, 16, 20, 32)


class Residual(nn.Module):
    """A block of torchvision's ResNet, v1.5: the 3x3 kernel has the stride."""

    def __init__(self, before: int, after: int, stride: int, bottleneck: bool):
        super().__init__()
        widths = [before, after // 4, after // 4, after] if bottleneck else [before, after, after]
        self.steps = len(widths) - 1
        for i in range(self.steps):
            kernel = 3 if not bottleneck or i == 1 else 1
            pace = stride if i == (1 if bottleneck else 0) else 1
            conv = nn.Conv2d(widths[i], widths[i + 1], kernel, pace, padding=kernel // 2, bias=False)
            setattr(self, f"conv{i + 1}", conv)
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(widths[i + 1]))
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = x
        for i in range(1, self.steps + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.steps else y
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, bottleneck: bool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, padding=3, bias=False), nn.BatchNorm2d(8)
        before = 8
        for stage, width in enumerate((8, 16, 24, 32), start=1):
            blocks = [
                Residual(before, width, 1 if stage == 1 else 2, bottleneck),
                Residual(width, width, 1, bottleneck),
            ]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        maps = [F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)]
        for stage in range(1, 5):
            maps.append(getattr(self, f"layer{stage}")(maps[-1]))
        return maps[1:]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        if reduction > 1:
            self.sr, self.norm = nn.Conv2d(width, width, reduction, reduction), nn.LayerNorm(width, eps=1e-6)

    def forward(self, x, size):
        other = x
        if hasattr(self, "sr"):
            other = self.norm(self.sr(x.mT.unflatten(2, size)).flatten(2).mT)
        keys, values = self.kv(other).chunk(2, dim=-1)
        q, k, v = (of.unflatten(-1, (self.heads, -1)).transpose(1, 2) for of in (self.q(x), keys, values))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, reduction)
        depthwise = nn.ModuleDict({"dwconv": nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)})
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 2 * width), "dwconv": depthwise, "fc2": nn.Linear(2 * width, width)}
        )

    def forward(self, x, size):
        x = x + self.attn(self.norm1(x), size)
        y = self.mlp["fc1"](self.norm2(x)).mT.unflatten(2, size)
        return x + self.mlp["fc2"](F.gelu(self.mlp["dwconv"]["dwconv"](y)).flatten(2).mT)


class PVT(nn.Module):
    def __init__(self):
        super().__init__()
        for i, width in enumerate(SIZES):
            kernel, stride, before = (3, 2, SIZES[i - 1]) if i else (7, 4, 3)
            embed = {
                "proj": nn.Conv2d(before, width, kernel, stride, kernel // 2),
                "norm": nn.LayerNorm(width, eps=1e-6),
            }
            setattr(self, f"patch_embed{i + 1}", nn.ModuleDict(embed))
            blocks = [Block(width, (1, 2, 5, 8)[i], (8, 4, 2, 1)[i]) for _ in range(2)]
            setattr(self, f"block{i + 1}", nn.ModuleList(blocks))
            setattr(self, f"norm{i + 1}", nn.LayerNorm(width, eps=1e-6))
        self.head = nn.Linear(SIZES[-1], 10)

    def forward(self, x):
        maps = []
        for i in range(1, 5):
            embed = getattr(self, f"patch_embed{i}")
            x = embed["proj"](x)
            size = x.shape[-2:]
            x = embed["norm"](x.flatten(2).mT)
            for block in getattr(self, f"block{i}"):
                x = block(x, size)
            x = getattr(self, f"norm{i}")(x).mT.unflatten(2, size)
            maps.append(x)
        return maps


def randomised(network: nn.Module) -> nn.Module:
    """Weights, and statistics of batch norms, as a trained network may have them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.ndim == 1:
                positive = name.endswith(("weight", "running_var"))
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if positive else -0.5))
    return network.eval()


def as_timm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of a PVT-v2 by the names that timm has for them."""
    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"^(patch_embed|block|norm)(\d)", lambda found: f"{found[1]}@{int(found[2]) - 1}", name)
        name = name.replace("patch_embed@0", "patch_embed").replace("dwconv.dwconv", "dwconv")
        name = re.sub(r"^patch_embed@(\d)", r"stages.\1.downsample", name)
        name = re.sub(r"^block@(\d)", r"stages.\1.blocks", name)
        renamed[re.sub(r"^norm@(\d)", r"stages.\1.norm", name)] = tensor
    return renamed


def our_resnet(bottleneck: bool = True, **changes) -> nn.Module:
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[2] * 4,
        layer_type="bottleneck" if bottleneck else "basic",
        out_features=STAGES,
        **changes,
    )
    return AutoBackbone.from_config(config).eval()


def our_pvt(**changes) -> nn.Module:
    values = {"hidden_sizes": list(SIZES), "depths": [2] * 4, "mlp_ratios": [2] * 4, "out_features": STAGES} | changes
    return AutoBackbone.from_config(PvtV2Config(**values)).eval()


def assert_computes_the_same(ours: nn.Module, theirs: nn.Module, relative: float = 1e-5):
    with torch.no_grad():
        maps, wanted = ours(PICTURE).feature_maps, theirs(PICTURE)
    assert len(maps) == len(wanted) == 4
    for one, two in zip(maps, wanted, strict=True):
        assert one.shape == two.shape and two.abs().max() > 0.1
        assert (one - two).abs().max() < relative * two.abs().max()


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def told(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("counted", [True, False])  # files older than torch 0.4.1 have no num_batches_tracked
def test_a_resnet_of_torchvision_computes_the_same_here(bottleneck, counted, tmp_path):
    theirs, ours = randomised(ResNet(bottleneck)), our_resnet(bottleneck)
    state = {name: tensor for name, tensor in theirs.state_dict().items() if counted or "num_batches" not in name}
    torch.save(state, tmp_path / "resnet.pth")
    load_pretrained_weights(ours, tmp_path / "resnet.pth")
    assert_computes_the_same(ours, theirs)


@pytest.mark.parametrize("within", [None, "model", "state_dict"])
def test_a_pvt_of_its_authors_computes_the_same_here(within, tmp_path):
    theirs, ours = randomised(PVT()), our_pvt()
    state = theirs.state_dict()
    torch.save({within: state, "epoch": 300} if within else state, tmp_path / "pvt_v2.pth")
    load_pretrained_weights(ours, tmp_path / "pvt_v2.pth")
    assert_computes_the_same(ours, theirs)


def test_a_folder_of_timm(tmp_path):
    theirs, ours = randomised(PVT()), our_pvt()
    save_file(
        {name: tensor.contiguous() for name, tensor in as_timm(theirs.state_dict()).items()},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "pvt_v2_b0", "num_classes": 10}))
    load_pretrained_weights(ours, tmp_path)
    assert_computes_the_same(ours, theirs)


def test_a_hub_id(tmp_path, monkeypatch):
    """From the cache, where `hf_hub_download` has put it."""
    theirs, ours = randomised(ResNet(True)), our_resnet()
    repository = tmp_path / "models--timm--resnet-small"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    torch.save(theirs.state_dict(), snapshot / "pytorch_model.bin")
    (snapshot / "config.json").write_text(json.dumps({"architecture": "resnet50"}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    load_pretrained_weights(ours, "timm/resnet-small")
    assert_computes_the_same(ours, theirs)
    with pytest.raises(OSError, match="timm/none: could not get model.safetensors or pytorch_model.bin from the Hub"):
        load_pretrained_weights(ours, "timm/none")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("resnet18", ResNetConfig(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2] * 4)),
        ("pvt_v2_b0", PvtV2Config()),
    ],
)
def test_networks_of_timm_itself(name, config, tmp_path):
    theirs = randomised(timm.create_model(name))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    config.out_features = STAGES
    ours = AutoBackbone.from_config(config).eval()
    load_pretrained_weights(ours, tmp_path)
    # timm keeps eps = 1e-5 of the authors in some norms of PVT-v2; transformers has 1e-6 in all.
    assert_computes_the_same(ours, lambda x: theirs.forward_intermediates(x, intermediates_only=True)[-4:], 1e-4)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "swin_s3_tiny_224", "vit_tiny_patch16_224"])
def test_a_backbone_of_timm_takes_all_but_what_follows_its_last_map(name, tmp_path):
    """The second writes `layers.0` as `layers_0`, the third all its names below `model`."""
    theirs = randomised(timm.create_model(name))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    config = TimmBackboneConfig(backbone=name, out_indices=[-4, -3, -2, -1])
    ours = AutoBackbone.from_config(config).eval()
    load_pretrained_weights(ours, tmp_path)
    picture = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = ours(picture).feature_maps
        expected = theirs.forward_intermediates(picture, intermediates_only=True)[-4:]
    channels_first = [m.permute(0, 3, 1, 2) if name.startswith("swin") else m for m in maps]
    for found, right in zip(channels_first, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)


def test_a_deeper_network_of_timm_is_refused(tmp_path):
    """Lite1 has all the tensors of Lite0, of the same shapes, and more blocks."""
    save_file(timm.create_model("tf_efficientnet_lite1").state_dict(), tmp_path / "model.safetensors")
    ours = AutoBackbone.from_config(TimmBackboneConfig(backbone="tf_efficientnet_lite0", out_indices=[-4, -3, -2, -1]))
    with pytest.raises(
        ValueError, match=r"a network of timm, which does not fit the backbone of the recipe: .* left over"
    ):
        load_pretrained_weights(ours, tmp_path)


def test_every_tensor_that_does_not_fit_is_told_and_nothing_is_loaded(tmp_path):
    ours, state = our_pvt(), PVT().state_dict()
    before = state_of(ours)
    kv = "block3.1.attn.kv.weight"
    for change, wrong in [
        ({kv: None}, f"1 missing ({kv})"),
        ({"pos_embed1": torch.ones(3)}, "1 left over (pos_embed1)"),
        ({kv: torch.ones(20, 20)}, f"1 of another shape ({kv} has (20, 20), expected (40, 20))"),
        (
            {"norm4.bias": None, "cls_token": torch.ones(3), "norm1.bias": torch.ones(9)},
            "1 missing (norm4.bias), 1 left over (cls_token), 1 of another shape (norm1.bias has (9,), expected (8,))",
        ),
    ]:
        changed = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
        torch.save(changed, tmp_path / "pvt.pth")
        with pytest.raises(ValueError) as error:
            load_pretrained_weights(ours, tmp_path / "pvt.pth")
        assert (
            f": holds a PVT-v2 as its authors published it, which does not fit the backbone of the recipe: {wrong};"
            in told(error)
        )
    torch.save(
        {name: tensor for name, tensor in state.items() if not name.startswith("block4.")}, tmp_path / "pvt.pth"
    )
    with pytest.raises(ValueError, match=r"32 missing \(block4.0.attn.kv.bias, .*, .*, \.\.\.\);"):
        load_pretrained_weights(ours, tmp_path / "pvt.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


def test_differences_are_empty_where_all_fits():
    shapes = {name: tensor.shape for name, tensor in PVT().state_dict().items()}
    assert differences(shapes, dict(shapes)) == ""


def test_networks_that_compute_something_else_are_refused(tmp_path):
    """`config.json` says what no tensor does; what nothing says must be as the published networks have it."""
    resnet, pvt = tmp_path / "resnet", tmp_path / "pvt"
    for folder, network in ((resnet, ResNet(True)), (pvt, PVT())):
        folder.mkdir()
        torch.save(network.state_dict(), folder / "pytorch_model.bin")
    for folder, ours, wrong in [
        (pvt, our_resnet(), "holds a PVT-v2 as its authors published it, the backbone of the recipe is a resnet"),
        (resnet, our_pvt(), "holds a ResNet as torchvision and timm have it, the backbone of the recipe is a pvt_v2"),
        (resnet, our_resnet(downsample_in_bottleneck=True), "with downsample_in_bottleneck False, .* recipe has True"),
        (
            pvt,
            our_pvt(num_attention_heads=[1, 2, 4, 8]),
            r"with num_attention_heads \[1, 2, 5, 8\], .* has \[1, 2, 4, 8\]",
        ),
        (pvt, our_pvt(linear_attention=True), r"8 missing \(block4.0.attn.norm.bias, .* 6 of another shape"),
    ]:
        with pytest.raises(ValueError, match=wrong) as error:
            load_pretrained_weights(ours, folder)
        assert told(error).startswith(f"{folder}: ")
    for content, wrong in [
        (
            json.dumps({"architecture": "resnetblur50"}),
            "is a resnetblur50 of timm, for which transformers has no network",
        ),
        (json.dumps({"model_type": "resnet", "hidden_act": "gelu"}), "with hidden_act gelu, .* recipe has relu"),
        ("{", "config.json: is not JSON"),
    ]:
        (resnet / "config.json").write_text(content)
        with pytest.raises(ValueError, match=wrong) as error:
            load_pretrained_weights(our_resnet(), resnet)
        told(error)


class Harmful:
    """A pickle of this runs code of its own."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the code in the pickle ran')",)


def test_files_that_hold_no_weights_are_refused(tmp_path):
    file, ours = tmp_path / "weights.pth", our_resnet()
    for content, wrong in [
        (
            {"state_dict": {"conv1.weight": Harmful()}},
            "weights.pth: cannot be read as tensors; it is damaged, or a pickle that",
        ),
        (torch.ones(3), "weights.pth: holds no tensors with names"),
        ({"conv1.weight": 3}, "weights.pth: holds no tensors with names"),
        (
            {"weight": torch.ones(3)},
            r"weights.pth: its tensors \(weight\) are in no layout that is known; expected a ResNet",
        ),
    ]:
        torch.save(content, file)
        with pytest.raises(ValueError, match=wrong) as error:
            load_pretrained_weights(ours, file)
        told(error)
    for name in ("weights.pth", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"\x10\0\0\0\0\0\0\0cut short")
        with pytest.raises(ValueError, match=f"{name}: cannot be read as tensors"):
            load_pretrained_weights(ours, tmp_path / name)
    for missing, wrong in [
        (tmp_path, "has neither model.safetensors nor pytorch_model.bin"),
        ("downloads/resnet50.pth", "resnet50.pth: there is no such file or folder, and it is not a Hub id"),
        (tmp_path / "none", "none: there is no such file or folder"),
    ]:
        with pytest.raises(FileNotFoundError, match=wrong):
            load_pretrained_weights(ours, missing)


@pytest.mark.parametrize(
    ("kind", "with_head"), [(SwinConfig, SwinForImageClassification), (Swinv2Config, Swinv2ForImageClassification)]
)
def test_other_backbones_of_transformers_leave_only_the_head_and_its_norm_over(kind, with_head, tmp_path):
    config = kind(embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=2, image_size=64)
    source = randomised(with_head(config))
    source.save_pretrained(tmp_path)
    config.out_features = STAGES
    ours = AutoBackbone.from_config(config)
    load_pretrained_weights(ours, tmp_path)
    theirs, state = (
        {re.sub(r"^swin(v2)?\.", "", name): tensor for name, tensor in of.state_dict().items()}
        for of in (source, ours)
    )
    loaded = {name for name in state if name in theirs and torch.equal(state[name], theirs[name])}
    assert theirs.keys() - loaded <= {
        f"{part}.{kind}" for part in ("classifier", "layernorm") for kind in ("weight", "bias")
    }
    assert all(name.startswith("hidden_states_norms.") for name in state.keys() - loaded)
