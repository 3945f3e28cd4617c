import math

import pytest
import torch
from safetensors.torch import load_file
from small_model import small_config

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation
from ccformer_hf.training import TrainingRecipe, parameter_groups, train


def small_model():
    torch.manual_seed(0)
    return CCFormerForAudioVisualSegmentation(small_config())


class RandomClips(torch.utils.data.Dataset):
    """Four clips of two frames; from the item number `broken_after` on, the pictures are no numbers."""

    def __init__(self, broken_after: float = math.inf):
        self.broken_after, self.given = broken_after, 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        pixels = torch.randn(2, 3, 64, 64, generator=generator)
        labels = torch.zeros(2, 64, 64, dtype=torch.long)
        labels[:, 8:40, 8 + 8 * index : 32 + 8 * index] = 1 + index % 3
        pixels = pixels + 2 * (labels > 0)[:, None]
        self.given += 1
        return {
            "pixel_values": pixels * (float("nan") if self.given > self.broken_after else 1),
            "input_features": torch.randn(2, 1, 96, 64, generator=generator),
            "frame_mask": torch.ones(2, dtype=torch.bool),
            "audio_mask": torch.ones(2, dtype=torch.bool),
            "labels": labels,
        }


def stack(items):
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def test_training_lowers_the_loss_and_saves_what_it_trained(tmp_path):
    model = small_model()
    recipe = TrainingRecipe(steps=24, batch_size=2, learning_rate=3e-3, warmup_steps=4, save_every=10)
    losses = train(model, AudioVisualProcessor(), RandomClips(), stack, recipe, tmp_path / "run")
    assert len(losses) == 24
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])
    folder = tmp_path / "run" / "last"
    again, info = CCFormerForAudioVisualSegmentation.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    trained = model.state_dict()
    assert all(torch.equal(trained[name].cpu(), value) for name, value in again.state_dict().items())
    assert AudioVisualProcessor.from_pretrained(folder).fps == 1.0
    assert (folder / "modeling_ccformer.py").is_file()  # the code travels with the weights
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["last"]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_saved(tmp_path):
    recipe = TrainingRecipe(steps=9, batch_size=2, warmup_steps=1, save_every=2)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 4: try a lower learning rate"):
        train(small_model(), AudioVisualProcessor(), RandomClips(broken_after=6), stack, recipe, tmp_path)
    weights = load_file(tmp_path / "last" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_norms_biases_and_codes_are_not_decayed():
    model = small_model()
    decayed, kept = parameter_groups(model, 0.05)
    names = {id(p): name for name, p in model.named_parameters()}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)
    assert len(decayed["params"]) + len(kept["params"]) == len(names)
    decayed = {names[id(p)] for p in decayed["params"]}
    assert {"model.mtm.layers.0.feed_forward.expand.weight", "model.projections.0.0.weight"} < decayed
    for name in (
        "no_sound",
        "mtm.query_code.weight",
        "mtm.video_query.weight",
        "pixel_decoder.level_code.weight",
        "mtm.head.label.bias",
    ):
        assert f"model.{name}" not in decayed
    assert not any(name.endswith(".bias") or "norm" in name for name in decayed)
