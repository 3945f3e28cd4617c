from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import AUDIO_ENCODERS, SMALL_RESNET, small_config, small_model
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ASTModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PvtV2Config,
    PvtV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
)

from ccformer_hf.inference.loading import load
from ccformer_hf.model.configuration_ccformer import CCFormerMobileNetConfig
from ccformer_hf.model.mobilenet_ccformer import CCFormerMobileNet
from ccformer_hf.training.initial_model import (
    LABEL_LAYERS,
    _config,
    initial_model,
    load_audio_weights,
    load_backbone_weights,
)
from ccformer_hf.training.recipe import Recipe, read_recipe

SIZES = {
    name: getattr(small_config(), name)
    for name in (
        "audio_hidden_sizes",
        "audio_fc_size",
        "audio_embed_size",
        "hidden_size",
        "num_heads",
        "feed_forward_size",
        "decoder_layers",
        "num_queries",
    )
}
SHIFTS = (-0.5, 0.5)
RECIPE = Recipe(size=64, alignment="avsbench", sound_shifts=SHIFTS, model={"backbone_config": SMALL_RESNET, **SIZES})
NAMES = ("background", "cat", "dog")
RESNET = {name: value for name, value in SMALL_RESNET.items() if name != "model_type"}
PVT = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
}


def randomised(model):
    """Every tensor differs from what a fresh model has, statistics of batch norms too."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 2)
            else:
                tensor.fill_(9)
    return model


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_new_model_has_the_labels_of_the_data_and_the_sizes_of_the_recipe():
    model, processor = initial_model(RECIPE, NAMES)
    assert model.config.id2label == {0: "background", 1: "cat", 2: "dog"}
    assert model.config.hidden_size == 16 and model.config.backbone_config.hidden_sizes == [8, 8, 8, 16]
    assert model.get_parameter(LABEL_LAYERS[0] + "weight").shape == (3, 16)
    assert processor.image_processor.size["height"] == processor.image_processor.size["width"] == 64
    assert processor.feature_extractor.alignment == "avsbench"
    assert processor.feature_extractor.sound_shifts == list(SHIFTS)


def test_the_seed_decides_a_new_model():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(initial_model(RECIPE, NAMES)[0].state_dict())
    assert same(weights[0], weights[1]) and not same(weights[0], weights[2])


@pytest.mark.parametrize("name", ["s4-resnet50", "avss-pvt-v2-b5", "ms3-tiny", "avss-dinov2-base"])
def test_the_models_of_the_recipes_can_be(name):
    recipe = read_recipe(name)
    config = _config(recipe.model, {0: "background", 1: "bell"})
    assert config.backbone_config.model_type == recipe.model["backbone_config"]["model_type"]
    assert len(config.backbone_config.out_features) == (1 if "dinov2" in name else 4)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"hiden_size": 3},
            r"model of the recipe has no field 'hiden_size' \(did you mean 'hidden_size'\?\); "
            "expected one of .*hidden_size",
        ),
        ({"id2label": {0: "a"}}, "model of the recipe has no field 'id2label'"),
        (
            {"backbone_config": {"model_type": "resnet", "depth": 3}},
            "model.backbone_config of the recipe has no field 'depth'.*; expected one of",
        ),
        ({"backbone_config": {"model_type": "resnets"}}, "backbone_config has model_type 'resnets'"),
        ({"backbone_config": 3}, "model of the recipe: .*backbone_config"),
        ({"hidden_size": "big"}, "model of the recipe: .*hidden_size.*'big'"),
        ({"hidden_size": 30}, "hidden_size is 30, expected a multiple of num_heads"),
    ],
)
def test_a_model_that_cannot_be_is_refused(values, told):
    with pytest.raises(ValueError, match=told) as error:
        initial_model(Recipe(model=values), NAMES)
    one_line(error)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "best"
    with_both = replace(RECIPE, model=RECIPE.model | {"use_audio_classifier": True})
    model, processor = initial_model(with_both, NAMES)
    randomised(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("names", [("background", "bell", "drum", "horn", "flute"), ("background", "dog", "cat")])
def test_with_other_labels_all_but_the_label_layers_is_kept(trained, names):
    old = load(trained, "cpu")[0].state_dict()
    model, processor = initial_model(Recipe(size=96, start_from=str(trained)), names)
    new = model.state_dict()
    assert model.config.id2label == dict(enumerate(names)) and model.config.num_labels == len(names)
    assert model.config.label2id == {name: number for number, name in enumerate(names)}  # none of the old names
    assert processor.image_processor.size["height"] == 96
    of_labels = {name for name in new if name.startswith(LABEL_LAYERS)}
    assert of_labels == {layer + kind for layer in LABEL_LAYERS for kind in ("weight", "bias")}
    assert same(
        {n: t for n, t in old.items() if n not in of_labels}, {n: t for n, t in new.items() if n not in of_labels}
    )
    for layer, outputs in zip(LABEL_LAYERS, (len(names), len(names) - 1), strict=True):
        assert new[layer + "weight"].shape == (outputs, 16)
        assert new[layer + "weight"].abs().max() < 1  # those of the old model lie between 2 and 3
    before, after = load(trained, "cpu")[0].config.to_dict(), model.config.to_dict()
    unlike = {name for name in after if after[name] != before[name]}
    assert unlike <= {"id2label", "label2id", "architectures"}


@pytest.mark.parametrize("name", ["fine-tune", "fine-tune-small"])
def test_a_model_to_start_from_sees_frames_as_it_learned_to(name):
    recipe = read_recipe(name)
    _, processor = initial_model(recipe, NAMES)
    before, images = load(recipe.start_from, "cpu")[1].image_processor, processor.image_processor
    assert (images.image_mean, images.image_std, images.size) == (before.image_mean, before.image_std, before.size)


def test_with_the_same_labels_everything_is_kept(trained):
    model, _ = initial_model(Recipe(start_from=str(trained)), NAMES)
    assert same(model.state_dict(), load(trained, "cpu")[0].state_dict())


def test_a_model_with_other_labels_survives_saving(trained, tmp_path):
    model, processor = initial_model(Recipe(start_from=str(trained)), ("background", "bell"))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load(tmp_path, "cpu")
    assert again.config.id2label == {0: "background", 1: "bell"} and same(again.state_dict(), model.state_dict())


def test_no_model_to_start_from(tmp_path):
    with pytest.raises(OSError, match="there is no such model folder"):
        initial_model(Recipe(start_from=str(tmp_path / "none")), NAMES)


@pytest.mark.parametrize("kind", [ResNetModel, ResNetForImageClassification])
def test_every_tensor_of_the_backbone_is_that_of_the_weights(kind, tmp_path):
    source = randomised(kind(ResNetConfig(**RESNET)))
    source.save_pretrained(tmp_path)
    model, _ = initial_model(replace(RECIPE, backbone_weights=str(tmp_path)), NAMES)
    encoder = source if kind is ResNetModel else source.resnet
    assert same(model.model.backbone.state_dict(), encoder.state_dict())
    assert model.config.backbone_config.name_or_path == ""


def test_loading_a_backbone_changes_nothing_else(tmp_path):
    randomised(ResNetModel(ResNetConfig(**RESNET))).save_pretrained(tmp_path)
    model = small_model()
    before, config = {name: tensor.clone() for name, tensor in model.state_dict().items()}, model.config.to_dict()
    load_backbone_weights(model, tmp_path)
    after = model.state_dict()
    assert model.config.to_dict() == config
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {name for name in after if name.startswith("model.backbone.")}


def test_pvt_weights_fit_a_pvt_backbone(tmp_path):
    source = randomised(PvtV2ForImageClassification(PvtV2Config(**PVT)))
    source.save_pretrained(tmp_path)
    model = small_model(backbone_config={"model_type": "pvt_v2", **PVT})
    load_backbone_weights(model, tmp_path)
    assert same(model.model.backbone.state_dict(), source.pvt_v2.state_dict())


VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize(
    "source", [Dinov2Model(Dinov2Config(**VIT)), DINOv3ViTModel(DINOv3ViTConfig(**VIT))], ids=["dinov2", "dinov3"]
)
def test_weights_of_a_plain_vision_transformer_fit_its_backbone(source, tmp_path):
    randomised(source).save_pretrained(tmp_path)
    model = small_model(backbone_config={"model_type": source.config.model_type, **VIT})
    load_backbone_weights(model, tmp_path)
    assert same(model.model.backbone.state_dict(), source.state_dict())


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (
            {"hidden_sizes": [8, 8, 8, 8]},
            "15 of another shape .encoder.stages.3.layers.0.layer.0.convolution.weight has",
        ),
        ({"depths": [1, 1, 1, 2]}, "12 left over .resnet.encoder.stages.3.layers.1.layer.0.convolution.weight"),
        ({"embedding_size": 4}, "6 left over .*, 6 of another shape .embedder.embedder.convolution.weight has"),
    ],
)
def test_weights_of_another_resnet_are_refused(tmp_path, change, first):
    ResNetForImageClassification(ResNetConfig(**{**RESNET, **change})).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"resnet of transformers, which does not fit .* recipe: {first}") as error:
        load_backbone_weights(small_model(), tmp_path)
    assert one_line(error).startswith(f"{tmp_path}: ")


def test_weights_that_lack_layers_or_are_of_another_kind_are_refused(tmp_path):
    ResNetModel(ResNetConfig(**RESNET)).save_pretrained(tmp_path / "shallow")
    PvtV2ForImageClassification(PvtV2Config(**PVT)).save_pretrained(tmp_path / "pvt")
    deeper = small_model(backbone_config={**SMALL_RESNET, "depths": [1, 1, 2, 1]})
    with pytest.raises(ValueError, match="12 missing .encoder.stages.2.layers.1.layer.0.convolution.weight, "):
        load_backbone_weights(deeper, tmp_path / "shallow")
    with pytest.raises(ValueError, match="holds a pvt_v2 of transformers, the backbone of the recipe is a resnet"):
        load_backbone_weights(small_model(), tmp_path / "pvt")


def test_only_the_head_of_the_classes_may_be_left_over(tmp_path):
    ResNetForImageClassification(ResNetConfig(**RESNET)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "resnet.neck.weight": torch.ones(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"recipe: 1 left over \(resnet.neck.weight\);"):
        load_backbone_weights(small_model(), tmp_path)
    save_file(weights, tmp_path / "alone.safetensors")  # a file by itself is as good as a folder
    load_backbone_weights(small_model(), tmp_path / "alone.safetensors")


def test_no_backbone_weights(tmp_path):
    with pytest.raises(OSError):
        load_backbone_weights(small_model(), tmp_path)


def test_audio_weights_are_loaded_key_for_key(tmp_path):
    source = randomised(small_model()).model.audio_backbone.state_dict()
    torch.save(source, tmp_path / "vggish.pth")
    model, _ = initial_model(replace(RECIPE, audio_weights=str(tmp_path / "vggish.pth")), NAMES)
    assert same(model.model.audio_backbone.state_dict(), source)


def test_other_audio_weights_are_refused(tmp_path):
    path = tmp_path / "vggish.pth"
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = model.model.audio_backbone.state_dict()
    others = {
        r"5 of another shape \(embeddings.0.bias has \(32,\), expected \(16,\), ": small_model(
            audio_fc_size=32
        ).model.audio_backbone.state_dict(),
        r"does not fit the audio backbone: 1 missing \(features.0.bias\); expected vggish": {
            name: tensor for name, tensor in weights.items() if name != "features.0.bias"
        },
        r"1 left over \(more\);": {**weights, "more": torch.ones(1)},
        "holds no tensors with names": torch.ones(3),
    }
    for told, content in others.items():
        torch.save(content, path)
        with pytest.raises(ValueError, match=told) as error:
            load_audio_weights(model, path)
        assert one_line(error).startswith(f"{path}: ") and "vggish-10086976.pth" in one_line(error)
    for content in (b"", b"no weights", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as tensors; .*; expected vggish-10086976.pth"):
            load_audio_weights(model, path)
    assert same(model.state_dict(), before)


AST = AUDIO_ENCODERS["ast"]
CLAP = AUDIO_ENCODERS["clap"]
MOBILENET = AUDIO_ENCODERS["mobilenet"]


def heard_by(audio_config: dict, weights=None):
    """The model of a recipe with this audio encoder, and its processor."""
    recipe = replace(RECIPE, model={**RECIPE.model, "audio_config": audio_config})
    return initial_model(replace(recipe, audio_weights=None if weights is None else str(weights)), NAMES)


def without(config: dict) -> dict:
    return {name: value for name, value in config.items() if name != "model_type"}


def test_an_audio_encoder_brings_its_front_end_and_stays_when_a_training_starts_from_it(tmp_path):
    model, processor = heard_by(AST)
    assert processor.feature_extractor.example_shape == model.config.audio_example == (96, 32)
    assert processor.feature_extractor.alignment == "avsbench"
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, made = initial_model(replace(RECIPE, start_from=str(tmp_path), sound_shifts=()), ("background", "sheep"))
    assert made.feature_extractor.sound_shifts == list(SHIFTS)
    assert same(again.model.audio_backbone.state_dict(), model.model.audio_backbone.state_dict())
    assert (
        made.feature_extractor.encoder_extractor.to_dict() == processor.feature_extractor.encoder_extractor.to_dict()
    )


def test_a_published_ast_gives_its_weights_and_the_middle_of_its_positions(tmp_path):
    source = randomised(ASTForAudioClassification(ASTConfig(**without(AST) | {"max_length": 176, "num_labels": 7})))
    source.save_pretrained(tmp_path)
    ASTFeatureExtractor(mean=-3.5, max_length=176, num_mel_bins=32).save_pretrained(tmp_path)
    model, processor = heard_by(AST, tmp_path)
    theirs, ours = source.audio_spectrogram_transformer.state_dict(), model.model.audio_backbone.encoder.state_dict()
    positions = "embeddings.position_embeddings"
    grid = theirs.pop(positions)[0, 2:].unflatten(0, (2, 17))  # 2 patches along the bands, 17 along time, of which 9
    assert torch.equal(ours.pop(positions)[0, 2:], grid[:, 4:13].flatten(0, 1)) and same(ours, theirs)
    assert processor.feature_extractor.encoder_extractor.mean == -3.5
    assert processor.feature_extractor.encoder_extractor.max_length == 96


@pytest.mark.parametrize("fused", [False, True])
def test_a_published_clap_gives_its_audio_model(tmp_path, fused):
    text = {"vocab_size": 5, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    sound = without(CLAP) | {"enable_fusion": fused, "fusion_type": "aff_2d"}
    source = randomised(ClapModel(ClapConfig(text_config={**text, "intermediate_size": 8}, audio_config=sound)))
    source.save_pretrained(tmp_path)
    front_end = {"frequency_min": 50, "truncation": "fusion" if fused else "rand_trunc"}
    ClapFeatureExtractor(feature_size=16, max_length_s=2, **front_end).save_pretrained(tmp_path)
    model, processor = heard_by(CLAP, tmp_path)
    ours, theirs = model.model.audio_backbone.encoder.state_dict(), source.audio_model.state_dict()
    assert ours.keys() <= theirs.keys() and (len(ours) < len(theirs)) == fused
    assert all(torch.equal(values, theirs[name]) for name, values in ours.items())
    made = processor.feature_extractor.encoder_extractor
    assert (made.frequency_min, made.truncation) == (50, front_end["truncation"])


def test_a_published_mobilenet_gives_its_weights_and_hears_at_its_levels(tmp_path):
    source = randomised(CCFormerMobileNet(CCFormerMobileNetConfig(**without(MOBILENET)))).state_dict()
    torch.save(source | {"classifier.2.weight": torch.zeros(4, 3)}, tmp_path / "mn.pt")  # with its tags
    model, processor = heard_by(MOBILENET, tmp_path / "mn.pt")
    assert same(model.model.audio_backbone.encoder.state_dict(), source)
    made = processor.feature_extractor.encoder_extractor
    assert (made.mean, made.std, made.max_length, made.num_mel_bins) == (-4.5, 2.5, 96, 32)
    with pytest.raises(ValueError, match="does not fit the audio encoder of the recipe, a ccformer_mobil.*shape"):
        heard_by(MOBILENET | {"width_multiplier": 0.4}, tmp_path / "mn.pt")


def test_weights_of_another_audio_encoder_are_refused(tmp_path):
    ASTModel(ASTConfig(**without(AST) | {"num_attention_heads": 4})).save_pretrained(tmp_path / "heads")
    ASTModel(ASTConfig(**without(AST) | {"hidden_size": 32})).save_pretrained(tmp_path / "wide")
    torch.save(small_model().model.audio_backbone.state_dict(), tmp_path / "vggish.pth")
    fix = "; change audio_config under model, or audio_weights"
    for audio, weights, told in (
        (AST, "heads", r"with num_attention_heads 4, the audio encoder of the recipe has 2"),
        (AST, "wide", "does not fit the audio encoder of the recipe, a audio-spectrogram-transformer: .* shape"),
        (CLAP, "wide", "holds a audio-spectrogram-transformer, the audio encoder of the recipe is a clap_audio_model"),
        (AST, "vggish.pth", "does not fit the audio encoder of the recipe.* missing"),
    ):
        with pytest.raises(ValueError, match=told) as error:
            heard_by(audio, tmp_path / weights)
        assert one_line(error).startswith(str(tmp_path / weights)) and one_line(error).endswith(fix)
    with pytest.raises(FileNotFoundError, match="none: there is no such file or folder"):
        heard_by(AST, tmp_path / "none")


@pytest.mark.parametrize("audio", [AST, MOBILENET])
def test_a_misspelt_field_of_an_audio_encoder_is_refused(audio):
    with pytest.raises(ValueError, match=r"model.audio_config of the recipe has no field 'max_len'.*max_length"):
        heard_by(audio | {"max_len": 96})


def test_no_audio_weights(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="none.pth: there is no such file; audio_weights expects one such as the public vggish"
    ):
        load_audio_weights(small_model(), tmp_path / "none.pth")
