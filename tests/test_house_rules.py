"""Rules of the house that no reader should have to check by eye."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ccformer_hf"
MODULES = sorted(PACKAGE.rglob("*.py"))
TRAVELLING = sorted((PACKAGE / "model").glob("*_ccformer.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in MODULES]


def imports(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_travelling_files_are_there():
    assert {"configuration_ccformer", "modeling_ccformer", "loss_ccformer", "timing_ccformer"} <= {
        p.stem for p in TRAVELLING
    }
    assert [path for path in PACKAGE.rglob("*_ccformer.py") if path not in TRAVELLING] == []


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.name)
def test_travelling_files_import_only_each_other(path):
    """The Hub copies them side by side and follows `from .x_ccformer import y`, nothing else."""
    source = path.read_text()
    tree = ast.parse(source)
    for node in imports(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "ccformer_hf" for alias in node.names), node.lineno
        elif node.level or (node.module or "").startswith("ccformer_hf"):
            assert node.level == 1 and node.module, f"line {node.lineno}: only `from .x_ccformer import y`"
            assert node.module in {p.stem for p in TRAVELLING}, f"line {node.lineno}: .{node.module} does not travel"
        assert not (isinstance(node, ast.ImportFrom) and node.module == "__future__"), node.lineno
    # The Hub finds relative imports by a regular expression over the lines, docstrings included.
    lines = {number for number, line in enumerate(source.splitlines(), 1) if re.match(r"\s*(from|import)\s+\.", line)}
    assert lines == {node.lineno for node in imports(tree) if isinstance(node, ast.ImportFrom) and node.level}


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.name)
def test_travelling_files_import_at_the_top_or_guarded(path):
    """An import inside a function still makes the Hub ask for the package, unless it is inside try/except."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    guarded = {id(node) for block in ast.walk(tree) if isinstance(block, ast.Try) for node in imports(block)}
    assert [node.lineno for function in functions for node in imports(function) if id(node) not in guarded] == []


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_every_public_name_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    assert path.name == "__main__.py" or ast.get_docstring(tree), "the module has no docstring"
    public = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and not n.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


# Who may import whom: a part imports from floors below its own only, inside functions too. The map in CONTRIBUTING.md
# says what each part is.
FLOORS = [
    {"model", "metrics", "checkpoints", "atomic", "stop_signals", "registration", "shared_work"},
    {"auto", "data"},
    {"inference"},
    {"evaluation", "labelling", "model_card"},
    {"training"},
    {"benchmarking", "hub", "demo"},
    {"cli"},
]
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}


def part_of(path: Path) -> str:
    """`training/loop.py` -> "training", `atomic.py` -> "atomic"."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of the package that a module imports from; `from .. import __version__` is no arrow."""
    parts = set()
    for node in imports(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names if alias.name.startswith("ccformer_hf.")]
            parts |= {name[1] for name in names}
        elif node.level:
            folder = path.parents[node.level - 1].relative_to(PACKAGE).parts
            modules = [(*folder, *(node.module or "").split("."), alias.name) for alias in node.names]
            parts |= {next(name for name in module if name) for module in modules}
    return parts - {"__version__"}


PARTS = [path for path in MODULES if path.parent != PACKAGE or not path.name.startswith("__")]


@pytest.mark.parametrize("path", PARTS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    part = part_of(path)
    assert part in FLOOR, f"{part} is on no floor; name it in FLOORS and in the map of CONTRIBUTING.md"
    upwards = [other for other in imported_parts(path) - {part} if FLOOR[other] >= FLOOR[part]]
    assert upwards == [], f"{part} (floor {FLOOR[part]}) must not import {upwards}"


def mapped_paths() -> set[str]:
    """The paths in the map of CONTRIBUTING.md, folders with a slash at their end; indented is inside."""
    tree = (ROOT / "CONTRIBUTING.md").read_text().split("```text\n")[1].split("```")[0]
    paths, above = set(), []
    for line in tree.splitlines():
        above = above[: (len(line) - len(line.lstrip())) // 2] + [line.split()[0]]
        paths.add("".join(above))
    return paths


def test_the_map_names_every_folder_and_the_modules_beside_them():
    files = [path.relative_to(ROOT) for path in repository_files() if not path.name.startswith(".")]
    folders = ("src/ccformer_hf/", "docs/", "examples/", "space/", "tests/")  # pip puts another one into src/
    drawn = [path for path in files if path.as_posix().startswith(folders)]
    real = {f"{parent.as_posix()}/" for path in drawn for parent in path.parents} - {"./", "src/"}
    real = {folder for folder in real if folder == "tests/" or not folder.startswith("tests/")}
    real |= {path.as_posix() for path in drawn if path.parent == PACKAGE.relative_to(ROOT) and path.suffix == ".py"}
    real = {path for path in real if "/__" not in path}
    mapped = mapped_paths()
    assert [path for path in sorted(real) if not any(fnmatch(path, entry) for entry in mapped)] == []
    assert [entry for entry in sorted(mapped) if not any(fnmatch(path, entry) for path in real)] == []


# Modules whose tests are not in the file of their name, and files of tests that are named after no module.
TESTED_ELSEWHERE = {
    "metrics/avs_binary/avs_binary.py": "three lines each that name a metric; tests/metrics/test_evaluate_module.py",
    "metrics/avs_dataset/avs_dataset.py": "the same",
    "metrics/avs_semantic/avs_semantic.py": "the same",
}
OTHER_TESTS = {
    "model/test_common_*.py": "the tests of transformers for every model",
    "robustness/test_robustness.py": "a few cases of what `python -m tests.robustness` does with many",
    "demo/test_page.py": "the page of demo/app.py as its user sees it",
}


def test_tests_lie_in_the_file_of_their_modules_name():
    """A module that defines nothing, such as a list of choices, needs none."""
    defining = [
        path.relative_to(PACKAGE)
        for path in MODULES
        if not path.name.startswith("__")
        and any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in ast.parse(path.read_text()).body)
    ]
    tests = ROOT / "tests"
    without = [str(path) for path in defining if not (tests / path.parent / f"test_{path.name}").is_file()]
    assert without == sorted(TESTED_ELSEWHERE)
    others = [
        path.relative_to(tests).as_posix()
        for path in sorted(tests.rglob("test_*.py"))
        if path.parent != tests
        and not (PACKAGE / path.relative_to(tests).with_name(path.name.removeprefix("test_"))).is_file()
    ]
    assert [path for path in others if not any(fnmatch(path, pattern) for pattern in OTHER_TESTS)] == []
    assert [pattern for pattern in OTHER_TESTS if not any(fnmatch(path, pattern) for path in others)] == []


def repository_files() -> list[Path]:
    folders = [ROOT / name for name in ("src", "tests", "docs", "examples", "space", ".ci", ".github")]
    files = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.iterdir())
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def test_no_path_of_one_machine():
    pattern = re.compile(rb"(?<![\w.])/(?:work|root|tmp/(?:venv|plan|runs))/")
    text = [
        path
        for path in repository_files()
        if path.suffix in {".py", ".md", ".toml", ".json", ".txt", ".yml", ".yaml", ".cfg", ""}
    ]
    assert len(text) > 20
    assert [
        str(path.relative_to(ROOT)) for path in text if path.name != ".git" and pattern.search(path.read_bytes())
    ] == []


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_nothing_is_left_to_do(path):
    assert re.findall(r"\b(?:TODO|FIXME|XXX|NotImplemented\w*)\b", path.read_text()) == []
