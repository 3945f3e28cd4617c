import os
import subprocess
import sys

import pytest
from processes import run_command

from ccformer_hf import __version__
from ccformer_hf.cli.main import main


def test_help_and_wrong_arguments_load_nothing_heavy():
    heavy = ("torch", "transformers", "av", "numpy", "PIL", "scipy")
    code = f"""
import sys
from ccformer_hf.cli.main import main
helps = [[name, "--help"] for name in ("segment", "demo", "train", "evaluate", "benchmark", "data", "publish")]
for arguments in (*helps, ["--help"], ["data", "compose", "--help"], ["segment", "--threshold", "7"], ["--version"]):
    try:
        main(arguments)
    except SystemExit:
        pass
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert f"ccformer {__version__}" in done.stdout and "ccformer segment holiday.mp4" in done.stdout


def test_as_a_process(tmp_path):
    done, seconds = run_command("segment", "missing.mp4", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ccformer: error: missing.mp4: there is no such file; check the name\n"
    assert seconds < 5  # 0.2 s: PyTorch is not loaded for it
    assert os.listdir(tmp_path) == []
    done, seconds = run_command("segment", "--fps", "x")
    assert done.returncode == 2 and "--fps" in done.stderr and seconds < 5
    assert run_command()[0].returncode == 2


@pytest.mark.parametrize("command", ["segment", "train", "data convert"])
def test_an_argument_that_is_not_there_shows_the_usage_of_its_command(command, capsys):
    given = {
        "train": ["--config", "x", "--data", "y", "--output", "z"],
        "data convert": ["a", "b"],
        "publish": ["a", "b/c"],
    }
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), *given.get(command, []), "--no-such"])
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.startswith(f"usage: ccformer {command} ")
    assert told.endswith(f"ccformer {command}: error: unrecognized arguments: --no-such\n")
