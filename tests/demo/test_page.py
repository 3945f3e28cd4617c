import os
import shutil
import signal
import tempfile
import time
from functools import partial
from types import SimpleNamespace

import gradio
import httpx
import planted
import pytest
from gradio_client import Client, handle_file
from made_media import make_video

from ccformer_hf.checkpoints import DEFAULT_MODEL
from ccformer_hf.demo import app as module
from ccformer_hf.demo.app import EXAMPLES, MARKED, OTHER, OWN, SILENT, Demo, Visit, launch, make_app
from ccformer_hf.demo.limits import Limits
from ccformer_hf.demo.line import Line
from ccformer_hf.demo.models import DemoModel, Models
from ccformer_hf.inference import contained_media
from ccformer_hf.inference.contained_media import probe
from ccformer_hf.stop_signals import Stopped


@pytest.fixture
def demo(folder, tmp_path) -> Demo:
    (tmp_path / "results").mkdir()
    return Demo(Models(str(folder), "cpu"), Limits(seconds=5), tmp_path / "results")


def results(demo) -> list:
    return list(demo._root.iterdir())


def test_a_result_and_the_same_pictures_under_other_sounds(demo, video, tmp_path):
    *steps, own = demo.analyse(str(video), "")
    assert steps == [0.25, 0.5, 0.75, 1] and own.sound_label == OWN and own.info.has_audio
    *_, silent = demo.analyse_again(own, SILENT)
    *_, other = demo.analyse_again(own, OTHER, str(make_video(tmp_path / "other.mp4", 1.0)))
    assert (silent.sound_label, other.sound_label) == (SILENT, "the sound of other.mp4")
    assert silent.clip == other.clip == own.clip and len(results(demo)) == 3
    assert not silent.info.has_audio and silent.sound is None and other.sound.name == "sound.wav"
    drawn = demo.draw(other, 0.5, 0.5)
    assert drawn.segments["model"]["name"] == demo.models.own
    assert "<figure>" in demo.second(own, 3, 0.5)
    *_, at_once = demo.analyse(str(video), "", SILENT)
    assert (at_once.sounding(1) == silent.sounding(1)).all()


def test_the_model_looks_as_often_as_asked_within_bounds(demo, video):
    *steps, own = demo.analyse(str(video), "", looks=4)
    assert len(steps) == len(own.samples) == 16
    assert demo.draw(own, 0.5, 0.5).segments["fps"] == 4
    *_, silent = demo.analyse_again(own, SILENT)
    assert len(silent.samples) == 16
    for looks in (0, 3, 100, "all", None, float("nan")):
        with pytest.raises(gradio.Error, match="expected 1, 2 or 4 looks per second"):
            list(demo.analyse(str(video), "", looks=looks))


@pytest.mark.parametrize("name", ["probabilities.npy", "frames", "sound.wav", "drawn-a"])
def test_an_upload_may_be_called_like_what_the_demo_writes(demo, video, tmp_path, name):
    upload = shutil.copy(video, tmp_path / name)
    *_, own = demo.analyse(upload, "", OTHER, str(video))
    assert own.clip.name == name and own.clip.read_bytes() == video.read_bytes()
    assert probe(demo.draw(own, 0.5, 0.5).video).duration == pytest.approx(4.0, abs=0.1)


def test_a_clip_without_sound_says_so(demo, tmp_path):
    *_, own = demo.analyse(str(make_video(tmp_path / "quiet.mp4", 2.0, sound=False)), "")
    assert own.sound_label == "no sound (the clip has none)" and own.loudness is None


def test_an_analysis_that_is_stopped_or_fails_leaves_nothing(demo, video, tmp_path, monkeypatch):
    steps = demo.analyse(str(video), "")
    assert next(steps) == 0.25 and len(results(demo)) == 1
    steps.close()
    assert results(demo) == []
    with pytest.raises(gradio.Error, match="quiet.mp4 has no sound to lend"):
        list(demo.analyse(str(video), "", OTHER, str(make_video(tmp_path / "quiet.mp4", 1.0, sound=False))))
    monkeypatch.setattr(module, "analyse", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        list(demo.analyse(str(video), ""))
    assert results(demo) == []


def test_what_the_user_is_told(demo, video, tmp_path):
    with pytest.raises(gradio.Error, match="Choose a clip first"):
        list(demo.analyse(None, ""))
    with pytest.raises(gradio.Error, match="lasts 7 seconds, at most 5"):
        list(demo.analyse(str(make_video(tmp_path / "long.mp4", 7.0)), ""))
    with pytest.raises(gradio.Error, match="&lt;b&gt;: is not the name of a model on the Hub"):
        list(demo.fetch("<b>"))
    with pytest.raises(gradio.Error, match="a/b: is not loaded here"):
        list(demo.analyse(str(video), "a/b"))
    *_, own = demo.analyse(str(video), "")
    for threshold, opacity in ((2, 0.5), (0.5, -1), ("0.5", 0.5), (None, 0.5), (float("nan"), 0.5)):
        with pytest.raises(gradio.Error, match="expected a number from 0 to 1"):
            demo.draw(own, threshold, opacity)


@pytest.mark.skipif(os.name != "posix", reason="has no such signals")
def test_a_clip_that_crashes_after_the_check_is_told_and_leaves_nothing(demo, video, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(gradio.Error, match="^.clip.mp4: reading it crashed"):
        patch.setattr(contained_media, "_frames_at", planted.crash)
        list(demo.analyse(str(video), ""))
    assert results(demo) == []
    *_, own = demo.analyse(str(video), "")
    with monkeypatch.context() as patch, pytest.raises(gradio.Error, match="^.clip.mp4: reading it crashed"):
        patch.setattr(contained_media, "_yuv_frames", planted.crash_in_frames)
        demo.draw(own, 0.5, 0.5)
    demo.draw(own, 0.5, 0.5)


def test_a_clip_that_takes_too_long_is_told(folder, tmp_path, video, monkeypatch):
    monkeypatch.setattr(contained_media, "_watched_frames", planted.endless_frames)
    (tmp_path / "results").mkdir()
    demo = Demo(Models(str(folder), "cpu"), Limits(shown=64, reading=0.5), tmp_path / "results")
    with pytest.raises(gradio.Error, match="clip.mp4: reading it took more than"):
        list(demo.analyse(str(video), ""))
    assert results(demo) == []


@pytest.mark.parametrize(
    "given, environment, wanted",
    [(None, None, DEFAULT_MODEL), (None, "me/hub", "me/hub"), ("me/given", "me/hub", "me/given")],
)
def test_the_checkpoint_is_the_one_given_else_that_of_the_environment(given, environment, wanted, monkeypatch):
    class Stop(Exception):
        pass

    def models(name):
        raise Stop(name)

    monkeypatch.setattr(module, "Models", models)
    monkeypatch.delenv("CCFORMER_MODEL", raising=False)
    if environment:
        monkeypatch.setenv("CCFORMER_MODEL", environment)
    with pytest.raises(Stop, match=wanted):
        launch(given)


def test_pages_are_forgotten_before_they_fill_the_memory_and_their_results_go_too(folder, demo, monkeypatch):
    """Gradio keeps what it showed last for each of so many pages, whether they are open or not."""
    given, shared = {}, []
    monkeypatch.setattr(module, "share_arenas", lambda: shared.append(True))
    monkeypatch.setattr(module, "Models", lambda name: demo.models)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored at the end")
    monkeypatch.setattr(gradio.Blocks, "launch", lambda _, **settings: (None, given.update(settings), None))
    launch(str(folder), block=False)
    assert given["state_session_capacity"] == module.PAGES_KEPT <= 1000 and shared
    old, new = demo._folder(), demo._folder()
    os.utime(old, (0, time.time() - 2 * demo.limits.kept - 1))
    assert set(results(demo)) == {old, new} and demo._folder() and not old.exists() and new.exists()


@pytest.mark.skipif(os.name != "posix", reason="has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_stop_signal_is_as_ctrl_c(monkeypatch, number):
    monkeypatch.setattr(module, "Models", lambda name: signal.raise_signal(number))
    with pytest.raises(Stopped, match=signal.Signals(number).name):
        launch("any")


def test_who_closes_the_page_is_out_of_the_line(folder, video, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored at the end")
    monkeypatch.setattr(module.tempfile, "mkdtemp", partial(tempfile.mkdtemp, dir=tmp_path))
    line = Line(16, 4)
    monkeypatch.setattr(module, "Line", lambda *_: line)
    address = launch(str(folder), block=False)
    assert capsys.readouterr().out == f"the page is at {address} until Ctrl-C\n"  # and nothing of Gradio's own
    api = address + "gradio_api/"
    page = {"session_hash": "a page"}

    def in_line(count: int) -> bool:
        end = time.monotonic() + 60
        while len(line._all()) != count and time.monotonic() < end:
            time.sleep(0.1)
        return len(line._all()) == count

    try:
        with line.place("another visitor") as at_work:
            assert line.before(at_work) == 0
            settings = httpx.get(api.replace("gradio_api/", "config"), timeout=60).json()
            (again,) = [part["id"] for part in settings["components"] if part["props"].get("elem_id") == "again"]
            (run,) = [entry["id"] for entry in settings["dependencies"] if [again, "click"] in entry["targets"]]
            (clip,) = httpx.post(f"{api}upload", files={"files": ("clip.mp4", video.read_bytes())}, timeout=60).json()
            data = [{"path": clip, "meta": {"_type": "gradio.FileData"}}, 1, None, 0.5, 0.5]
            httpx.post(f"{api}queue/join", json={"data": data, "fn_index": run, **page}, timeout=60)
            with httpx.stream("GET", f"{api}queue/data", params=page, timeout=60) as answers:
                assert any("in line: 1 before you" in answer for answer in answers.iter_lines())
                assert in_line(2)
            assert in_line(1)
    finally:
        gradio.close_all()


def function_of(app: gradio.Blocks, elem_id: str):
    """What the page runs on an event of one of its parts."""
    (found,) = [
        entry.fn
        for entry in app.fns.values()
        if elem_id in [app.blocks[block].elem_id for block, _ in entry.targets if block in app.blocks]
    ]
    return found


def test_mute_beside_a_new_run_says_that_its_result_is_gone(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored at the end")
    line = Line(16, 4)
    monkeypatch.setattr(module, "Line", lambda *_: line)
    app = make_app(Models(str(folder), "cpu"))
    mute = function_of(app, "mute")
    own = SimpleNamespace(folder=tmp_path / "own")
    own.folder.mkdir()
    request = SimpleNamespace(client=SimpleNamespace(host="10.0.0.1"), session_hash="a page")
    with line.place("the new run") as at_work:
        assert line.before(at_work) == 0
        steps = mute(Visit(own=own), 0.5, 0.5, request)
        next(steps)  # in line
        own.folder.rmdir()  # as the new run does with what was there before
    with pytest.raises(gradio.Error, match="That result is no longer kept: press Run again"):
        list(steps)
    assert line._all() == []
    with pytest.raises(gradio.Error, match="That result is no longer kept: press Run again"):
        list(mute(Visit(), 0.5, 0.5, request))


def test_results_live_as_long_as_the_page_that_shows_them(folder, demo, tmp_path, monkeypatch):
    """Gradio counts a page's time to live from when its state was last given back."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored at the end")
    drawn = SimpleNamespace(video="a.mp4", masks="a.zip", json="a.json", segments={"frames": []})
    own, changed, silent = (
        SimpleNamespace(folder=demo._folder(), samples=[0], drawn=drawn, sound_label=name)
        for name in (OWN, OTHER, SILENT)
    )
    changed.remove = lambda: None
    monkeypatch.setattr(Demo, "analyse_again", lambda *_: iter([silent]))
    monkeypatch.setattr(Demo, "draw", lambda *_: drawn)
    monkeypatch.setattr(Demo, "second", lambda *_: "")
    monkeypatch.setattr(Demo, "fetch", lambda *_: iter([DemoModel("a", None, None, None)]))
    monkeypatch.setattr(module, "DemoResult", SimpleNamespace)
    for name in ("result_html", "table_html", "knows_html"):
        monkeypatch.setattr(module, name, lambda *_: "")
    app, request = make_app(demo.models), SimpleNamespace(client=None, session_hash="a page")
    event = SimpleNamespace(_data={"index": 0})
    uses = {
        "choose": lambda visit: [function_of(app, "result")(event, visit, 0.5)],
        "mute": lambda visit: function_of(app, "mute")(visit, 0.5, 0.5, request),
        "swap": lambda visit: function_of(app, "swap")("b.mp4", visit, 0.5, 0.5, request),
        "slide": lambda visit: [function_of(app, "threshold")(visit, 0.5, 0.5)],
        "load": lambda visit: function_of(app, "load")("a", visit),
    }
    for name, use in uses.items():
        visit = Visit(own=own, changed=changed, chosen=0)
        for result in (own, changed, silent):
            os.utime(result.folder, (0, 0))
        *_, answer = use(visit)
        assert answer[-1] is visit
        for result in visit.results():
            assert time.time() - result.folder.stat().st_mtime < 60, name
    shutil.rmtree(own.folder)  # as a new run does
    assert visit.renewed() is visit


def test_uploads_and_results_are_removed_in_time(folder, video, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored at the end")
    monkeypatch.setattr(module.tempfile, "mkdtemp", partial(tempfile.mkdtemp, dir=tmp_path))
    address = launch(str(folder), limits=Limits(kept=6), block=False)
    try:
        client = Client(address, verbose=False, download_files=str(tmp_path / "downloads"))
        client.predict(handle_file(str(video)), "own", None, 0.5, 0.5, api_name="/segment")
        (kept,) = tmp_path.glob("ccformer-demo-*")

        def names() -> set[str]:
            return {path.name for path in kept.rglob("*") if path.is_file()}

        assert {"clip.mp4", "overlay.mp4", "masks.zip", "probabilities.npy", "000000.jpg"} <= names()
        end = time.monotonic() + 60
        shipped = {path.name for path in (*EXAMPLES, MARKED)}
        while names() != shipped and time.monotonic() < end:
            time.sleep(0.5)
        assert names() == shipped
    finally:
        gradio.close_all()
