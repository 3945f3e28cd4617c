import pytest
from file_server import CHANGED, serving

from ccformer_hf.model import download_ccformer
from ccformer_hf.model.download_ccformer import downloaded, fetch
from ccformer_hf.model.media_ccformer import MediaError


def test_a_file_is_fetched_piece_by_piece_and_keeps_its_age(tmp_path, monkeypatch):
    monkeypatch.setattr(download_ccformer, "DOWNLOAD_PIECE", 400)
    with serving({"/a": bytes(1000)}) as address:
        shown = list(fetch(f"{address}/a", tmp_path / "a", 5.0))
        with downloaded(f"{address}/a", 5.0) as path:
            assert path.read_bytes() == bytes(1000)
        assert not path.exists()
    assert shown == [(400, 1000), (800, 1000), (1000, 1000)]
    assert (tmp_path / "a").stat().st_mtime == CHANGED


def test_a_file_that_is_too_large_is_not_fetched_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(download_ccformer, "DOWNLOAD_PIECE", 400)
    monkeypatch.setattr(download_ccformer, "LARGEST_DOWNLOAD", 600)
    with serving({"/a": bytes(2000), "/b": bytes(2000)}, {"/b": None}) as address:  # told of at the start, or not
        for name, most in (("a", 0), ("b", 800)):
            with pytest.raises(MediaError, match=f"^{address}/{name}: is larger than"):
                list(fetch(f"{address}/{name}", tmp_path / name, 5.0))
            assert (tmp_path / name).stat().st_size <= most
