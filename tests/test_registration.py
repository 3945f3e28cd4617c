"""The import hook, in a package that is like this one but light; `test_package` has the real one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ccformer_hf import registration

FILES = {
    "transformers/__init__.py": "MODELS = []",
    "transformers/auto.py": "",
    "package/__init__.py": "from .registration import register_with_transformers\nregister_with_transformers()",
    "package/configuration.py": "import transformers\nNAME = 'model'",
    "package/modeling.py": "from .configuration import NAME",
    "package/light.py": "",
    "package/auto.py": "from transformers import MODELS\nfrom .modeling import NAME\nMODELS.append(NAME)",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("light")
    for name, content in FILES.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(content)
    shutil.copy(registration.__file__, place / "package")
    return place


@pytest.mark.parametrize(
    "code",
    [
        "import package; import transformers",
        "import package; import transformers.auto",
        "import transformers; import package",
        "import package.modeling",
        "import package.configuration; import package.modeling",
        "import package.light; import transformers; import package.auto",
        "import package.auto",
    ],
)
def test_registered_once_whatever_is_imported_first(place, code):
    run(place, f"{code}; assert sys.modules['transformers'].MODELS == ['model'], sys.modules['transformers'].MODELS")


def test_nothing_is_imported_for_it(place):
    run(place, "import package, package.light; assert 'transformers' not in sys.modules")


def run(place: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; {code}"], cwd=place, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
