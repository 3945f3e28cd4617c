"""The common tests of transformers, taken from its source distribution: what its own classes have to pass.

`common_tests("test_modeling_common")` gives that module of the version that is installed. pip fetches the distribution
once, into a cache. It carries `tests/*.py` but no folder below; what its modules read from the rest of the repository
is stood in for:

- `ExportTesterMixin`: our exports have tests of their own;
- `GenerationTesterMixin`: CCFormer generates no text;
- `config_common_kwargs`: the test that reads it passes over configs with a backbone's in them;
- `tiny_model_summary.json`, the tiny models on the Hub: ours is not among them;
- `url_to_local_path`, which finds the library's own downloads: there are none, an address stays what it is;
- `src/transformers/__init__.py`, which test_pipeline_mixin runs to reach the library: empty, so that it gets the one
  installed.
"""

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import transformers

PACKAGE = "transformers_common_tests"
STAND_INS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "__init__.py": "",
    "../tests/utils/tiny_model_summary.json": "{}\n",
    "../utils/fetch_hub_objects_for_ci.py": "def url_to_local_path(url):\n    return url\n",
    "../src/transformers/__init__.py": "",
}


def cache_folder() -> Path:
    """Where the tests of the installed version, with these stand-ins, are or will be."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    stand_ins = hashlib.sha256(json.dumps(STAND_INS).encode()).hexdigest()[:8]
    return caches / "ccformer_hf" / f"transformers-{transformers.__version__}-{stand_ins}"


def fetch(folder: Path) -> None:
    """Makes the package of common tests in `folder`, whole or not at all; CalledProcessError where pip cannot."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        temporary = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        wanted = f"transformers=={transformers.__version__}"
        subprocess.run([*command, "--dest", str(temporary), wanted], check=True, capture_output=True, text=True)
        package = temporary / "package" / PACKAGE
        package.mkdir(parents=True)
        with tarfile.open(next(temporary.glob("*.tar.gz"))) as archive:
            for member in archive.getmembers():
                parts = Path(member.name).parts
                if parts[1:2] == ("tests",) and len(parts) == 3 and member.isfile():
                    with archive.extractfile(member) as source, open(package / parts[2], "wb") as target:
                        shutil.copyfileobj(source, target)
        for path, text in STAND_INS.items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_text(text)
        if not folder.exists():
            os.replace(temporary / "package", folder)


def common_tests(module: str) -> ModuleType:
    """A module of the common tests; skips the test module that asks for it where pip cannot fetch them."""
    folder = cache_folder()
    if not folder.exists():
        try:
            fetch(folder)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip() or "no reason given").splitlines()[-1]
            pytest.skip(f"pip cannot fetch the source of transformers: {reason}", allow_module_level=True)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module(f"{PACKAGE}.{module}")
