import json
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from safetensors.torch import load_file, save_file
from small_model import save_small_model, small_config

from ccformer_hf import CCFormerImageProcessor
from ccformer_hf.inference import model_folder as module
from ccformer_hf.inference.loading import load
from ccformer_hf.inference.model_folder import check_model_folder, frame_cost


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal(folder) -> str:
    """What `load` says of a folder: one line that names it, and nothing of it was built with numbers in it."""
    with pytest.raises((OSError, ValueError)) as error:
        load(folder, "cpu")
    text = str(error.value)
    assert type(error.value).__module__ == "builtins" and text.startswith(str(folder)) and "\n" not in text
    return text


def heard_through(settings: dict) -> dict:
    """The settings of a processor that hears through AST's front end."""
    settings = {"feature_extractor_type": "ASTFeatureExtractor", **settings}
    return {"feature_extractor": {"feature_extractor_type": "CCFormerFeatureExtractor", "encoder_extractor": settings}}


def test_the_folder_of_a_run_names_the_model_in_it(tmp_path):
    for name in ("best", "last"):
        (tmp_path / name).mkdir()
    (tmp_path / "last" / "config.json").touch()
    assert refusal(tmp_path).endswith(f"is the folder of a training run; name its model, {tmp_path / 'last'}")
    (tmp_path / "best" / "config.json").touch()
    assert refusal(tmp_path).endswith(f"name its model, {tmp_path / 'best'}")


AST = {"model_type": "audio-spectrogram-transformer"}
AS_LARGE = {"max_length": 96, "num_mel_bins": 64}  # as the processor of the folder makes a sound
RESNET = {"model_type": "resnet", "layer_type": "basic", "depths": [1] * 4, "embedding_size": 8}


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"audio_fc_size": 40_000}, "asks for a network of more than 4 GB"),
        ({"decoder_layers": 60_000}, "asks for a network of more than 20000 parts"),
        ({"decoder_layers": 10**12}, "decoder_layers is 1000000000000, expected a number of at most 65536"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"num_queries": 50_000}, "num_queries is 50000, expected at most 1024"),
        ({"backbone_config": RESNET | {"hidden_sizes": [8, 8, 8, 10**9]}}, "hidden_sizes is 1000000000"),
        ({"backbone_config": RESNET | {"hidden_sizes": "wide"}}, "hidden_sizes"),
        ({"backbone_config": RESNET | {"depths": []}}, "cannot be loaded"),
        ({"backbone_config": 5}, "backbone_config"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:a/b"}}, "backbone is 'hf-hub:a/b'"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "local-dir:/x"}}, "'local-dir:/x'"),
        ({"attn_implementation": "somebody/kernel"}, "sets attn_implementation"),
        ({"audio_config": AST | {"attn_implementation": "somebody/kernel"}}, "sets attn_implementation"),
        ({"audio_config": AST | AS_LARGE | {"hidden_size": 60_000}}, "asks for a network of more than 4 GB"),
        ({"audio_config": {"model_type": "bert"}}, "audio_config has model_type 'bert', expected"),
        ({"transformers_weights": "other.bin"}, "sets transformers_weights"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "sets quantization_config"),
        ({"dtype": "no_such"}, "cannot be loaded"),
        ({"id2label": {"0": "background", "x": "dog"}}, "cannot be loaded"),
        ({"hidden_size": 32}, "do not fit its config.json, model."),
        ({"pixel_decoder_layers": 2}, "lack 16 parts, such as model.pixel_decoder.layers.1."),
    ],
)
def test_what_config_json_may_not_ask_for(copy, config, fault):
    change(copy / "config.json", **config)
    assert fault in refusal(copy)


@pytest.mark.parametrize(
    ("processor", "fault"),
    [
        ({"image_processor": {"size": {"height": 4096, "width": 4096}}}, "at most 2048 pixels a side"),
        ({"image_processor": {"size": {"height": 10**9, "width": 32}}}, "height is 1000000000, expected"),
        ({"image_processor": {"size": {"height": 1, "width": 64}}}, "pixel_values is 1x64, expected multiples of 32"),
        ({"image_processor": {"do_resize": False}}, "pixel_values is 48x80, expected multiples of 32"),
        ({"image_processor": {"size": "large"}}, "cannot be loaded"),
        ({"image_processor": {"size": {"height": 64, "width": {}}}}, "no picture can be made ready with its settings"),
        ({"image_processor": {"image_std": [[], 1, 1]}}, "no picture can be made ready with its settings"),
        ({"image_processor": {"image_mean": [0.5, 0.5]}}, "no picture can be made ready with its settings"),
        ({"image_processor": {"rescale_factor": "x"}}, "no picture can be made ready with its settings"),
        ({"image_processor": {"image_std": [0, 1, 1]}}, "make NaN or infinity of a black picture or of silence"),
        ({"image_processor": [1]}, "cannot be loaded"),
        ({"feature_extractor": None}, "cannot be loaded"),
        (heard_through({}), "makes a frame's sound 1024 columns by 128 bands, and the audio encoder of config.json"),
        (heard_through({"max_length": 60_000}), "encoder_extractor has max_length 60000, expected a whole number"),
        ({"fps": "often"}, "cannot be loaded"),
    ],
)
def test_what_processor_config_json_may_not_ask_for(copy, processor, fault):
    change(copy / "processor_config.json", **processor)
    assert fault in refusal(copy)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "checkpoint.json"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[1]", "holds [1], expected names and values"),
        (b"", "is not a JSON file"),
        (b"\xff\xfe", "is not a JSON file"),
        (b"[" * 100_000, "is not a JSON file"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not a JSON file"),
        (b" " * (module.LARGEST_SETTINGS + 1), "has 4 MB, expected at most 4 MB"),
    ],
)
def test_files_that_are_no_settings(copy, name, content, fault):
    (copy / name).write_bytes(content)
    assert f"{name}: {fault}" in refusal(copy)


@pytest.mark.parametrize(
    "names",
    [
        ["../model.safetensors"],
        ["/x.safetensors"],
        ["a\\b.safetensors"],
        [],
        [5],
        {"a": 1},
        ["a.bin"],
        ["a/b.safetensors"],
    ],
)
def test_an_index_names_files_of_its_folder(copy, names):
    (copy / "model.safetensors").rename(copy.parent / "model.safetensors")
    content = {"weight_map": {str(number): name for number, name in enumerate(names)} if names != {"a": 1} else names}
    (copy / "model.safetensors.index.json").write_text(json.dumps(content | {"metadata": {"total_size": 10**12}}))
    assert "is not a list of weight files" in refusal(copy)


def test_weights_beyond_the_bound(copy, tmp_path):
    with pytest.raises(ValueError, match=r"its weights have 0.0 GB, expected at most 1e-05 GB.*most_gigabytes"):
        load(copy, "cpu", most_gigabytes=1e-5)
    with open(copy / "model.safetensors", "r+b") as file:
        file.truncate(5_000_000_000)  # takes no room on the disk
    assert "its weights have 5.0 GB, expected at most 4 GB" in refusal(copy)
    with open(copy / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    assert "model.safetensors: is not a whole safetensors file" in refusal(copy)


def test_an_adapter_beside_the_model(copy):
    (copy / "adapter_config.json").write_text("{}")
    assert "holds an adapter of peft" in refusal(copy)


def test_a_checkpoint_json_that_tells_no_words(copy):
    (copy / "checkpoint.json").write_text('{"trained_on": [1, 2]}')
    assert "checkpoint.json: trained_on is [1, 2], expected words" in refusal(copy)


def test_a_large_network_is_refused_before_there_is_memory_for_it(copy):
    weights = load_file(copy / "model.safetensors")
    save_file({name: weights[name] for name in sorted(weights)[:5]}, copy / "model.safetensors", {"format": "pt"})
    change(copy / "config.json", audio_fc_size=60_000)
    tracemalloc.start()
    assert "asks for a network of more than 4 GB" in refusal(copy)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_two_threads_do_not_count_each_others_networks(whole):
    """The counting hooks are torch's own, for the whole process."""
    config = small_config()
    with ThreadPoolExecutor() as other, module._bounded(whole, 1e-9):
        other.submit(module.build_without_memory, config).result()
        with pytest.raises(ValueError, match="asks for"):
            module.build_without_memory(config)
    module.build_without_memory(config)  # the hooks are gone


def test_a_frame_costs_what_its_size_says(loaded):
    config, processor_of = loaded[0].config, type(loaded[1])

    def cost(side: int) -> tuple[int, int]:
        return frame_cost(config, processor_of(CCFormerImageProcessor(size={"height": side, "width": side})))

    assert [cost(side)[0] for side in (128, 256)] == [4 * 3 * 128**2, 4 * 3 * 256**2]  # the picture itself
    assert 3 < cost(256)[1] / cost(128)[1] < 5


def test_a_whole_folder_passes(whole):
    check_model_folder(whole)
    load(whole, "cpu")
