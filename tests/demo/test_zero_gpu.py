import importlib
import sys
from types import SimpleNamespace

from ccformer_hf.demo import zero_gpu


def test_zero_gpu_is_used_where_it_is(monkeypatch):
    asked = []

    def gpu(duration):
        asked.append(duration)
        return lambda function: lambda *given: ("on the GPU", function(*given))

    assert zero_gpu.on_gpu(abs) is abs  # nothing is needed elsewhere
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    try:
        assert importlib.reload(zero_gpu).on_gpu(abs)(-1) == ("on the GPU", 1)
        assert asked == [zero_gpu.SECONDS]
    finally:
        monkeypatch.delitem(sys.modules, "spaces")
        importlib.reload(zero_gpu)
