"""The files of `examples/export_model.py` compute what the model does, at other sizes, lengths and masks too."""

import io
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from small_model import random_inputs, small_model

from ccformer_hf import CCFormerConfig, CCFormerForAudioVisualSegmentation
from ccformer_hf.data.synthetic.clips import make_clip
from ccformer_hf.inference.export import export_program, onnx_runner
from ccformer_hf.inference.loading import load

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EXAMPLE = Path(__file__).parents[2] / "examples" / "export_model.py"
CASES = [(1, 1, 64, 96), (2, 3, 128, 64), (1, 7, 128, 128), "synthetic clip"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    """The built-in checkpoint with what only some models have, an audio classifier; it is not trained.

    And with one of three decoder layers, each of which learnt to give the result: writing out takes two thirds.
    """
    folder = tmp_path_factory.mktemp("model")
    built_in, processor = load("ccformer-tiny", "cpu")
    changes = {"use_audio_classifier": True, "decoder_layers": 1}
    torch.manual_seed(0)
    model = CCFormerForAudioVisualSegmentation(CCFormerConfig.from_dict(built_in.config.to_dict() | changes))
    own = model.state_dict()
    model.load_state_dict(own | {name: value for name, value in built_in.state_dict().items() if name in own})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def example(tmp_path_factory, model_folder) -> tuple[Path, str]:
    """Folder of the exported model, and what the example printed; most of this module's time."""
    folder, printed = tmp_path_factory.mktemp("exported"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(
            sys, "argv", [EXAMPLE.name, "--model", str(model_folder), "--output", str(folder), "--clips", "2"]
        )
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def model(model_folder):
    return load(model_folder, "cpu")[0]


@pytest.fixture(scope="module", params=CASES, ids=str)
def inputs(request) -> dict[str, torch.Tensor]:
    """What the processor makes of a clip (sure of itself: many tiny probabilities), or random clips `(B, T, H, W)`.

    In these the first frame is silent, and the last of several frames of the last clip is padding. Seven frames have
    three examples each.
    """
    if request.param == "synthetic clip":
        clip = make_clip("ms3", 1_000_000, 0)
        return dict(load("ccformer-tiny", "cpu")[1](clip.frames, audio=clip.waveform, sampling_rate=16000))
    inputs = random_inputs(*request.param, seed=1)
    if request.param[1] == 7:
        inputs["input_features"] = torch.randn(1, 7, 3, 96, 64, generator=torch.Generator().manual_seed(2))
    inputs["frame_mask"] = torch.ones(request.param[:2], dtype=torch.bool)
    inputs["frame_mask"][-1, -1] = request.param[1] == 1
    inputs["audio_mask"] = inputs["frame_mask"].clone()
    inputs["audio_mask"][0, 0] = False
    return inputs


def check(logits: torch.Tensor, model, inputs: dict[str, torch.Tensor], tolerance: float) -> None:
    """Equal on real frames, and not only because nothing changes."""
    with torch.no_grad():
        expected = model(**inputs).logits
    assert logits.shape == expected.shape and logits.dtype == expected.dtype
    real = inputs["frame_mask"]
    torch.testing.assert_close(logits[real].exp(), expected[real].exp(), atol=tolerance / 100, rtol=0)
    # Where P is tiny it is what is left of 1 - P(all else), which float32 knows to 1e-3 of itself, the model's own
    # too.
    torch.testing.assert_close(logits[real], expected[real], atol=tolerance, rtol=tolerance)
    assert expected[real].std(dim=(-2, -1)).max() > 0.1


@pytest.fixture(scope="module")
def program(example):
    return torch.export.load(example[0] / "model.pt2").module()


def test_program_equals_model(program, model, inputs):
    with torch.no_grad():
        check(program(**inputs), model, inputs, 1e-4)


@pytest.fixture(scope="module")
def session(example):
    return onnxruntime.InferenceSession(example[0] / "model.onnx", providers=["CPUExecutionProvider"])


def test_onnx_equals_model(session, model, inputs):
    (logits,) = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})
    check(torch.from_numpy(logits), model, inputs, 1e-3)


def test_its_threads_rest_between_two_calls(example, monkeypatch):
    """Spinning, they slow down what runs next: of the backbone 51 ms in place of 17 were measured."""
    given = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *of, **named: given.append(of))
    onnx_runner(example[0] / "model.onnx")
    ((_, options),) = given
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == torch.get_num_threads()


def test_table_of_the_example(example):
    folder, printed = example
    rows = re.findall(r"^  (\w[\w ]*?) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)% +(\S+)$", printed, flags=re.MULTILINE)
    table = {name: tuple(map(float, values)) for name, *values in rows}
    assert list(table) == ["float32", "bfloat16", "float16", "torch program", "ONNX", "ONNX int8"]
    at_most = {"bfloat16": 0.5, "float16": 0.5, "ONNX int8": 3}  # % of the cells; the others: none
    for name, (_, milliseconds, miou, changed, difference) in table.items():
        assert milliseconds > 0 and miou > 0.5, name
        assert changed <= at_most.get(name, 0), f"{name}: {changed} % of the cells changed"
        # What is less exact is another computation, and what should be the same is the same.
        assert difference > 1e-4 if name in at_most else difference < 1e-4, name
    for half in ("bfloat16", "float16"):
        assert table[half][0] == pytest.approx(table["float32"][0] / 2, rel=0.02)
    assert table["ONNX int8"][0] < 0.85 * table["ONNX"][0]
    assert {path.name for path in folder.iterdir()} == {"model.pt2", "model.onnx", "model-int8.onnx"}


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        export_program(small_model().train())


def test_a_backbone_of_one_size_asks_for_it_and_gets_it(monkeypatch):
    """What torch is asked for: the export itself takes long."""
    model = small_model(backbone_config={"model_type": "timm_backbone", "backbone": "vit_tiny_patch16_224"})
    with pytest.raises(ValueError, match=r"no pictures of 64 x 96 \(.*224.*\); expected size=\(height, width\)"):
        export_program(model)
    asked = {}
    monkeypatch.setattr(torch.export, "export", lambda *given, **named: asked.update(named, inputs=given[2]))
    export_program(model, size=(224, 224))
    assert asked["inputs"]["pixel_values"].shape[-2:] == (224, 224)
    assert set(asked["dynamic_shapes"]["pixel_values"]) == {0, 1}  # clips and frames
