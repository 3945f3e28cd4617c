"""The page as its users have it: a server of its own, used by programs and by a real browser."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from made_media import SoundTrack, VideoTrack, make_video, write_media
from PIL import Image

from ccformer_hf.demo.app import EXAMPLES, LENDERS, MARKED
from ccformer_hf.demo.headers import FILE, PAGE
from ccformer_hf.hub import made_ready
from ccformer_hf.inference.segmenting import segment_video
from ccformer_hf.model.media_ccformer import iter_frames, probe

SPACE = Path(__file__).resolve().parents[2] / "space"
_, DRUM, DOG = EXAMPLES
CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 120_000  # ms: on two busy cores everything takes its time


# Files called crash.mp4 crash the process that opens them, as others do by a fault of FFmpeg's.
CRASHING = """
import av, ctypes
whole = av.open
av.open = lambda path, *given, **options: (
    ctypes.string_at(0) if str(path).endswith("crash.mp4") else whole(path, *given, **options))
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Server:
    """The Space as it is published, its `app.py` in a process of its own: the same as `ccformer demo`."""

    def __init__(self, folder: Path):
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        (folder / "elsewhere").mkdir()
        self.secret = folder / "elsewhere" / "secret.mp4"
        self.secret.write_bytes(DOG.read_bytes())
        self.log = folder / "log"
        with made_ready(SPACE, "me/demo", "space") as published:
            self.space = shutil.copytree(published, folder / "space")
        port = free_port()
        environment = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "GRADIO_SERVER_PORT": str(port),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "2",
            "PYTHONPATH": os.pathsep.join([str(folder / "planted"), os.environ.get("PYTHONPATH", "")]),
        }
        (folder / "planted").mkdir()
        (folder / "planted" / "sitecustomize.py").write_text(CRASHING)
        for name in ("CCFORMER_MODEL", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(name, None)
        start = time.monotonic()
        with self.log.open("w") as log:
            # In the background, where a shell has SIGINT ignored.
            background = 'trap "" INT; exec "$0" app.py'
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", background, sys.executable],
                env=environment,
                cwd=self.space,
                stdout=log,
                stderr=log,
            )
        self.address = f"http://127.0.0.1:{port}"
        while True:
            try:
                assert httpx.get(self.address, timeout=30).status_code == 200
                break
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        self.seconds_to_first_page = time.monotonic() - start
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        self.cpu_seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    @property
    def uploads(self) -> Path:
        """Where Gradio keeps what it was sent and what it serves."""
        (folder,) = self.temporary.glob("ccformer-demo-*/gradio")
        return folder

    def alive(self) -> bool:
        return self.process.poll() is None and httpx.get(self.address, timeout=60).status_code == 200

    def megabytes(self) -> float:
        """Memory that the process holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("demo"))
    yield server
    server.stop()


@pytest.fixture
def client(server, tmp_path):
    return Client(server.address, verbose=False, download_files=str(tmp_path / "downloads"))


def segment(client, path, sound="own", other=None, threshold=0.5, opacity=0.5):
    """Overlay video, zip of masks, and the content of `segments.json`."""
    other = None if other is None else handle_file(str(other))
    return client.predict(handle_file(str(path)), sound, other, threshold, opacity, api_name="/segment")


def video_path(answer) -> Path:
    return Path(answer["video"] if isinstance(answer, dict) else answer)


def test_the_first_page_is_there_soon(server):
    assert any((server.space / "ccformer_hf").rglob("*.pyc"))  # the package beside app.py is the one that runs
    print(f"first page after {server.seconds_to_first_page:.1f} s, {server.cpu_seconds:.1f} s of them at work")
    assert server.cpu_seconds < 30  # whatever else runs; 12 s where this was written


def test_every_answer_forbids_what_is_not_the_pages_own(server):
    for path in ("/", "/config", "/gradio_api/file=/no/such"):
        headers = httpx.get(f"{server.address}{path}").headers
        assert headers["x-content-type-options"] == "nosniff" and "object-src 'none'" in PAGE
        assert headers["content-security-policy"] == (FILE if "file=" in path else PAGE)


def test_the_interface_for_programs_gives_what_segment_video_gives(client, tmp_path):
    overlay, masks, segments = segment(client, DRUM)
    result = segment_video(DRUM, tmp_path, model="ccformer-tiny", fps=1)  # which the demo takes for its drawn examples
    assert segments["source"] == result.segments["source"] and segments["model"] == result.segments["model"]
    sounding = [[(e["label"], round(e["area"], 2)) for e in f["sounding"]] for f in segments["frames"]]
    assert sounding == [[(e["label"], round(e["area"], 2)) for e in f["sounding"]] for f in result.segments["frames"]]
    assert sounding[0][0][0] == "drum"
    info = probe(video_path(overlay))
    assert (info.width, info.height, info.has_audio) == (320, 320, True)
    # What the page shows before anybody has chosen a clip is this. Where it is not, put the new one in its place:
    # ccformer segment src/ccformer_hf/demo/clips/drum.mp4 --model ccformer-tiny --fps 1 --format video
    shown = zip(iter_frames(MARKED), iter_frames(video_path(overlay)), strict=True)
    assert max(np.abs(a.astype(int) - b).mean() for (_, a), (_, b) in shown) < 1.5
    with zipfile.ZipFile(masks) as archive, archive.open("masks/000000.png") as mask:
        assert (np.array(Image.open(mask)) != np.array(Image.open(result.masks / "000000.png"))).mean() < 0.002


def test_the_sound_decides(client):
    areas = {}
    for sound, other in (("none", None), ("other", DOG)):
        overlay, _, segments = segment(client, DRUM, sound, other)
        areas[sound] = {e["label"] for f in segments["frames"] for e in f["sounding"]}
        assert probe(video_path(overlay)).has_audio is (sound == "other")
    assert areas["none"] == set() and "dog" in areas["other"]


def test_the_example_in_the_spaces_readme_runs(server, tmp_path, monkeypatch, capsys):
    readme = (SPACE / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "clip.mp4").write_bytes(DRUM.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(code.replace('"OWNER/NAME"', f"{server.address!r}, verbose=False, download_files='.'"), {})
    assert "0.0 ['drum']" in capsys.readouterr().out


def test_only_one_endpoint_is_public(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/segment"]


def uploads(folder: Path, count: int) -> list[Path]:
    """Clips that differ in colour, size and length."""
    clips = []
    for number in range(count):
        level = 20 + 25 * number

        def paint(index, width, height, level=level):
            return np.full((height, width, 3), level, dtype=np.uint8)

        size, seconds = (128 + 16 * number, 96), 1 + number % 3
        tracks = VideoTrack(size=size, fps=10, seconds=seconds, paint=paint), SoundTrack(seconds=seconds)
        clips.append(write_media(folder / "clip.mp4" if number == 0 else folder / f"clip{number}.mp4", *tracks))
    return clips


def test_eight_uploads_at_once_are_answered_and_not_mixed_up(server, tmp_path):
    clips = uploads(tmp_path, 8)
    segment(Client(server.address, verbose=False, download_files=str(tmp_path / "warm")), clips[0])
    before = server.megabytes()

    def ask(number):
        client = Client(server.address, verbose=False, download_files=str(tmp_path / f"user{number}"))
        return segment(client, clips[number])

    with ThreadPoolExecutor(8) as users:
        answers = list(users.map(ask, range(8)))
    for number, (overlay, _, segments) in enumerate(answers):
        wanted, made = probe(clips[number]), probe(video_path(overlay))
        assert segments["source"]["file"] == clips[number].name
        assert (made.width, made.height) == (wanted.width, wanted.height)
        pictures = [picture for _, picture in iter_frames(video_path(overlay))]
        assert len(pictures) == round(10 * wanted.duration)
        corner = pictures[-1][-16:, -16:]  # far from the names of what sounds
        assert abs(np.median(corner) - (20 + 25 * number)) < 8 or segments["frames"][-1]["sounding"]
    assert server.megabytes() < before + 400


def test_one_visitor_does_not_fill_the_line(client, tmp_path):
    clip = handle_file(str(make_video(tmp_path / "clip.mp4", 6.0)))
    jobs = [client.submit(clip, "none", None, 0.5, 0.5, api_name="/segment") for _ in range(6)]
    told = [str(job.exception(300)) for job in jobs]
    assert told.count("None") >= 4
    assert any("You have 4 clips in line already; wait until one of them is done" in text for text in told)


def refused(server, tmp_path, path, **arguments) -> str:
    """What the user is told; the page goes on."""
    client = Client(server.address, verbose=False, download_files=str(tmp_path / "downloads"))
    with pytest.raises((AppError, httpx.HTTPStatusError, ValueError)) as error:
        segment(client, path, **arguments)
    assert server.alive()
    told = str(error.value)
    assert str(server.temporary) not in told and "Traceback" not in told
    return told


def test_text_that_is_called_a_video(server, tmp_path):
    path = tmp_path / "words.mp4"
    path.write_text("just words\n" * 1000)
    assert "words.mp4: is not a video or sound file" in refused(server, tmp_path, path)


def test_a_play_list_that_names_another_file(server, tmp_path):
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{server.secret}\n#EXT-X-ENDLIST\n")
    assert "not a video" in refused(server, tmp_path, path)
    path.write_text(f"ffconcat version 1.0\nfile {server.secret}\n")
    assert "not a video" in refused(server, tmp_path, path)


def test_a_clip_that_crashes_what_reads_it(server, client, tmp_path):
    path = tmp_path / "crash.mp4"
    path.write_bytes(DRUM.read_bytes())
    assert "crash.mp4: reading it crashed (SIGSEGV)" in refused(server, tmp_path, path)
    assert len(segment(client, DRUM)[2]["frames"]) == 5


def test_too_large_a_file_is_refused_while_it_comes_in(server, tmp_path):
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(60_000_000)
    refused(server, tmp_path, path)
    kept = [file for file in server.temporary.rglob("*") if file.is_file() and file.stat().st_size > 50_000_000]
    assert kept == []


def test_two_gigabytes_are_only_declared(server):
    host, port = server.address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(2_000_000_000))
    connection.endheaders()
    connection.send(b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\nshort')
    before = server.megabytes()
    assert server.alive() and server.megabytes() < before + 50
    connection.close()
    assert server.alive()


def test_a_picture_of_8k(server, tmp_path):
    path = write_media(tmp_path / "huge.mp4", VideoTrack(size=(7680, 4320), fps=1, seconds=1))
    assert "7680 x 4320 pixels, at most 4096 x 2304" in refused(server, tmp_path, path)


def test_too_long_a_clip(server, tmp_path):
    path = write_media(tmp_path / "long.mp4", VideoTrack(fps=1, seconds=40))
    assert "lasts 40 seconds, at most 30" in refused(server, tmp_path, path)


def test_a_clip_without_sound_is_answered(client, tmp_path):
    overlay, _, segments = segment(client, make_video(tmp_path / "silent.mp4", 2.0, sound=False))
    assert segments["source"]["has_audio"] is False and not probe(video_path(overlay)).has_audio


def test_a_silent_clip_has_no_sound_to_lend(server, tmp_path):
    silent = make_video(tmp_path / "silent.mp4", 2.0, sound=False)
    assert "silent.mp4 has no sound to lend" in refused(server, tmp_path, DRUM, sound="other", other=silent)
    assert "Choose a clip first" in refused(server, tmp_path, DRUM, sound="other")


@pytest.mark.parametrize("arguments", [{"threshold": 7}, {"opacity": -1}, {"sound": "loud"}])
def test_numbers_and_choices_are_checked(server, tmp_path, arguments):
    refused(server, tmp_path, DRUM, **arguments)


def test_html_in_the_file_name_does_no_harm(client, server, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    path.write_bytes(DRUM.read_bytes())
    _, _, segments = segment(client, path)
    assert len(segments["frames"]) == 5
    path.write_text("words")
    assert "<img" not in refused(server, tmp_path, path)


def upload(server, path: Path, name: str) -> str:
    answer = httpx.post(f"{server.address}/gradio_api/upload", files={"files": (name, path.read_bytes())}, timeout=60)
    return answer.json()[0] if answer.status_code == 200 else ""


def call(server, data: list) -> str:
    """The answer to a hand-made request, events and all."""
    answer = httpx.post(f"{server.address}/gradio_api/call/segment", json={"data": data}, timeout=60)
    if answer.status_code != 200:
        return answer.text
    events = f"{server.address}/gradio_api/call/segment/{answer.json()['event_id']}"
    return httpx.get(events, timeout=120).text


def file_data(**fields) -> dict:
    return {"meta": {"_type": "gradio.FileData"}, **fields}


def test_no_path_outside_the_uploads_is_read(server):
    uploaded = upload(server, DRUM, "drum.mp4")
    assert '"label": "drum"' in call(server, [file_data(path=uploaded), "own", None, 0.5, 0.5])
    up = "/".join([".."] * 12)
    for path in (
        server.secret,
        f"{server.uploads}/{up}{server.secret}",
        server.secret.name,
        DOG,
        server.address,
    ):
        for file in (file_data(path=str(path)), str(path), {"video": file_data(path=str(path))}):
            answer = call(server, [file, "own", None, 0.5, 0.5])
            assert "event: error" in answer or "complete" not in answer, answer
            assert "segments" not in answer and "frames" not in answer
    answer = call(
        server, [file_data(path=f"{server.address}/file.mp4", url=f"{server.address}/x"), "own", None, 0.5, 0.5]
    )
    assert "not an address" in answer
    assert server.alive()


def test_no_path_outside_the_results_is_served(server):
    results = [path for path in server.temporary.glob("ccformer-demo-*/results/**/*") if path.is_file()]
    assert results
    up = "/".join([".."] * 12)
    for path in (
        server.secret,
        "/etc/passwd",
        results[0],
        f"{server.uploads}/{up}/etc/passwd",
        server.log,
        server.space / "app.py",
    ):
        for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file%3D"):
            answer = httpx.get(f"{server.address}{prefix}{path}")
            assert answer.status_code in (403, 404), f"{prefix}{path}"
    assert server.alive()


def test_an_upload_cannot_choose_its_folder(server):
    for name in ("../../../escaped.mp4", "/tmp/escaped.mp4", "..\\escaped.mp4"):
        stored = upload(server, DOG, name)
        assert not stored or server.uploads in Path(stored).resolve().parents
    assert list(server.secret.parent.iterdir()) == [server.secret]


def test_what_an_error_leaves_behind(server, tmp_path):
    def folders():
        return set(server.temporary.glob("ccformer-demo-*/results/*"))

    before = folders()
    path = tmp_path / "words.mp4"
    path.write_text("words")
    refused(server, tmp_path, path)
    refused(server, tmp_path, DRUM, sound="other", other=make_video(tmp_path / "mute.mp4", 1.0, sound=False))
    assert folders() == before


# --- browser


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need Playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"the browser tests need Debian's Chromium at {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(CHROMIUM),
            args=[
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(chromium):
    """One visitor, whose browser keeps what the page is made of: half of the time of a test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def page(context, server):
    page = opened(context, server)
    yield page
    page.close()


def opened(context, server):
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda said: page.problems.append(said.text) if "Security Policy" in said.text else None)
    page.goto(server.address)
    page.wait_for_selector("#knows .ccf-knows")
    return page


def analysed(page, path: Path) -> None:
    page.set_input_files("#clip input[type=file]", str(path))
    page.wait_for_selector("#result .ccf-second")


def words(page, where: str = "#result") -> str:
    return page.inner_text(f"{where} .ccf-words")


def wait_for_words(page, pattern: str, where: str = "#result") -> None:
    page.wait_for_function(
        "([where, pattern]) => new RegExp(pattern).test(document.querySelector(where + ' .ccf-words')?.innerText)",
        arg=[where, pattern],
    )


def test_an_upload_plays_with_its_masks_and_its_sound(page):
    assert "It knows these 23 classes and nothing else" in page.inner_text("#knows")
    assert "50 MB" in page.inner_text("#limits")  # told before anything is chosen
    start = time.monotonic()
    analysed(page, DRUM)
    page.wait_for_function("document.querySelector('#overlay video')?.readyState >= 2")
    print(f"first result after {time.monotonic() - start:.1f} s")
    page.eval_on_selector("#overlay video", "video => video.play()")
    page.wait_for_function("document.querySelector('#overlay video').currentTime > 1")
    state = page.eval_on_selector(
        "#overlay video", "v => [v.videoWidth, Math.round(v.duration), v.muted, v.webkitAudioDecodedByteCount > 0]"
    )
    assert state == [320, 5, False, True]
    assert words(page).startswith("With its own sound: drum 4 s")
    labels = [second.get_attribute("aria-label") for second in page.query_selector_all("#result .ccf-second")]
    surest = max(int(share) for share in re.findall(r"(\d+) % sure", " ".join(labels)))
    assert f"{surest} % sure" in page.get_attribute("#result .ccf-second[aria-pressed=true]", "aria-label")
    assert page.problems == []


def test_an_example_is_one_click(page):
    page.wait_for_function("document.querySelector('#overlay video')?.readyState >= 1")  # marked, before any click
    assert "the drawn clip drum.mp4 as ccformer-tiny marks it" in page.inner_text("#sound")
    assert not page.is_visible("#result")
    page.click("#clip >> xpath=following::*[contains(@class, 'gallery-item')][1]")
    page.wait_for_selector("#result .ccf-second")
    assert len(page.query_selector_all("#result .ccf-second")) == 10


def test_the_model_looks_twice_a_second(page):
    page.click("#looks >> text=2")
    analysed(page, DRUM)
    assert len(page.query_selector_all("#result .ccf-second")) == 10


def test_a_second_shows_its_frame_its_mask_and_its_probability(page):
    analysed(page, DRUM)
    page.focus("#result .ccf-second[data-index='3']")
    page.keyboard.press("Enter")
    wait_for_words(page, "^0:03 to 0:04", "#second")
    images = page.query_selector_all("#second img")
    assert len(images) == 3 and all(image.get_attribute("alt") for image in images)
    assert all(page.evaluate("image => image.naturalWidth", image) == 320 for image in images)
    assert page.get_attribute("#result .ccf-second[data-index='3']", "aria-pressed") == "true"
    assert 3 <= page.eval_on_selector("#overlay video", "video => video.currentTime") < 4


def test_the_threshold_acts_without_the_model(page):
    analysed(page, DRUM)
    before, video = words(page), page.get_attribute("#overlay video", "src")
    page.fill("#threshold input[type=number]", "1")
    page.press("#threshold input[type=number]", "Enter")
    wait_for_words(page, "nothing is marked")
    assert words(page) != before and "Lower the threshold" in page.inner_text("#result")
    page.wait_for_function("old => document.querySelector('#overlay video').src !== old", arg=video)


def test_mute_and_swap_change_the_mask(page):
    analysed(page, DRUM)
    page.click("#mute")
    wait_for_words(page, "^With no sound: nothing is marked", "#changed-result")
    page.click("#swap")
    wait_for_words(page, r"^With the sound of dog.mp4: dog \d s", "#changed-result")
    page.wait_for_function("document.querySelector('#changed video').readyState >= 2")
    assert words(page).startswith("With its own sound: drum 4 s")
    assert LENDERS[0].name in page.inner_text("#changed-sound")
    page.click("#changed-result .ccf-second[data-index='4']")  # one second is chosen in both
    wait_for_words(page, "^0:04 to 0:05, with its own sound", "#second")
    wait_for_words(page, "^0:04 to 0:05, with the sound of dog.mp4", "#changed-second")
    assert page.get_attribute("#result .ccf-second[data-index='4']", "aria-pressed") == "true"
    assert page.problems == []


def test_downloads(page, tmp_path):
    analysed(page, DRUM)
    files = {}
    for name in ("video", "masks", "json"):
        page.wait_for_selector(f"#download-{name}")
        with page.expect_download() as download:
            page.click(f"#download-{name}")
        files[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[name])
    assert [file.name for file in files.values()] == ["overlay.mp4", "masks.zip", "segments.json"]
    assert probe(files["video"]).has_audio
    with zipfile.ZipFile(files["masks"]) as archive:
        assert len(archive.namelist()) == 5
    assert len(json.loads(files["json"].read_text())["frames"]) == 5


def test_stop(page, server, tmp_path):
    results = set(server.temporary.glob("ccformer-demo-*/results/*"))
    assert not page.is_visible("#again") and not page.is_visible("#stop")  # there is nothing to run or to stop
    page.set_input_files("#clip input[type=file]", str(make_video(tmp_path / "long.mp4", 30.0, size=(640, 360))))
    page.wait_for_selector("text=running the model")
    page.click("#stop")
    end = time.monotonic() + 60
    while set(server.temporary.glob("ccformer-demo-*/results/*")) != results and time.monotonic() < end:
        page.wait_for_timeout(500)
    assert set(server.temporary.glob("ccformer-demo-*/results/*")) == results  # it has stopped, and cleaned up
    assert not page.is_visible("#result .ccf-second") and not page.is_visible("#stop")
    page.click("#again")  # and on it goes
    page.wait_for_selector("#result .ccf-second")
    page.wait_for_selector("#stop", state="hidden")
    assert len(page.query_selector_all("#result .ccf-second")) == 30


def test_a_refusal_is_told_on_the_page(page, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    path.write_text("just words " * 100)
    page.set_input_files("#clip input[type=file]", str(path))
    page.wait_for_selector("text=is not a video or sound file")
    assert page.query_selector("img[src='x']") is None


def test_two_visitors_do_not_see_each_others_clips(chromium, server):
    contexts = [chromium.new_context() for _ in range(2)]
    pages = [opened(context, server) for context in contexts]
    for page, clip in zip(pages, (DRUM, DOG), strict=True):
        page.set_input_files("#clip input[type=file]", str(clip))
    for page, name in zip(pages, ("drum", "dog"), strict=True):
        page.wait_for_selector("#result .ccf-second")
        assert words(page).startswith(f"With its own sound: {name}")
    for context in contexts:
        context.close()


def test_a_clip_recorded_by_webcam(chromium, server):
    context = chromium.new_context(permissions=["camera", "microphone"])
    page = opened(context, server)
    page.click("#clip [aria-label='Capture from camera']")
    page.click("#clip >> text=/access/i")
    page.click("#clip .capture-button")  # record
    page.wait_for_timeout(3000)
    page.click("#clip .capture-button")  # stop
    page.wait_for_selector("#result .ccf-second")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_dark_and_phone(chromium, server, scheme):
    """Nothing sticks out, and text stands out from what is behind it; in a wide window and in a narrow one."""
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 860})
    page = opened(context, server)
    analysed(page, DRUM)
    page.wait_for_function("document.querySelector('#overlay video')?.readyState >= 2")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        bottom = page.eval_on_selector("#overlay video", "video => video.getBoundingClientRect().bottom + scrollY")
        assert bottom <= 844  # the result is there without scrolling
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for where in (
            "#title p",
            "#knows p",
            "#limits p",
            "#result .ccf-words",
            "#result .ccf-clock",
            "#table td",
            "#table caption",
        ):
            assert contrast(page, where) >= 4.5, where
        folder = os.environ.get("CCFORMER_SCREENSHOTS")
        if folder:
            page.screenshot(path=f"{folder}/{scheme}-{width}.png", full_page=True)
    context.close()


def contrast(page, where: str) -> float:
    """Of text against the page, as WCAG counts it: 4.5 is readable."""
    colours = page.eval_on_selector(
        where,
        """(element) => {
          const paint = (colour) => { const c = document.createElement('canvas').getContext('2d');
            c.fillStyle = getComputedStyle(document.body).backgroundColor; c.fillRect(0, 0, 1, 1);
            c.fillStyle = colour; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3); };
          return [paint(getComputedStyle(element).color), paint('transparent')];
        }""",
    )
    linear = np.array(colours) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


NAMELESS = """
() => [...document.querySelectorAll('button, a, input, img, video')]
  .filter((e) => e.offsetParent && !e.ariaHidden).filter((e) => {
  const labels = [...(e.labels || [])].map((label) => label.innerText).join('');
  return !(e.getAttribute('aria-label') || e.alt || e.title || e.innerText || labels).trim();
}).map((e) => e.outerHTML)
"""


def test_everything_has_a_name_for_a_screen_reader(page):
    analysed(page, DRUM)
    page.click("#mute")
    page.wait_for_selector("#changed video")
    page.wait_for_selector("#changed-second img")
    assert page.evaluate(NAMELESS) == []
    assert page.get_attribute(".gallery-item >> nth=1", "aria-label") == f"Take the example {DRUM.name}"


def test_ctrl_c_leaves_nothing_behind(server, client):
    """Stands last: it stops the server of this file."""
    segment(client, DRUM)
    assert any(path.is_file() for path in server.temporary.rglob("*"))
    told = len(server.log.read_text())
    server.stop()
    assert [path for path in server.temporary.rglob("*") if path.is_file()] == []
    assert "Traceback" not in server.log.read_text()[told:]
