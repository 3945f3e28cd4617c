import json
import subprocess
import sys
import tomllib
from pathlib import Path

from processes import run_command

import ccformer_hf

HEAVY = ["torch", "transformers", "scipy", "av", "torchaudio", "accelerate", "datasets", "evaluate", "gradio"]


def loaded_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh Python has loaded after `code`."""
    code += f"\nimport json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import ccformer_hf; dir(ccformer_hf); ccformer_hf.__version__") == set()


def test_importing_the_command_loads_nothing_heavy():
    assert loaded_after("import ccformer_hf.cli.main") == set()


def test_processes_that_convert_or_compose_clips_start_without_torch():
    """They are new ones, each of which would import it for as long as it writes some hundred clips."""
    assert not loaded_after("import ccformer_hf.data.convert") & {"torch", "transformers", "torchaudio"}


def test_with_the_package_imported_transformers_knows_the_model_and_nothing_of_an_extra_is_loaded():
    loaded = loaded_after("""
import ccformer_hf
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig
from transformers.pipelines import PIPELINE_REGISTRY

config = AutoConfig.for_model("ccformer")
assert type(config) is ccformer_hf.CCFormerConfig
assert MODEL_MAPPING[type(config)] is ccformer_hf.CCFormerModel
assert "audio-visual-segmentation" in PIPELINE_REGISTRY.get_supported_tasks()
""")
    assert "torch" in loaded and not loaded & {"datasets", "evaluate", "gradio"}


def test_help_answers_within_a_second():
    tries = [run_command("--help") for _ in range(3)]
    assert all(done.returncode == 0 and "segment" in done.stdout for done, _ in tries)
    assert min(seconds for _, seconds in tries) < 1.0


def test_a_wrong_argument_answers_within_a_second():
    tries = [run_command("segment", "--no-such-option") for _ in range(3)]
    assert all(done.returncode == 2 and "--no-such-option" in done.stderr for done, _ in tries)
    assert all("Traceback" not in done.stderr for done, _ in tries)
    assert min(seconds for _, seconds in tries) < 1.0


def test_every_public_name_is_there():
    for name in ccformer_hf.__all__:
        assert getattr(ccformer_hf, name) is not None
    assert dir(ccformer_hf) == sorted(ccformer_hf.__all__)


def test_an_unknown_name_is_an_attribute_error():
    try:
        ccformer_hf.NoSuchThing  # noqa: B018
    except AttributeError as error:
        assert "NoSuchThing" in str(error)
    else:
        raise AssertionError("no error")


def test_the_command_is_also_called_like_the_distribution():
    """So that `uvx ccformer-hf segment` and `pipx run ccformer-hf segment` find it."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"][project["name"]] == project["scripts"]["ccformer"]
