"""Takes a model where there is no transformers: a torch program, an ONNX file, and that file in int8.

Each is made from the one before: `export_program`, `export_onnx`, `quantize_int8`. All take what
`AudioVisualProcessor` returns, by name (`INPUTS`), with any number of clips and frames and any size, and give the
`logits` of `CCFormerOutput`. `onnx_runner` runs such a file. All but the first need `pip install "ccformer-hf[onnx]"`.
"""

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..atomic import atomic_file
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation

INPUTS = ("pixel_values", "input_features", "frame_mask", "audio_mask")


class _Logits(nn.Module):
    """A model as the program holds it: tensors in, one tensor out."""

    def __init__(self, model: CCFormerForAudioVisualSegmentation):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, input_features: Tensor, frame_mask: Tensor, audio_mask: Tensor) -> Tensor:
        return self.model(pixel_values, input_features, frame_mask, audio_mask).logits


def export_program(model: CCFormerForAudioVisualSegmentation, size: tuple[int, int] | None = None) -> ExportedProgram:
    """Writes a model out as one graph of torch operations, without its Python code; takes a minute.

    `torch.export.save(program, "model.pt2")` keeps it; `torch.export.load("model.pt2").module()(**inputs)` runs it.

    Args:
        model: in evaluation mode, of any dtype, on any device; the program keeps both.
        size: the only H and W that the program shall take. None: any; some backbones of timm, such as SigLIP's, take
            one themselves, that of their name.

    Returns:
        A program that takes, by name, what the processor gives: `pixel_values` `(B, T, 3, H, W)` of the model's dtype,
        H and W as `size` says, or multiples of 32 and 64 at least; `input_features` `(B, T, E, 96, 64)`, E examples of
        sound per frame, or as large as `CCFormerConfig.audio_example` of another audio encoder; `frame_mask` and
        `audio_mask` `(B, T)` bool, both needed. It gives `logits` `(B, T, K, H/4, W/4)`, log-probabilities; those of
        padding frames mean nothing.

    Raises:
        ValueError: for a model in training mode; for a `size` that it does not take, or None where it takes one only.
    """
    if model.training:
        raise ValueError("the model is in training mode and would be exported so: call model.eval() first")
    # None of the sizes is 1, which torch.export would take for a constant.
    batch, frames, examples, (height, width) = 2, 3, 2, size or (64, 96)
    place = {"dtype": model.dtype, "device": model.device}
    inputs = {
        "pixel_values": torch.zeros(batch, frames, 3, height, width, **place),
        "input_features": torch.zeros(batch, frames, examples, *model.config.audio_example, **place),
        "frame_mask": torch.ones(batch, frames, dtype=torch.bool, device=model.device),
        "audio_mask": torch.ones(batch, frames, dtype=torch.bool, device=model.device),
    }
    clips_frames = {0: Dim("clips"), 1: Dim("frames")}
    sizes = dict.fromkeys(INPUTS, clips_frames) | {"input_features": clips_frames | {2: Dim("examples")}}
    if size is None:
        sizes["pixel_values"] = clips_frames | {3: 32 * Dim("rows"), 4: 32 * Dim("columns")}
    with torch.no_grad():
        try:
            model(**inputs)  # seconds, before a minute
        except AssertionError as error:  # timm's own check
            raise ValueError(
                f"the backbone takes no pictures of {height} x {width} ({error}); expected size=(height, width) with "
                "the one it takes, that of the processor it was trained with"
            ) from None
        return torch.export.export(_Logits(model), (), inputs, dynamic_shapes=sizes)


def export_onnx(program: ExportedProgram, path: str | os.PathLike) -> None:
    """Writes a program of `export_program` as an ONNX file, its weights inside, whole or not at all; takes a minute.

    `onnxruntime.InferenceSession(path).run(["logits"], inputs)` runs it, `inputs` being numpy arrays by name.

    Args:
        program: in float32, and just made: torch cannot convert one that was saved and loaded.
        path: of the file, `.onnx`.

    Raises:
        ImportError: without onnxscript.
    """
    import onnxscript.optimizer
    from onnx_ir.passes import Sequential, common
    from onnxscript import opset18 as op

    # The class map needs none of the following three, small probabilities do. onnxruntime's sigmoid is up to three
    # times too large below -15, and onnxscript writes log(1 + x) and exp(x) - 1, which lose a small x: Kahan's forms
    # divide that error out again.
    def sigmoid(x):
        return op.Reciprocal(op.Add(op.Exp(op.Neg(x)), 1.0))

    def log1p(x):
        near = op.Add(x, 1.0)
        is_one = op.Equal(near, 1.0)
        return op.Where(is_one, x, op.Div(op.Mul(op.Log(near), x), op.Where(is_one, 1.0, op.Sub(near, 1.0))))

    def expm1(x):
        power = op.Exp(x)
        is_one = op.Equal(power, 1.0)
        return op.Where(is_one, x, op.Div(op.Mul(op.Sub(power, 1.0), x), op.Where(is_one, 1.0, op.Log(power))))

    aten = torch.ops.aten
    table = {aten.sigmoid.default: sigmoid, aten.log1p.default: log1p, aten.expm1.default: expm1}
    onnx_program = torch.onnx.export(
        program, output_names=["logits"], custom_translation_table=table, dynamo=True, optimize=False, verbose=False
    )
    # The optimizer that torch would run compares each node with all others, and takes twice as long as all the rest.
    onnxscript.optimizer.fold_constants(onnx_program.model)
    tidy_up = Sequential(
        common.RemoveUnusedNodesPass(),
        common.CommonSubexpressionEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    )
    tidy_up(onnx_program.model)
    with atomic_file(path) as temporary:
        onnx_program.save(temporary, external_data=False)


def quantize_int8(onnx_path: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes an ONNX file again with linear layers in int8; their inputs are quantised at run time ("dynamic").

    Convolutions stay as they are. torch's own `quantize_dynamic` is deprecated; what takes its place is a package of
    its own.

    Args:
        onnx_path: of a file of `export_onnx`.
        path: of the new file, `.onnx`.

    Raises:
        ImportError: without onnxruntime.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with atomic_file(path) as temporary:
        quantize_dynamic(
            onnx_path,
            temporary,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
        )


def onnx_runner(path: str | os.PathLike) -> Callable[[dict[str, Tensor]], Tensor]:
    """Opens an ONNX file of the above in onnxruntime, on the CPU, with as many threads as torch has.

    Returns:
        A call that takes `INPUTS` by name and gives the logits, all as tensors on the CPU.

    Raises:
        ImportError: without onnxruntime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads would look out for the next call at full load, and take the cores from whatever runs in between.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(["logits"], {k: v.numpy() for k, v in inputs.items()})[0])
