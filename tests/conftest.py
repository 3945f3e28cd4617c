import gc
import os
import signal

import pytest

# Two workers of pytest-xdist, and the small networks here, are slower with threads that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from made_media import make_video
from small_model import save_small_model

from ccformer_hf.inference.loading import load

MARKERS = """accelerate_tests flash_attn_test flash_attn_3_test flash_attn_4_test is_pipeline_test is_training_test
order slow torch_compile_test"""


# `nohup` has SIGHUP ignored in all that it starts, and so would the commands that the tests stop by it.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config):
    """The marks that the common tests of transformers use; its own conftest does not come along."""
    for name in MARKERS.split():
        config.addinivalue_line("markers", f"{name}: a mark of the common tests of transformers")


def pytest_collection_finish():
    """What was imported stays: the garbage collector need not look through it, a tenth of the time of an export."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def loaded(folder):
    return load(folder, "cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("videos") / "clip.mp4", 4.0)


@pytest.fixture(scope="module")
def threshold(loaded, video):
    """At which half of the pixels of `video` sound, so that there is something to see."""
    model, processor = loaded
    with torch.inference_mode():
        scores = processor.post_process_scores(model(**processor(str(video))))[0]
    return round(1 - scores[:, 0].median().item(), 4)
