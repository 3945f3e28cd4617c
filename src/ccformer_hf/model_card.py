"""The model card, for readers and for the Hub, and the record in a model's folder that it is made from."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from huggingface_hub import EvalResult, ModelCardData

from .atomic import atomic_file
from .checkpoints import BUILT_IN_MODELS, DEFAULT_MODEL
from .inference.model_folder import RECORD_FILE, read_settings
from .model.configuration_ccformer import TASK
from .model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from .model.processing_ccformer import AudioVisualProcessor

FIGURES = {
    "miou": "mIoU",
    "miou_seen": "mIoU over the classes seen",
    "f_score": "F-score",
    "f_score_seen": "F-score over the classes seen",
    "binary_miou": "binary mIoU",
    "class_miou": "class mIoU",
    "class_miou_seen": "class mIoU over the classes seen",
    "silence_marked": "pixels marked without a sound track",
    "marked_zeros": "pixels marked under digital zeros",
    "marked_white_noise": "pixels marked under white noise",
    "marked_pink_noise": "pixels marked under pink noise",
    "marked_hum": "pixels marked under mains hum",
    "marked_unknown_sounds": "pixels marked under sounds of unknown classes",
    "marked_off_screen": "pixels marked under a sound of a class that is not in view",
    "swap_iou_new": "sound of another visible object: IoU with that one",
    "swap_iou_old": "sound of another visible object: IoU with the first",
}

CARD = """\
---
{header}
---

# {title}

A CCFormer of {parameters:.2f} million parameters ({megabytes:.1f} MB in {dtype}) for audio-visual segmentation: which
pixels of a video are making the sound. It sees frames of {height} x {width}, one per second, each with
its second of sound. Trained on {trained_on}.

Classes: {classes}
{about}
## Scores

{scores}
{pictures}
## Use

{use}

## How it was made

{made}

## Limits

{limits}

## License

{license}
"""

CODE_LICENSE = "apache-2.0"

LIMITS = (
    "One frame per second is sampled, unless `--fps` says otherwise.",
    "Two objects of one class cannot be distinguished by their sound.",
    "A class is marked where it is seen, also while another of the same class sounds off screen.",
    "It knows the classes above and no others: noise, or a sound of another class, may be laid on something visible.",
)

USE_BUILT_IN = """\
```bash
ccformer segment clip.mp4{option}
```

```python
from ccformer_hf import load, segment_video

segment_video("clip.mp4", "results"{argument})
model, processor = load("{name}")  # or step by step
```"""

USE = """\
With the package `ccformer-hf`:

```bash
ccformer segment clip.mp4 --model {name}
```

```python
from ccformer_hf import segment_video

segment_video("clip.mp4", "results", model="{name}")
```

With `transformers` alone, by the code that lies beside the weights (it needs `pip install av scipy torchaudio`):

```python
from transformers import pipeline

segmenter = pipeline("audio-visual-segmentation", model="{name}", trust_remote_code=True)
records = segmenter("clip.mp4")
```

```python
from transformers import AutoModelForSemanticSegmentation, AutoProcessor

processor = AutoProcessor.from_pretrained("{name}", trust_remote_code=True)
model = AutoModelForSemanticSegmentation.from_pretrained("{name}", trust_remote_code=True)
outputs = model(**processor("clip.mp4"))
maps = processor.post_process_semantic_segmentation(outputs, target_sizes=[(480, 640)])[0]  # (T, 480, 640) class ids
```"""


@dataclass(frozen=True)
class ModelRecord:
    """How a model was made. Its folder keeps it as `checkpoint.json`; what is empty there is not known.

    Attributes:
        trained_on: the clips, to follow the words "Trained on".
        about: what else there is to say of the model, in whole sentences.
        dataset: short name of the clips that gave the scores, for the Hub, and `dataset_name` for readers.
        split: of these clips.
        scores: figure (see `FIGURES`) -> value, 0..1.
        scored: how the scores were taken, in whole sentences.
        commands: that made the weights, one per line.
        steps: optimizer steps that the weights have seen.
        recipe: that they were trained by.
        version: of this package, and the `commit` of its repository, see `package_commit`.
        license: of the weights, by the Hub's short name such as `"apache-2.0"`.
        note: anything else on how they were made.
    """

    trained_on: str = ""
    about: str = ""
    dataset: str = ""
    dataset_name: str = ""
    split: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    scored: str = ""
    commands: str = ""
    steps: int | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    commit: str = ""
    license: str = ""
    note: str = ""

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `checkpoint.json` into a model folder."""
        with atomic_file(Path(folder) / RECORD_FILE) as path:
            path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_record(folder: str | os.PathLike) -> ModelRecord | None:
    """The record of a model folder; None where it has none.

    Raises:
        ValueError: for a `checkpoint.json` that is something else.
    """
    file = Path(folder) / RECORD_FILE
    if not file.is_file():
        return None
    try:
        record = ModelRecord(**read_settings(file))
        for part in fields(record):
            kind = int | None if part.name == "steps" else type(getattr(ModelRecord(), part.name))
            if not isinstance(getattr(record, part.name), kind):
                raise ValueError(f"{part.name} is {getattr(record, part.name)!r}")
        if not all(isinstance(value, int | float) for value in record.scores.values()):
            raise ValueError(f"scores are {record.scores}")
        return record
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{file}: is not a record of how a model was made ({error}); remove it, the card then says that this is "
            "not known"
        ) from None


def package_commit() -> str:
    """Commit of ccformer-hf whose code is running, with "and changes" where files differ from it; "" where unknown."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails where this is installed in another repository
        return git("rev-parse", "HEAD") + (" and changes" if git("status", "--porcelain", "-uno", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    try:
        origin = distribution("ccformer-hf").read_text("direct_url.json")  # pip keeps where it installed from
    except PackageNotFoundError:
        return ""
    return json.loads(origin or "{}").get("vcs_info", {}).get("commit_id", "")


def model_card(
    record: ModelRecord | None,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    name: str,
    pictures: Sequence[str] = (),
) -> str:
    """The text of a model's `README.md`, with its scores as `model-index`, which the Hub reads.

    Args:
        record: how the model was made; None: not known.
        name: by which it is loaded: a Hub id, a folder, or that of a checkpoint inside the package.
        pictures: files beside the card, to show below the scores.
    """
    record = record or ModelRecord()
    title = name.rsplit("/", 1)[-1]
    size = processor.image_processor.size
    tensors = [*model.parameters(), *model.buffers()]  # not state_dict(), under FSDP a call of all processes
    shown = "\n\n".join(f"![{Path(path).stem}]({quote(path)})" for path in pictures)
    return CARD.format(
        header=_header(record, title),
        title=title,
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        megabytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6,
        dtype=str(model.dtype).removeprefix("torch."),
        height=size["height"],
        width=size["width"],
        trained_on=record.trained_on or "clips that its folder does not tell of",
        classes=", ".join(label for number, label in sorted(model.config.id2label.items()) if number),
        about=f"\n{record.about}\n" if record.about else "",
        scores=_scores(record),
        pictures=f"\n{shown}\n" if shown else "",
        use=_use(name),
        made=_made(record),
        limits="\n".join(f"- {limit}" for limit in LIMITS),
        license=_license(record),
    )


def _use(name: str) -> str:
    if name == DEFAULT_MODEL:
        return USE_BUILT_IN.format(name=name, option="", argument="")
    if name in BUILT_IN_MODELS:
        return USE_BUILT_IN.format(name=name, option=f" --model {name}", argument=f', model="{name}"')
    return USE.format(name=name)


def _header(record: ModelRecord, title: str) -> str:
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=record.dataset,
            dataset_name=record.dataset_name,
            dataset_split=record.split,
            metric_type=figure,
            metric_name=FIGURES[figure],
            metric_value=round(value, 4),
        )
        for figure, value in record.scores.items()
    ]
    data = ModelCardData(
        license=record.license or None,
        library_name="transformers",
        pipeline_tag=TASK,  # by it `pipeline(model=...)` chooses: that of pictures would fail on a video
        tags=[TASK, "ccformer"],
        **({"model_name": title, "eval_results": results} if results else {}),
    )
    return data.to_yaml()


def _scores(record: ModelRecord) -> str:
    if not record.scores:
        return "None are known."
    rows = [f"| {FIGURES[figure]} | {value:.4f} |" for figure, value in record.scores.items()]
    return "\n".join([record.scored, "", "| figure | value |", "|---|---|", *rows])


def _made(record: ModelRecord) -> str:
    parts = []
    if record.version:
        parts.append(f"By ccformer-hf {record.version}{f', commit {record.commit}' if record.commit else ''}.")
    if record.commands:
        parts.append(f"```bash\n{record.commands}\n```")
    if record.note:
        parts.append(record.note)
    if record.steps is not None:
        parts.append(f"The weights have seen {record.steps} steps of {record.recipe['batch_size']} clips.")
    if record.recipe:
        text = yaml.safe_dump(record.recipe, sort_keys=False, default_flow_style=None, width=120)
        parts.append(f"The whole recipe:\n\n```yaml\n{text}```")
    return "\n\n".join(parts) or "Its folder does not tell."


def _license(record: ModelRecord) -> str:
    if record.license == CODE_LICENSE:
        return f"{record.license}, the weights and the code."
    if record.license:
        return f"{record.license}, the weights. The code is {CODE_LICENSE}."
    return (
        "The code is Apache-2.0. What the weights may be used for also depends on the license of the clips they were "
        "trained on, which this card does not know."
    )
