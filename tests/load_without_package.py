"""Run in a fresh process by test_hub_code: loads a model as one does who has transformers but not this package.

    python load_without_package.py VIDEO SAVED SOURCE ...

Each SOURCE is a folder or Hub id; what was loaded from it is saved to SAVED/0, SAVED/1, ... Prints one line of JSON.
"""

import json
import sys
from pathlib import Path

TASK = "audio-visual-segmentation"
PICTURE, SECONDS_OF_SOUND = (48, 64, 3), 3


class _NoPackage:
    def find_spec(self, name: str, path=None, target=None):
        if name.partition(".")[0] == "ccformer_hf":
            raise ImportError(f"{name} is hidden from this process")


if __name__ == "__main__":
    sys.meta_path.insert(0, _NoPackage())

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402


def clip() -> dict:
    """Three frames and their sound, the same in every process."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, *PICTURE), dtype=np.uint8)
    return {"images": images, "audio": random.uniform(-0.5, 0.5, 16000 * SECONDS_OF_SOUND), "sampling_rate": 16000}


def summary(source: str, video: str, **options) -> dict:
    """What every class and the pipeline make of a model's folder or Hub id; `options` go to each `from_pretrained`."""
    names = ["AutoConfig", "AutoModel", "AutoModelForSemanticSegmentation"]
    names += ["AutoProcessor", "AutoFeatureExtractor", "AutoImageProcessor"]
    loaded = {name: getattr(transformers, name).from_pretrained(source, **options) for name in names}
    inputs = loaded["AutoProcessor"](**clip())
    with torch.no_grad():
        logits = loaded["AutoModelForSemanticSegmentation"](**inputs).logits
        queries = loaded["AutoModel"](**inputs).last_hidden_state
    segmenter = transformers.pipeline(TASK, model=source, device="cpu", **options)
    return {
        "classes": {name: type(thing).__name__ for name, thing in loaded.items()},
        "sums": [values.double().sum().item() for values in (logits, queries)],
        "logits": logits.flatten().tolist(),
        "records": plain(segmenter(video, threshold=0.3) + segmenter(clip(), threshold=0.3)),
    }


def plain(records: list[dict]) -> list[dict]:
    """Records of the pipeline with numbers in place of the masks."""
    for record in records:
        for entry in record["sounding"]:
            entry["mask"] = np.asarray(entry["mask"]).sum().item()
    return records


def report(source: str, video: str, saved: Path) -> dict:
    """Loads, saves, loads again, saves as a pipeline, and loads that."""
    trusting = {"trust_remote_code": True}
    first = summary(source, video, **trusting)

    # As after training further: the code has to come along.
    transformers.AutoModelForSemanticSegmentation.from_pretrained(source, **trusting).save_pretrained(saved)
    transformers.AutoProcessor.from_pretrained(source, **trusting).save_pretrained(saved)
    again = summary(str(saved), video, **trusting)

    # The task need not be named: the folder knows it.
    from_pipeline = saved.with_name(f"{saved.name}-pipeline")
    transformers.pipeline(model=str(saved), device="cpu", **trusting).save_pretrained(from_pipeline)
    segmenter = transformers.pipeline(model=str(from_pipeline), device="cpu", **trusting)
    return {"first": first, "again": again, "from_pipeline": plain(segmenter(video, threshold=0.3))}


if __name__ == "__main__":
    video, saved, *sources = sys.argv[1:]
    reports = [report(source, video, Path(saved) / str(number)) for number, source in enumerate(sources)]
    hidden = not any(name.partition(".")[0] == "ccformer_hf" for name in sys.modules)
    print(json.dumps({"hidden": hidden, "reports": reports}))
