import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import (
    SMALL_RESNET,
    SMALL_SWIN,
    masks_with_padding,
    random_inputs,
    random_labels,
    small_config,
    small_model,
)
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSemanticSegmentation

from ccformer_hf import CCFormerConfig, CCFormerForAudioVisualSegmentation, CCFormerModel


def seeded_loss(model, **batch) -> torch.Tensor:
    torch.manual_seed(5)  # the points of the losses
    return model(**batch).loss


# ------------------------------------------------------------------------------------------------------------ training
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_eim": False},
        {"use_video_queries": False},
        {"use_audio_classifier": True},
        {"contrastive_weight": 0},
        {"decoder_layers": 1},
    ],
)
def test_each_switch_trains_and_leaves_no_parameter_idle(changes):
    model = small_model(**changes).train()
    names = {name for name, _ in model.named_parameters()}
    assert any(".eim." in name for name in names) == ("use_eim" not in changes)
    assert any("video" in name for name in names) == ("use_video_queries" not in changes)
    assert any("audio_classifier" in name for name in names) == ("use_audio_classifier" in changes)
    assert any("projector" in name for name in names) == ("contrastive_weight" not in changes)
    batch = {**random_inputs(), "labels": random_labels(), **masks_with_padding()}
    loss = seeded_loss(model, **batch)
    loss.backward()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(8):
        optimizer.step()
        optimizer.zero_grad()
        seeded_loss(model, **batch).backward()
    assert seeded_loss(model, **batch) < 0.97 * loss.detach()
    # The bias of an attention's keys shifts all scores alike, so its gradient may be nil.
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in idle if not name.endswith("key.bias")} == set()


BATCHES = {
    "all frames real": {},
    "padding and silence": masks_with_padding(),
    "nothing sounds": {"labels": torch.zeros(2, 3, 64, 64, dtype=torch.long)},
    "silence everywhere": {"audio_mask": torch.zeros(2, 3, dtype=torch.bool)},
    "nothing annotated": {"label_mask": torch.zeros(2, 3, dtype=torch.bool)},
    "all ignored": {"labels": torch.full((2, 3, 64, 64), 255)},
    "first frame annotated": {"label_mask": torch.tensor([[True, False, False]]).repeat(2, 1)},
}


@pytest.mark.parametrize("special", BATCHES.values(), ids=BATCHES.keys())
def test_every_batch_reaches_every_parameter(special):
    """Distributed training waits for a gradient of every parameter, whatever the batch."""
    model = small_model().train()
    output = model(**{**random_inputs(), "labels": random_labels(), **special})
    assert set(output.loss_dict) == {"class", "mask", "dice", "dense", "contrastive"}
    assert output.loss.isfinite() and all(
        value.isfinite() and not value.requires_grad for value in output.loss_dict.values()
    )
    output.loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_loss_is_the_weighted_sum_of_its_parts():
    weights = {"class": 1.0, "mask": 2.0, "dice": 3.0, "dense": 4.0, "contrastive": 5.0}
    model = small_model(**{f"{name}_weight": value for name, value in weights.items()}).train()
    output = model(**random_inputs(), labels=random_labels())
    assert float(output.loss.detach()) == pytest.approx(
        sum(weights[n] * float(v) for n, v in output.loss_dict.items()), rel=1e-5
    )


def test_frames_without_annotation_do_not_count():
    model = small_model().train()
    labels, label_mask = random_labels(), torch.tensor([[True, True, False], [True, False, True]])
    other = labels.clone()
    other[~label_mask] = 2
    inputs = random_inputs()
    assert seeded_loss(model, **inputs, labels=labels, label_mask=label_mask) == seeded_loss(
        model, **inputs, labels=other, label_mask=label_mask
    )
    assert seeded_loss(model, **inputs, labels=labels) != seeded_loss(model, **inputs, labels=other)


def test_labels_may_have_another_size_than_the_pictures():
    model = small_model().train()
    assert model(**random_inputs(), labels=random_labels(size=100)).loss.isfinite()


def test_gradient_checkpointing_changes_no_gradient():
    batch = {**random_inputs(), "labels": random_labels(), **masks_with_padding()}
    gradients = []
    for checkpointing in (False, True):
        model = small_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert all(
                layer.gradient_checkpointing for layer in (*model.model.mtm.layers, *model.model.pixel_decoder.layers)
            )
        seeded_loss(model, **batch).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)


# ---------------------------------------------------------------------------------------------------- padding, silence
@pytest.mark.parametrize("changes", [{}, {"use_audio_classifier": True}])
def test_a_padded_clip_gives_what_it_gives_alone(changes):
    model = small_model(**changes)
    batch = random_inputs(clips=2, frames=4)
    masks = {"frame_mask": torch.ones(2, 4, dtype=torch.bool), "audio_mask": torch.ones(2, 4, dtype=torch.bool)}
    masks["frame_mask"][1, 2:] = masks["audio_mask"][1, 2:] = False
    masks["audio_mask"][1, 0] = False
    together = model(**batch, **masks)
    for clip, frames in ((0, 4), (1, 2)):
        rows = slice(clip, clip + 1)
        inputs = {name: value[rows, :frames] for name, value in (batch | {"audio_mask": masks["audio_mask"]}).items()}
        alone = model(**inputs)
        for name in ("logits", "class_queries_logits", "masks_queries_logits"):
            torch.testing.assert_close(together[name][rows, :frames], alone[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("garbage", [1e4, float("nan")])
def test_what_lies_in_padding_or_silence_changes_nothing(garbage):
    """Neither results nor gradients, with and without a mask of the sound."""
    model = small_model(use_audio_classifier=True)
    masks, clean = masks_with_padding(), random_inputs()
    for given in (masks, {"frame_mask": masks["frame_mask"]}):
        dirty = {name: value.clone() for name, value in clean.items()}
        dirty["pixel_values"][~masks["frame_mask"]] = garbage
        dirty["input_features"][~given.get("audio_mask", masks["frame_mask"])] = garbage
        results = []
        for inputs in (clean, dirty):
            model.zero_grad()
            torch.manual_seed(0)
            output = model(**inputs, labels=random_labels(), **given)
            output.loss.backward()
            real = output.logits.detach()[masks["frame_mask"]]
            results.append((real, output.loss.detach(), [p.grad.clone() for p in model.parameters()]))
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


def test_silence_is_not_sound():
    model = small_model()
    inputs = random_inputs()
    heard = model(**inputs).logits
    silent = model(**inputs, audio_mask=torch.zeros(2, 3, dtype=torch.bool)).logits
    assert (heard - silent).abs().max() > 1e-3


def exact(model, inputs) -> torch.Tensor:
    """Mask logits in float64, where even a faint influence stands out from rounding."""
    return model.model.double()(*(value.double() for value in inputs.values())).masks_queries_logits[0]


def test_sound_and_order_of_frames_matter():
    model = small_model()
    inputs = random_inputs()
    first = exact(model, inputs)
    other_sound = exact(model, {**inputs, "input_features": inputs["input_features"].flip(0)})
    assert (first - other_sound).abs().max() > 1e-3
    backwards = exact(model, {name: value.flip(1) for name, value in inputs.items()}).flip(1)
    assert (first - backwards).abs().max() > 1e-6  # times are coded


@pytest.mark.parametrize(
    "changes", [{"use_video_queries": False, "use_eim": False}, {"use_video_queries": False}, {"use_eim": False}]
)
def test_frames_talk_through_eim_and_video_queries_only(changes):
    model = small_model(**changes)
    inputs = random_inputs(clips=1)
    before = exact(model, inputs)
    inputs["pixel_values"][:, 2] += 1
    inputs["input_features"][:, 2] += 1
    talk = (exact(model, inputs) - before)[:, :2].abs().max()
    assert talk > 1e-7 if len(changes) == 1 else talk < 1e-12


# -------------------------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 64), (7, 32, 96), (23, 32, 32), (2, 160, 64)])
def test_any_length_and_any_multiple_of_32(frames, height, width):
    output = small_model()(**random_inputs(1, frames, height, width))
    assert output.logits.shape == (1, frames, 4, height // 4, width // 4)
    assert output.class_queries_logits.shape == (1, frames, 5, 4)
    assert output.masks_queries_logits.shape == (1, frames, 5, height // 4, width // 4)
    torch.testing.assert_close(
        output.logits.exp().sum(2), torch.ones(1, frames, height // 4, width // 4), rtol=0, atol=1e-5
    )


def changed(**changes):
    return {**random_inputs(1, 2), **changes}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (random_inputs(1, 1, 60, 100), "pixel_values is 60x100, expected multiples of 32: resize to 64x96"),
        (random_inputs(1, 1, 10, 32), "resize to 32x32"),
        (
            changed(pixel_values=torch.zeros(2, 3, 64, 64)),
            r"pixel_values has shape \(2, 3, 64, 64\), expected \(clips, frames, 3",
        ),
        (changed(pixel_values=torch.zeros(1, 2, 64, 64, 3)), r"expected \(clips, frames, 3, height, width\)"),
        (
            changed(input_features=torch.zeros(1, 2, 96, 64)),
            r"input_features has shape .* \(clips, frames, 1, 96, 64\)",
        ),
        (changed(input_features=torch.zeros(1, 2, 0, 96, 64)), r"has shape \(1, 2, 0, 96, 64\), expected \(clips, fr"),
        (changed(input_features=torch.zeros(1, 3, 1, 96, 64)), "both need one entry per frame"),
        (
            changed(frame_mask=torch.ones(1, 2)),
            r"frame_mask is torch.float32 .* expected torch.bool of shape \(1",
        ),
        (changed(frame_mask=torch.ones(2, 2, dtype=torch.bool)), r"frame_mask is torch.bool of shape \(2, 2\)"),
        (changed(audio_mask=torch.ones(1, 2, dtype=torch.long)), "audio_mask is torch.int64"),
        (changed(labels=torch.zeros(1, 2, 64, 64)), "labels are torch.float32 .* expected torch.int64"),
        (changed(labels=torch.zeros(2, 64, 64, dtype=torch.long)), r"with \(1, 2\) clips and frames"),
        (changed(labels=torch.full((1, 2, 8, 8), 4)), r"labels hold the ids \[4\], but the model has 4 labels"),
        (
            changed(labels=torch.zeros(1, 2, 8, 8, dtype=torch.long), label_mask=torch.ones(1, 2)),
            "label_mask is torch.float32",
        ),
    ],
)
def test_wrong_inputs_are_refused_with_what_is_wanted(inputs, message):
    with pytest.raises(ValueError, match=message):
        small_model()(**inputs)


def test_a_backbone_with_other_strides_is_refused():
    focal = {"model_type": "focalnet", "embed_dim": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1] * 4}
    with pytest.raises(ValueError, match=r"maps at strides \(8, 16, 32, 32\); expected \(4, 8, 16, 32\)"):
        small_model(backbone_config=focal)(**random_inputs(1, 1))


def test_the_batch_is_left_untouched():
    batch = {**random_inputs(), "labels": random_labels(), **masks_with_padding()}
    before = copy.deepcopy(batch)
    small_model().train()(**batch)
    assert all(torch.equal(batch[name], before[name]) for name in before)


# ----------------------------------------------------------------------------------------------- transformers' manners
def test_eager_and_sdpa_agree():
    # Asked for by name, "sdpa" goes to the backbone too, and ResNet has none; it is the default of the rest.
    models = [
        CCFormerForAudioVisualSegmentation._from_config(small_config(), attn_implementation=name).eval()
        for name in (None, "eager")
    ]
    models[1].load_state_dict(models[0].state_dict())
    assert [model.model.config._attn_implementation for model in models] == ["sdpa", "eager"]
    batch = {**random_inputs(), **masks_with_padding()}
    outputs = [model(**batch).logits[batch["frame_mask"]] for model in models]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet", "swin"])
def test_sdpa_may_be_asked_of_a_model_whose_backbone_has_none(backbone, tmp_path):
    small_model(backbone_config={"resnet": SMALL_RESNET, "swin": SMALL_SWIN}[backbone]).save_pretrained(tmp_path)
    model = CCFormerForAudioVisualSegmentation.from_pretrained(tmp_path, attn_implementation="sdpa")
    of_backbone = {"resnet": "eager", "swin": "sdpa"}[backbone]
    assert model.config._attn_implementation == "sdpa"
    assert model.config.backbone_config._attn_implementation == of_backbone
    for model_or_body in (model, model.model):
        for name in ("eager", "sdpa"):
            model_or_body.set_attn_implementation(name)
            assert model.config._attn_implementation == name
            assert model.config.backbone_config._attn_implementation == ("eager" if name == "eager" else of_backbone)
    with pytest.raises(ValueError, match="foo"):
        model.set_attn_implementation("foo")


def test_it_compiles_to_one_graph():
    model = small_model(decoder_layers=1, use_audio_classifier=True)
    inputs = {**random_inputs(), **masks_with_padding()}
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # raises at a graph break
    with torch.no_grad():
        expected, output = model(**inputs), compiled(**inputs)
    for name in ("logits", "class_queries_logits", "masks_queries_logits"):
        real = [value[name][inputs["frame_mask"]] for value in (output, expected)]
        torch.testing.assert_close(*real, atol=1e-5, rtol=1e-5)


def test_compiled_it_trains_alike():
    """The losses stay out of the graph: they match queries and targets on the CPU."""
    model = small_model(decoder_layers=1, use_audio_classifier=True).train()
    batch = {**random_inputs(), **masks_with_padding(), "labels": random_labels(), "loss_seed": 3}
    gradients = []
    for run in (copy.deepcopy(model), torch.compile(model, backend="eager")):
        run(**batch).loss.backward()
        gradients.append([parameter.grad for parameter in run.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_weights_may_lie_on_disk(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    parts = ("backbone", "mtm", "pixel_decoder", "audio_backbone")
    offloaded = CCFormerForAudioVisualSegmentation.from_pretrained(
        tmp_path,
        device_map={
            **{f"model.{name}": "cpu" for name in ("eim", "projections", "audio_projection", "no_sound")},
            **{f"model.{name}": "disk" for name in parts},
            **{"audio_projector": "disk", "visual_projector": "disk"},
        },
        offload_folder=tmp_path / "offloaded",
    )
    assert {name.split(".")[1] for name, p in offloaded.model.named_parameters("model") if p.is_meta} == set(parts)
    with torch.no_grad():
        assert torch.equal(offloaded(**random_inputs()).logits, model(**random_inputs()).logits)


def test_hidden_states_and_attentions_on_request():
    torch.manual_seed(0)
    model = CCFormerForAudioVisualSegmentation._from_config(small_config(), attn_implementation="eager").eval()
    inputs = random_inputs()
    plain = model(**inputs)
    assert plain.hidden_states is None and plain.attentions is None
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert [state.shape for state in output.hidden_states] == [(2, 3, 5, 16)] * 4
    # Strides 32, 16, 8 in turn; (B*T, heads, Q, cells), rows sum to 1.
    assert [weights.shape for weights in output.attentions] == [(6, 2, 5, cells) for cells in (4, 16, 64)]
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(6, 2, 5))
    torch.testing.assert_close(output.logits, plain.logits)
    states = model.model(**inputs, output_hidden_states=True)
    assert torch.equal(states.hidden_states[-1], states.last_hidden_state)
    assert torch.equal(model(**inputs, return_dict=False)[0], plain.logits)


def test_one_prediction_in_use_and_one_per_layer_in_training():
    model = small_model().model
    assert len(model(**random_inputs()).class_queries_logits) == 1
    assert len(model.train()(**random_inputs()).masks_queries_logits) == 4


def test_the_loss_of_an_evaluation_is_that_of_training():
    """The same terms, those of every layer among them, at points that are always the same."""
    model, given = small_model(), {**random_inputs(), "labels": random_labels(), **masks_with_padding()}
    evaluated = model(**given)
    assert torch.equal(model(**given).loss, evaluated.loss)
    assert torch.equal(model(**given | {"labels": None}).logits, evaluated.logits)
    model.training = model.model.training = True  # but for the batch norms, which the batch would change
    trained = model(**given, loss_seed=0)
    for name, value in trained.loss_dict.items():
        assert torch.equal(value, evaluated.loss_dict[name]), name
    assert not torch.equal(model(**given).loss, model(**given).loss), "in training the points are drawn anew"


def test_save_and_load_are_exact(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    again, info = CCFormerForAudioVisualSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    inputs = random_inputs()
    assert torch.equal(model(**inputs).logits, again(**inputs).logits)
    assert type(AutoModelForSemanticSegmentation.from_pretrained(tmp_path)) is CCFormerForAudioVisualSegmentation
    body, info = CCFormerModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(body(**inputs).masks_queries_logits[0], model(**inputs).masks_queries_logits)


def test_new_weights_are_drawn_as_meant():
    """transformers passes over custom modules without parameters of their own unless told otherwise."""
    model = small_model(audio_fc_size=64, use_audio_classifier=True).model
    deviations = {
        model.audio_classifier[2]: (2 / 80) ** 0.5,  # xavier
        model.audio_backbone.embeddings[2]: (2 / 64) ** 0.5,  # kaiming, fan in
        model.audio_backbone.features[6]: (2 / (9 * 4)) ** 0.5,
        model.mtm.layers[0].cross_attn.query: (2 / 32) ** 0.5,  # xavier
        model.pixel_decoder.layers[0].attention.key: (2 / 32) ** 0.5,
        model.mtm.head.mask[0]: (2 / 32) ** 0.5,
        model.mtm.layers[0].feed_forward.expand: (2 / 32) ** 0.5,
        model.mtm.head.label: 0.02,
    }
    for layer, wanted in deviations.items():
        assert float(layer.weight.detach().std()) == pytest.approx(wanted, rel=0.3)
        assert not layer.bias.any()
    # The sound is still there at the end of VGGish.
    log_mel = random_inputs(4, 1)["input_features"].flatten(0, 1)
    assert model.audio_backbone(log_mel).std() > 0.05


def test_what_a_checkpoint_lacks_is_made_anew(tmp_path):
    small_model(use_audio_classifier=True).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    left_out = {
        "model.no_sound", "model.pixel_decoder.layers.0.attention.key.weight", "model.mtm.video_query.weight",
        "model.audio_backbone.features.0.weight", "model.mtm.head.label.bias", "model.pixel_decoder.norm.weight",
        "model.audio_classifier.4.bias",
    }  # fmt: skip
    assert left_out < set(weights)
    save_file(
        {n: w for n, w in weights.items() if n not in left_out}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    again, info = CCFormerForAudioVisualSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == left_out
    assert 0.15 < again.model.pixel_decoder.layers[0].attention.key.weight.std() < 0.4  # xavier: sqrt(2 / 32) = 0.25
    assert 0.3 < again.model.no_sound.std() < 2
    assert 0.005 < again.model.mtm.video_query.weight.std() < 2
    assert 0.2 < again.model.audio_backbone.features[0].weight.std() < 1  # sqrt(2 / 9) = 0.47
    assert not again.model.mtm.head.label.bias.any()
    assert (again.model.audio_classifier[-1].bias == 2).all()
    assert torch.equal(again.model.pixel_decoder.norm.weight, torch.ones(16))
    kept = again.state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in weights.items() if name not in left_out)


@pytest.mark.parametrize("changes", [{}, {"use_audio_classifier": True}])
def test_bfloat16_and_autocast_are_finite_and_near(changes):
    model = small_model(**changes)
    inputs = {**random_inputs(), **masks_with_padding()}
    exact = model(**inputs).logits.exp()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(**inputs, labels=random_labels())
    half = copy.deepcopy(model).bfloat16()
    rounded = half(
        **{n: v.bfloat16() if v.is_floating_point() else v for n, v in inputs.items()}, labels=random_labels()
    )
    for output in (mixed, rounded):
        assert output.loss.isfinite() and output.logits.isfinite().all()
        assert (output.logits.float().exp() - exact)[inputs["frame_mask"]].abs().max() < 0.1


# ----------------------------------------------------------------------------------------------------------- backbones
SMALL_VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BACKBONES = {
    "resnet50": {"model_type": "resnet"},
    "pvt_v2_b0": {"model_type": "pvt_v2"},
    "swin": {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 1, 2, 1],
        "num_heads": [1, 2, 2, 4],
        "window_size": 4,
    },
    "convnext": {"model_type": "convnext", "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "dinov2": {"model_type": "dinov2", **SMALL_VIT},
    "dinov2_with_registers": {"model_type": "dinov2_with_registers", "num_register_tokens": 2, **SMALL_VIT},
    "dinov3_vit": {"model_type": "dinov3_vit", "num_register_tokens": 2, **SMALL_VIT},
}
PVT_V2_B5 = {
    "model_type": "pvt_v2",
    "hidden_sizes": [64, 128, 320, 512],
    "depths": [3, 6, 40, 3],
    "mlp_ratios": [4, 4, 4, 4],
}


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES.keys())
def test_backbones(backbone, tmp_path):
    model = small_model(backbone_config=backbone)
    inputs = random_inputs(1, 2, 64, 96)
    output = model(**inputs)
    assert output.logits.shape == (1, 2, 4, 16, 24) and output.logits.isfinite().all()
    model.save_pretrained(tmp_path)
    again, info = CCFormerForAudioVisualSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(again(**inputs).logits, output.logits)


@pytest.mark.parametrize(
    "name",
    ["tf_efficientnet_lite0", "resnet10t", "swin_tiny_patch4_window7_224", "convnext_atto", "vit_tiny_patch16_224"],
)
@torch.no_grad()
def test_backbones_of_timm(name, tmp_path):
    """Among them some with a map at stride 2 before the four, one that gives its channels last, and a plain one."""
    model = small_model(backbone_config={"model_type": "timm_backbone", "backbone": name})
    inputs = random_inputs(1, 1, 224, 224)
    expected = model(**inputs).logits
    assert expected.shape == (1, 1, 4, 56, 56) and expected.isfinite().all()
    model.save_pretrained(tmp_path)
    again, info = CCFormerForAudioVisualSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(again(**inputs).logits, expected, rtol=0, atol=1e-4)


def test_the_published_sizes_of_the_backbones():
    with torch.device("meta"):
        r50 = CCFormerForAudioVisualSegmentation(CCFormerConfig())
        b5 = CCFormerForAudioVisualSegmentation(CCFormerConfig(backbone_config=PVT_V2_B5))
    sizes = [sum(p.numel() for p in model.model.backbone.parameters()) / 1e6 for model in (r50, b5)]
    assert sizes == pytest.approx([23.5, 81.4], abs=0.1)


# ---------------------------------------------------------------------------------------------------------------- cost
def flops(call) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_the_work_beyond_the_backbones():
    """Counted, not timed: multiplications of the whole ResNet-50 model against those of both its backbones."""
    with torch.device("meta"):
        model = CCFormerForAudioVisualSegmentation(CCFormerConfig()).eval()
        inputs = {name: value.to("meta") for name, value in random_inputs(1, 2, 224, 224).items()}
        whole = flops(lambda: model(**inputs))
        pixels, log_mel = (value.flatten(0, 1) for value in inputs.values())
        floor = flops(lambda: (model.model.backbone_features(pixels), model.model.audio_backbone(log_mel)))
    assert 1 < whole / floor < 1.4
