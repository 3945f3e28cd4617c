import json
from pathlib import Path

import pytest
import yaml

from ccformer_hf.data.augmentation import Augmentation
from ccformer_hf.training.recipe import Recipe, read_recipe, recipe_from, recipe_names

BACKBONES = ("resnet50", "pvt-v2-b5", "tiny", "dinov2-base", "dinov2-base-384", "pvt-v2-b5-512")


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_loads_and_survives_json(name):
    recipe = read_recipe(name)
    assert recipe_from(json.loads(json.dumps(recipe.as_dict())), "somewhere") == recipe


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recipes_of_one_backbone_differ_in_what_the_setting_decides(backbone):
    recipes = {setting: read_recipe(f"{setting}-{backbone}") for setting in ("s4", "ms3", "avss")}
    s4 = recipes["s4"].as_dict()
    for setting, recipe in recipes.items():
        differing = {name for name, value in recipe.as_dict().items() if value != s4[name]}
        assert recipe.setting == setting and recipe.augmentation.flip == 0.5
        assert differing <= {"setting", "epochs", "frozen_epochs", "validate_every", "augmentation"}
    # The table of ms3 does not tell what sounds in a clip, so nothing is known to be off screen.
    assert recipes["ms3"].augmentation.off_screen == 0


@pytest.mark.parametrize("setting", ["s4", "ms3", "avss"])
def test_recipes_of_one_setting_differ_in_what_the_backbone_decides(setting):
    recipes = [read_recipe(f"{setting}-{backbone}").as_dict() for backbone in BACKBONES]
    assert all(recipe["augmentation"] == recipes[0]["augmentation"] for recipe in recipes)
    differing = {name for name, value in recipes[0].items() if value != recipes[1][name]}
    assert differing == {"model", "backbone_weights", "gradient_checkpointing"}


def test_bases_are_merged_inside_but_a_backbone_is_replaced_whole(write):
    write("size: 64\nmodel: {hidden_size: 32, backbone_config: {model_type: resnet, depths: [1, 1, 1, 1]}}", "a.yaml")
    write("base: a.yaml\nsize: 96\naugmentation: {flip: 0.5, colour: 0.1}", "b.yaml")
    recipe = read_recipe(
        write("base: ../b.yaml\nmodel: {backbone_config: {model_type: swin}}\naugmentation: {flip: 0}", "in/c.yaml")
    )
    assert recipe.size == 96
    assert recipe.model == {"hidden_size": 32, "backbone_config": {"model_type": "swin"}}
    assert (recipe.augmentation.flip, recipe.augmentation.colour) == (0, 0.1)


def test_a_recipe_of_the_package_can_be_the_base(write):
    recipe = read_recipe(write("base: ms3-resnet50\nepochs: 7"))
    assert (recipe.setting, recipe.epochs, recipe.audio_weights) == ("ms3", 7, "vggish-10086976.pth")


def test_an_empty_file_is_the_default_recipe(write):
    assert read_recipe(write("# nothing\n")) == Recipe()


def test_numbers_as_yaml_reads_them(write):
    recipe = read_recipe(
        write("learning_rate: 1e-4\nepochs: 3\nwarmup_steps: 5.0\naugmentation: {scale: [1, 2], frames: [5, 10]}")
    )
    assert recipe.learning_rate == 0.0001 and isinstance(recipe.learning_rate, float)
    assert recipe.epochs == 3 and isinstance(recipe.epochs, float)
    assert recipe.warmup_steps == 5 and isinstance(recipe.warmup_steps, int)
    assert recipe.augmentation.scale == (1, 2) and recipe.augmentation.frames == (5, 10)


def test_changes_reach_inside(write):
    path = write("model: {backbone_config: {model_type: resnet}}")
    changes = ["batch_size=4", "learning_rate=1e-4", "augmentation.flip=0.5", "model.hidden_size=128", "start_from="]
    changes += ["model.backbone_config.depths=[1, 2]", "augmentation.scale=[0.5, 2]", "audio_weights=a=b"]
    recipe = read_recipe(path, changes)
    assert (recipe.batch_size, recipe.learning_rate, recipe.start_from) == (4, 0.0001, None)
    assert (recipe.augmentation.flip, recipe.augmentation.scale) == (0.5, (0.5, 2))
    assert recipe.model == {"hidden_size": 128, "backbone_config": {"model_type": "resnet", "depths": [1, 2]}}
    assert recipe.audio_weights == "a=b"
    assert yaml.safe_load(yaml.safe_dump(recipe.as_dict()))["model"] == recipe.model, "plain values only"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("batch_size", "'batch_size' changes nothing; expected name=value"),
        ("size.x=3", "reaches into size, which is 64"),
        ("augmentation.flop=1", "has no setting 'augmentation.flop'.*; expected one of flip, scale"),
        ("size=[", r"'size=\[': is not YAML"),
        ("size=big", "size is 'big'; expected a whole number"),
    ],
)
def test_bad_changes(write, change, told):
    with pytest.raises(ValueError, match=told):
        read_recipe(write("size: 64"), [change])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batchsize: 3", r"has no setting 'batchsize' \(did you mean 'batch_size'\?\); expected one of setting, size"),
        ("augmentation: {flipp: 1}", "has no setting 'augmentation.flipp'"),
        ("1: 2\nsize: 32", "has no setting '1'; expected"),
        ("batch_size: many", "batch_size is 'many'; expected a whole number"),
        ("batch_size: 2.5", "batch_size is 2.5; expected a whole number"),
        ("batch_size: .inf", "batch_size is inf; expected a whole number"),
        ("batch_size: 0", "batch_size is 0; expected more than 0"),
        ("epochs: true", "epochs is True; expected a number"),
        ("epochs: .nan", "epochs is nan; expected a number"),
        ("learning_rate: inf", "learning_rate is 'inf'; expected a number"),
        ("learning_rate: [1]", r"learning_rate is \[1\]; expected a number"),
        ("frozen_norms: 1", "frozen_norms is 1; expected true or false"),
        ("start_from: 3", "start_from is 3; expected a text, or null"),
        ("setting: s5", "setting is 's5'; expected one of s4, ms3, avss, folder"),
        ("setting: 4", "setting is 4; expected a text"),
        ("alignment: late", "alignment is 'late'; expected one of frame, avsbench"),
        ("sound_shifts: 0.5", "sound_shifts is 0.5; expected a list of numbers"),
        ("sound_shifts: [5]", r"sound_shifts is \(5,\); expected a list of at most 16 numbers of seconds"),
        ("size: 100", "size is 100; expected a multiple of 32"),
        ("ema_decay: 1", "ema_decay is 1.0; expected a decay"),
        ("model: big", "model is 'big'; expected names and values"),
        ("augmentation:", "augmentation is None; expected names and values"),
        ("augmentation: {scale: 2}", "augmentation.scale is 2; expected a list of numbers"),
        ("augmentation: {scale: [2, 1]}", r"augmentation.scale is \(2, 1\); expected the smallest"),
        ("augmentation: {frames: [0]}", r"augmentation.frames is \(0,\)"),
        ("augmentation: {frames: [2.5]}", r"augmentation.frames is \(2.5,\); expected whole numbers"),
        ("augmentation: {flip: 2}", "augmentation.flip is 2.0; expected a share"),
        (
            "augmentation: {silence: 0.5, off_screen: 0.5}",
            "silence \\+ noise_only \\+ off_screen is 1.0; expected below 1",
        ),
        ("size: [", "is not YAML"),
        ("size: 2026-06-31", "is not YAML .day is out of range"),
        ("a: " + "[" * 9999, "is not YAML .maximum recursion"),
        ("augmentation: {flip: 1}\nsize: 64\naugmentation: {flip: 0}", "'augmentation' is given twice.*line 3"),
        ("augmentation: {flip: 1, flip: 0}", "'flip' is given twice"),
        ("- size", "holds a list; expected lines of name: value"),
        ("base: 3", "base is 3; expected the name of another recipe"),
    ],
)
def test_bad_recipes_are_refused_by_file_and_name(write, text, told):
    path = write(text)
    with pytest.raises(ValueError, match=told) as refused:
        read_recipe(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_missing_and_circular_bases(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.yaml: there is no such recipe; expected a .yaml file, or one"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(FileNotFoundError, match=r"^ms4-tiny: there is no such recipe; .*one of avss-.* ms3-tiny, "):
        read_recipe("ms4-tiny")
    path = write("base: gone.yaml")
    with pytest.raises(
        FileNotFoundError, match=r"gone.yaml: there is no such recipe, which .*recipe.yaml names as its base"
    ):
        read_recipe(path)
    write("base: ../in/b.yaml", "in/a.yaml")
    path = write("base: ../in/a.yaml", "in/b.yaml")
    with pytest.raises(ValueError, match="b.yaml: is its own base, by way of .*b.yaml, .*a.yaml"):
        read_recipe(path)


def test_not_text_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"size: \xff\xfe\x00")
    with pytest.raises(ValueError, match="recipe.yaml: is not YAML"):
        read_recipe(path)


def test_what_changes_sound():
    assert not Augmentation(flip=1, silence=0.5, frames=(5,), colour=0.5).changes_sound
    for name in ("gain", "noise", "mix", "shift", "noise_only", "off_screen"):
        assert Augmentation(**{name: 0.1}).changes_sound
