import ast
import re
import tomllib
from pathlib import Path

import yaml

from ccformer_hf.demo.limits import Limits
from ccformer_hf.hub import made_ready

ROOT = Path(__file__).resolve().parents[1]
SPACE = ROOT / "space"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What the Hub's reference of Space settings knows.
KEYS = set(
    """title emoji colorFrom colorTo sdk sdk_version python_version app_file app_port base_path fullWidth header
    short_description models datasets tags thumbnail pinned license hf_oauth hf_oauth_expiration_minutes
    hf_oauth_scopes disable_embedding startup_duration_timeout custom_headers preload_from_hub suggested_hardware
    suggested_storage""".split()
)
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def read_header() -> dict:
    before, header, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert before == ""
    return yaml.safe_load(header)


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_the_header_is_one_the_hub_takes():
    header = read_header()
    assert set(header) <= KEYS
    assert header["sdk"] == "gradio" and (SPACE / header["app_file"]).is_file()
    assert {header["colorFrom"], header["colorTo"]} <= COLOURS
    assert len(header["short_description"]) <= 60 and len(header["emoji"]) == 1
    assert header["license"] == PROJECT["license"].lower().split(" and ")[0]  # that of the code


def test_the_versions_are_those_the_package_wants():
    header = read_header()
    low, high = re.fullmatch(r"gradio>=([\d.]+),<([\d.]+)", *PROJECT["optional-dependencies"]["demo"]).groups()
    assert isinstance(header["sdk_version"], str) and re.fullmatch(r"\d+\.\d+\.\d+", header["sdk_version"])
    assert version(low) <= version(header["sdk_version"]) < version(high)
    assert isinstance(header["python_version"], str)  # 3.10 without quotes would be 3.1
    assert version(header["python_version"]) >= version(PROJECT["requires-python"].removeprefix(">="))
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == PROJECT["dependencies"]


def test_the_app_is_the_package_and_nothing_else():
    tree = ast.parse((SPACE / "app.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert all(isinstance(node, ast.ImportFrom) and node.module.startswith("ccformer_hf") for node in imported)
    assert len(tree.body) <= 4


def test_the_limits_in_the_readme_are_the_demos():
    text, limits = (SPACE / "README.md").read_text(encoding="utf-8"), Limits()
    for part in (
        f"{limits.megabytes} MB and {limits.seconds} seconds",
        f"{limits.shown} pixels",
        f"{limits.waiting} may wait",
    ):
        assert part in text
    assert limits.kept == 3600 and "after an hour" in text


def test_publishing_takes_the_package_along():
    with made_ready(SPACE, "me/demo", "space") as folder:
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert {"app.py", "README.md", "requirements.txt"} <= files
        for needed in (
            "__init__.py",
            "demo/app.py",
            "demo/style.css",
            "demo/clips/drum.mp4",
            "checkpoints/example.mp4",
        ):
            assert f"ccformer_hf/{needed}" in files
        assert "ccformer_hf/checkpoints/ccformer-tiny/model.safetensors" in files
        assert not any("__pycache__" in path for path in files)
