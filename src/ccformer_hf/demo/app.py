"""The demo's page: its layout, and which button does what; `analysis` does the work, `charts` the pictures."""

from .zero_gpu import on_gpu  # isort: skip  before PyTorch

import atexit
import filecmp
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import numpy as np
from starlette.middleware import Middleware

from ..atomic import new_scratch_folder
from ..checkpoints import CHECKPOINTS, DEFAULT_MODEL, TINY_MODEL
from ..inference.isolation import end_children
from ..model.media_ccformer import MediaError, MediaInfo
from ..stop_signals import stopped_by_signals
from .analysis import DemoResult, Drawn, analyse, borrow_sound, predict_clip, take_in
from .charts import caption_html, knows_html, note_html, result_html, second_html, surest, table_html
from .headers import SafeHeaders
from .limits import MEGABYTE, ClipRefused, Limits, check_clip
from .line import Line, LineRefused, Place, visitor_of
from .memory import share_arenas
from .models import DemoModel, Models

TITLE = "What makes the sound?"
INTRODUCTION = "Drop a clip: whatever sounds in it gets a mask, second by second. The model sees and hears at once."
CHANGE = "Is it really the sound?"
CHANGE_INTRODUCTION = (
    "The same pictures with another sound. If the model listens, the mask goes, or moves to what sounds now."
)
MODEL_VARIABLE = "CCFORMER_MODEL"
CLIPS = Path(__file__).with_name("clips")
EXAMPLES = (CHECKPOINTS / "example.mp4", CLIPS / "drum.mp4", CLIPS / "dog.mp4")
LENDERS = (CLIPS / "dog.mp4", CLIPS / "drum.mp4", CHECKPOINTS / "example.mp4")
# What the demo makes of one of them, there before anybody has chosen a clip.
MARKED = CLIPS / "drum-marked.mp4"
EXAMPLE_CAPTION = f"An example: the drawn clip {EXAMPLES[1].name} as {TINY_MODEL} marks it"
STYLE = Path(__file__).with_name("style.css")
THRESHOLD, OPACITY = 0.5, 0.5
LOOKS = (1, 2, 4)  # a second
FETCHED_AT_ONCE = 2
# What a page showed last is kept in memory until so many other pages were opened; left alone, Gradio keeps 10,000.
PAGES_KEPT = 500
OWN, SILENT, OTHER = "its own sound", "no sound", "another clip's sound"

# A click on a second, in either timeline, moves the videos there and tells the server; while a video plays, its second
# is marked.
TIMELINE_SCRIPT = """
const player = () => document.querySelector(element.closest('#changed-result') ? '#changed video' : '#overlay video');
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('.ccf-second');
  if (!chosen) return;
  document.querySelectorAll('.ccf-second').forEach(
    (second) => second.setAttribute('aria-pressed', second.dataset.index === chosen.dataset.index));
  document.querySelectorAll('#overlay video, #before video, #changed video').forEach(
    (video) => { video.pause(); video.currentTime = Number(chosen.dataset.time) + 0.05; });
  trigger('select', {index: Number(chosen.dataset.index)});
});
document.addEventListener('timeupdate', (event) => {
  if (event.target !== player()) return;
  const seconds = [...element.querySelectorAll('.ccf-second')];
  const now = seconds.findLast((second) => Number(second.dataset.time) <= event.target.currentTime);
  seconds.forEach((second) => second.classList.toggle('ccf-now', second === now));
}, true);
"""

# Players, examples and download links have no name for a screen reader when Gradio makes them.
NAMES_SCRIPT = """
() => {
  const players = {clip: 'Your clip', overlay: 'The clip with masks over what sounds', lender: 'The other clip',
    before: 'The clip with its own sound, masked', changed: 'The clip with another sound, masked'};
  const give = () => {
    for (const [id, name] of Object.entries(players))
      document.querySelectorAll(`#${id} video`).forEach((video) => video.setAttribute('aria-label', name));
    document.querySelectorAll('.gallery-item').forEach((item) => {
      const video = item.querySelector('video');
      if (!video) return;
      item.setAttribute('aria-label', 'Take the example ' + video.src.split('/').pop());
      video.setAttribute('aria-hidden', 'true');
    });
    document.querySelectorAll('a.download-link').forEach(
      (link) => link.setAttribute('aria-label', 'Download this video'));
  };
  new MutationObserver(give).observe(document.body, {childList: true, subtree: true});
  give();
}
"""


@dataclass
class Visit:
    """What one user has on the page.

    Attributes:
        model: name of the checkpoint; empty: the demo's own.
        own: the clip with its own sound.
        changed: the same with another sound.
        chosen: index of the second that is shown; None: the surest one, once it is known.
    """

    model: str = ""
    own: DemoResult | None = None
    changed: DemoResult | None = None
    chosen: int | None = None

    def results(self) -> list[DemoResult]:
        return [shown for shown in (self.own, self.changed) if shown is not None]

    def renewed(self) -> "Visit":
        """Itself, to hand back to Gradio: its time to live counts from then on, and so does that of its results."""
        for result in self.results():
            with suppress(FileNotFoundError):
                os.utime(result.folder)
        return self


class Demo:
    """Everything the page can do, without the page.

    Args:
        models: the checkpoints.
        limits: what is taken.
        folder: for the results, a folder in it for each.

    Attributes:
        line: of the clips that wait for the model.
    """

    def __init__(self, models: Models, limits: Limits, folder: Path):
        self.models = models
        self.limits = limits
        self.line = Line(limits.waiting, limits.waiting_each)
        self._root = folder
        # The arguments are pickled on ZeroGPU: names and numbers, not the model.
        self._predict_on_gpu = on_gpu(self._predict)

    def analyse(
        self, upload: str | None, model_name: str, sound: str = OWN, lender: str | None = None, looks: int = LOOKS[0]
    ) -> Iterator[float | DemoResult]:
        """Runs the model on an uploaded clip.

        Args:
            upload: the file.
            model_name: of the checkpoint; empty: the demo's own, see `_own_for`.
            sound: `OWN`, `SILENT` or `OTHER`: under which sound.
            lender: the file whose sound is put under the pictures for `OTHER`.
            looks: of the model per second, one of `LOOKS`.

        Returns:
            An iterator over the share that is done, one per frame, and the result at the end.
        """
        looks = _looks(looks)
        info = self._checked(upload)
        lender_info = self._checked(lender) if sound == OTHER else None
        model = self.model(model_name or self._own_for(upload))
        folder = self._folder()
        with _removed_on_error(folder):
            clip, info = take_in(Path(upload), info, folder, self.limits.shown, self.limits.reading)
            yield from self._analyse(folder, clip, info, model, sound, lender_info, looks)

    def analyse_again(self, own: DemoResult, sound: str, lender: str | None = None) -> Iterator[float | DemoResult]:
        """The pictures of `own` under another sound; arguments and result as in `analyse`."""
        lender_info = self._checked(lender) if sound == OTHER else None
        model = self.model(own.model["name"])
        folder = self._folder()
        with _removed_on_error(folder):
            yield from self._analyse(folder, own.clip, own.info, model, sound, lender_info, own.fps)

    def _analyse(
        self,
        folder: Path,
        clip: Path,
        info: MediaInfo,
        model: DemoModel,
        sound: str,
        lender: MediaInfo | None,
        looks: float,
    ) -> Iterator[float | DemoResult]:
        file, label = None, SILENT
        if sound == OWN:
            file, label = (clip, OWN) if info.has_audio else (None, "no sound (the clip has none)")
        elif lender is not None:
            name = Path(lender.path).name
            if not lender.has_audio:
                raise _error(f"{name} has no sound to lend; choose another clip")
            file, label = folder / "sound.wav", f"the sound of {name}"
            borrow_sound(Path(lender.path), info.duration, file)
        yield from analyse(folder, clip, info, file, label, model, self._predict_on_gpu, looks)

    def draw(self, result: DemoResult, threshold: float, opacity: float) -> Drawn:
        """What was found, drawn at a threshold and opacity of 0..1."""
        with _media_errors_shown():
            return result.draw(_share(threshold), _share(opacity))

    def second(self, result: DemoResult, index: int, threshold: float) -> str:
        """The pictures of one second of a result, as HTML."""
        frame = next(f for f in result.segment(_share(threshold)) if f.index == index)
        return second_html(result, frame)

    def model(self, name: str) -> DemoModel:
        """A checkpoint that is at hand; empty: the demo's own."""
        with _model_errors_shown():
            return self.models.get(name)

    def fetch(self, name: str) -> Iterator[float | DemoModel]:
        """A checkpoint, from the Hub where it is not at hand; see `Models.fetch`."""
        with _model_errors_shown():
            yield from self.models.fetch(name)

    def _own_for(self, upload: str) -> str:
        """The drawn examples are for the checkpoint that knows drawings, where the demo has no other of its own."""
        drawn = any(filecmp.cmp(upload, example, shallow=False) for example in EXAMPLES)
        return TINY_MODEL if drawn and self.models.own == DEFAULT_MODEL else ""

    def _checked(self, upload: str | None) -> MediaInfo:
        if not upload:
            raise _error("Choose a clip first: drop one, record one, or take an example")
        try:
            return check_clip(upload, self.limits)
        except ClipRefused as refusal:
            raise _error(str(refusal)) from None

    def _folder(self) -> Path:
        """A new one for a result. Those of pages that are no longer kept in memory, and so not removed in time, go."""
        for folder in self._root.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > 2 * self.limits.kept:
                    shutil.rmtree(folder, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self._root))

    def _predict(
        self, model_name: str, info: MediaInfo, source: MediaInfo, looks: float
    ) -> Iterator[tuple[np.ndarray, bool]]:
        yield from predict_clip(self.model(model_name), info, source, looks)


@contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    """A stop in between is an error too."""
    try:
        with _media_errors_shown():
            yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _media_errors_shown() -> Iterator[None]:
    """A clip that passed the check may still turn out to be broken, or crash what reads it."""
    try:
        yield
    except MediaError as error:
        path, _, fault = str(error).partition(": ")
        raise _error(f"{Path(path).name}: {fault}") from None


@contextmanager
def _model_errors_shown() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise _error(str(error)) from None


def _error(text: str) -> gr.Error:
    """An error for the user; the page shows errors as HTML."""
    return gr.Error(escape(text), print_exception=False)


def _share(value: float) -> float:
    """A slider's value; whoever calls the interface by hand may send anything."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise _error(f"{str(value)[:40]}: expected a number from 0 to 1")
    return float(value)


def _looks(value: float) -> float:
    """Looks per second; bounded, as the work grows with them."""
    if value not in LOOKS:
        raise _error(f"{str(value)[:40]}: expected {', '.join(map(str, LOOKS[:-1]))} or {LOOKS[-1]} looks per second")
    return float(value)


def make_app(models: Models, limits: Limits = Limits()) -> gr.Blocks:  # noqa: B008  it is frozen
    """The page.

    Args:
        models: the checkpoints; see `Models`.
        limits: what is taken.
    """
    folder = new_scratch_folder("ccformer-demo")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")  # for what is uploaded and served: gone at the end as well
    (folder / "results").mkdir()
    demo = Demo(models, limits, folder / "results")
    with gr.Blocks(title=TITLE, delete_cache=(max(1, limits.kept // 6), limits.kept), analytics_enabled=False) as app:
        visit = gr.State(Visit(), time_to_live=limits.kept, delete_callback=_remove_results)
        gr.HTML(f"<h1>{TITLE}</h1><p>{INTRODUCTION}</p>", elem_id="title")
        knows = gr.HTML(elem_id="knows", apply_default_css=False)
        with gr.Row(elem_id="work"):
            with gr.Column(scale=2, min_width=300, elem_id="given"):
                gr.HTML(note_html(limits.in_words()), elem_id="limits")
                clip = _clip_input(label="Your clip", elem_id="clip", height=300)
                gr.Examples(
                    [[str(path)] for path in EXAMPLES], [clip], label=f"Or one of these drawn clips, for {TINY_MODEL}"
                )
                looks = gr.Radio(
                    LOOKS,
                    value=LOOKS[0],
                    label="Looks per second of the next run: more follow short sounds, and take longer",
                    elem_id="looks",
                )
                with gr.Row():
                    again = gr.Button("Run again", elem_id="again", size="sm")
                    stop = gr.Button("Stop", elem_id="stop", size="sm")
            with gr.Column(scale=3, min_width=300, elem_id="marked"):
                sound_caption = gr.HTML(caption_html(EXAMPLE_CAPTION), elem_id="sound")
                overlay = _video("overlay", 380, MARKED)
                threshold = gr.Slider(
                    0, 1, THRESHOLD, step=0.01, label="Threshold: higher marks less", elem_id="threshold"
                )
                opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Opacity of the masks", elem_id="opacity")
        with gr.Column(visible=False, elem_id="results") as results:
            result = gr.HTML(elem_id="result", apply_default_css=False, js_on_load=TIMELINE_SCRIPT)
            second = gr.HTML(elem_id="second", apply_default_css=False)
            table = gr.HTML(elem_id="table", apply_default_css=False)
            with gr.Row():
                video_file = gr.DownloadButton("Overlay video", elem_id="download-video", size="sm")
                masks_file = gr.DownloadButton("Masks (PNG, zipped)", elem_id="download-masks", size="sm")
                json_file = gr.DownloadButton("What sounds when and where (JSON)", elem_id="download-json", size="sm")
            gr.HTML(f"<h2>{CHANGE}</h2><p>{CHANGE_INTRODUCTION}</p>", elem_id="change-title")
            with gr.Row():
                mute = gr.Button("Mute it", elem_id="mute")
                swap = gr.Button("Swap in the sound of another clip", elem_id="swap")
            with gr.Accordion("The other clip, for its sound", open=False, elem_id="lender-box"):
                lender = _clip_input(str(LENDERS[0]), label="The other clip", elem_id="lender", height=240)
                gr.Examples([[str(path)] for path in LENDERS], [lender], label="Drawn clips")
            with gr.Column(visible=False, elem_id="comparison") as comparison:
                with gr.Row():
                    with gr.Column(min_width=280):
                        gr.HTML(caption_html("Before"), elem_id="before-sound")
                        before = _video("before", 300)
                    with gr.Column(min_width=280):
                        changed_caption = gr.HTML(elem_id="changed-sound", apply_default_css=False)
                        changed = _video("changed", 300)
                changed_result = gr.HTML(elem_id="changed-result", apply_default_css=False, js_on_load=TIMELINE_SCRIPT)
                changed_second = gr.HTML(elem_id="changed-second", apply_default_css=False)
        with gr.Accordion("Another checkpoint", open=False, elem_id="model-box"):
            model_name = gr.Textbox(
                label="Name of a CCFormer on the Hugging Face Hub (owner/name); empty: the one that is loaded here",
                max_length=120,
                elem_id="model-name",
            )
            with gr.Row():
                load = gr.Button("Load it", elem_id="load", size="sm")
                stop_loading = gr.Button("Stop", elem_id="stop-loading", size="sm")

        shown = [sound_caption, overlay, result, second, table, video_file, masks_file, json_file]
        compared = [comparison, before, changed_caption, changed, changed_result, changed_second]
        no_comparison = [gr.Column(visible=False), None, "", None, "", ""]

        def draw_own(visit: Visit, threshold: float, opacity: float, play: bool) -> list:
            drawn = demo.draw(visit.own, threshold, opacity)
            if visit.chosen is None:
                visit.chosen = surest(drawn.segments)
            return [
                caption_html(f"What sounds, with {visit.own.sound_label}"),
                gr.Video(str(drawn.video), autoplay=play),
                result_html(visit.own, drawn.segments, visit.chosen),
                demo.second(visit.own, visit.chosen, threshold),
                table_html(drawn.segments),
                *(str(path) for path in (drawn.video, drawn.masks, drawn.json)),
            ]

        def draw_changed(visit: Visit, threshold: float, opacity: float) -> list:
            drawn = demo.draw(visit.changed, threshold, opacity)
            return [
                gr.Column(visible=True),
                str(visit.own.drawn.video),
                caption_html(f"After: with {visit.changed.sound_label}"),
                str(drawn.video),
                result_html(visit.changed, drawn.segments, visit.chosen),
                demo.second(visit.changed, visit.chosen, threshold),
            ]

        def watched(
            steps: Iterator[float | DemoResult], progress: gr.Progress, outputs: int
        ) -> Generator[list, None, DemoResult]:
            """Shows how far the analysis is. The page may stop it at any yield; one per frame would flicker."""
            progress(0, desc="reading the clip")
            for number, step in enumerate(steps):  # to its end: a result that is left before is removed
                if isinstance(step, DemoResult):
                    finished = step
                    progress(0.9, desc="drawing")
                    continue
                if number % 5 == 0:
                    yield [gr.skip()] * outputs
                progress(0.1 + 0.8 * step, desc="running the model")
            return finished

        @contextmanager
        def in_line(request: gr.Request) -> Iterator[Place]:
            """A place in the line for one clip, until all of it is shown."""
            visitor = visitor_of(request.client and request.client.host, request.session_hash)
            try:
                with demo.line.place(visitor) as place:
                    yield place
            except LineRefused as refusal:
                raise _error(str(refusal)) from None

        def waited(place: Place, progress: gr.Progress, outputs: int) -> Iterator[list]:
            for before in place.wait():
                progress(0, desc=f"in line: {before} before you")
                yield [gr.skip()] * outputs

        def run(upload, looks, visit: Visit, threshold, opacity, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            if upload is None:
                _remove_results(visit)
                yield [
                    caption_html("What sounds"),
                    *[None] * 7,
                    gr.Column(visible=False),
                    *no_comparison,
                    Visit(visit.model),
                ]
                return
            outputs = len(shown) + len(compared) + 2
            with in_line(request) as place:
                yield from waited(place, progress, outputs)
                finished = yield from watched(demo.analyse(upload, visit.model, looks=looks), progress, outputs)
                _remove_results(visit)
                visit = Visit(visit.model, finished)
                drawn = draw_own(visit, threshold, opacity, play=True)
            yield [*drawn, gr.Column(visible=True), *no_comparison, visit.renewed()]

        def run_with(sound: str, upload, visit: Visit, threshold, opacity, request: gr.Request, progress):
            if visit.own is None:
                raise _error("That result is no longer kept: press Run again")
            outputs = len(compared) + 1
            with in_line(request) as place:
                yield from waited(place, progress, outputs)
                if not visit.own.folder.is_dir():  # a new run on the same page came first
                    raise _error("That result is no longer kept: press Run again")
                finished = yield from watched(demo.analyse_again(visit.own, sound, upload), progress, outputs)
                if visit.changed is not None:
                    visit.changed.remove()
                visit.changed = finished
                drawn = draw_changed(visit, threshold, opacity)
            yield [*drawn, visit.renewed()]

        def muted(visit: Visit, threshold, opacity, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            yield from run_with(SILENT, None, visit, threshold, opacity, request, progress)

        def swapped(upload, visit: Visit, threshold, opacity, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            yield from run_with(OTHER, upload, visit, threshold, opacity, request, progress)

        def redraw(visit: Visit, threshold, opacity):
            own, changed = [[gr.skip()] * len(outputs) for outputs in (shown, compared)]
            if visit.own is not None:
                own = draw_own(visit, threshold, opacity, play=False)
            if visit.changed is not None:
                changed = draw_changed(visit, threshold, opacity)
            return [*own, *changed, visit.renewed()]

        def choose(event: gr.EventData, visit: Visit, threshold):
            index = event._data.get("index") if isinstance(event._data, dict) else None
            if visit.own is None or not isinstance(index, int) or not 0 <= index < len(visit.own.samples):
                return gr.skip(), gr.skip(), visit.renewed()
            visit.chosen = index
            both = [demo.second(result, index, threshold) for result in visit.results()]
            return both[0], both[1] if visit.changed else gr.skip(), visit.renewed()

        def use_model(name: str, visit: Visit, progress=gr.Progress()):  # noqa: B008
            progress(0, desc="fetching it")
            for step in demo.fetch(name):
                if isinstance(step, DemoModel):
                    visit.model = name
                    yield knows_html(step), visit.renewed()
                else:
                    progress(step, desc="fetching it" if step < 1 else "loading it")
                    yield gr.skip(), gr.skip()  # here the page may stop it

        def segment(upload, sound: str, lender, threshold, opacity, visit: Visit, request: gr.Request):
            with in_line(request) as place:
                for _ in place.wait():
                    pass
                *_, finished = demo.analyse(
                    upload, visit.model, {"own": OWN, "none": SILENT, "other": OTHER}[sound], lender
                )
                _remove_results(visit)
                visit = Visit(visit.model, finished)
                drawn = demo.draw(finished, threshold, opacity)
            return str(drawn.video), str(drawn.masks), drawn.segments, visit.renewed()

        app.load(lambda: knows_html(demo.model("")), None, knows, api_visibility="private")
        # Gradio's own line would be by time alone; all come in, and wait in ours.
        line = {"concurrency_id": "model", "concurrency_limit": limits.waiting + 1}
        model_work = {**line, "api_visibility": "private"}
        drawing = {"concurrency_id": "draw", "concurrency_limit": 2, "api_visibility": "private"}
        runs = [
            gr.on(
                [clip.change, again.click],
                run,
                [clip, looks, visit, threshold, opacity],
                [*shown, results, *compared, visit],
                show_progress_on=[overlay],
                trigger_mode="once",
                **model_work,
            ),
            mute.click(muted, [visit, threshold, opacity], [*compared, visit], show_progress_on=[mute], **model_work),
            swap.click(
                swapped,
                [lender, visit, threshold, opacity],
                [*compared, visit],
                show_progress_on=[swap],
                **model_work,
            ),
        ]
        stop.click(None, None, None, cancels=runs)
        gr.on(
            [threshold.change, opacity.change],
            redraw,
            [visit, threshold, opacity],
            [*shown, *compared, visit],
            show_progress_on=[overlay],
            trigger_mode="always_last",
            **drawing,
        )
        gr.on(
            [result.select, changed_result.select],
            choose,
            [visit, threshold],
            [second, changed_second, visit],
            show_progress="hidden",
            trigger_mode="always_last",
            **drawing,
        )
        # In a line of its own: others' clips are worked on while a checkpoint comes in.
        fetching = {"concurrency_id": "fetch", "concurrency_limit": FETCHED_AT_ONCE, "api_visibility": "private"}
        loading = load.click(use_model, [model_name, visit], [knows, visit], show_progress_on=[knows], **fetching)
        stop_loading.click(None, None, None, cancels=[loading])

        with gr.Column(visible=False):  # the interface for programs
            api_clip, api_lender = _clip_input(label="clip"), _clip_input(label="other clip")
            api_sound = gr.Radio(["own", "none", "other"], value="own", label="sound")
            api_threshold = gr.Slider(0, 1, THRESHOLD, label="threshold")
            api_opacity = gr.Slider(0, 1, OPACITY, label="opacity")
            api_outputs = [gr.Video(label="overlay"), gr.File(label="masks"), gr.JSON(label="segments")]
            api = gr.Button()
        api.click(
            segment,
            [api_clip, api_sound, api_lender, api_threshold, api_opacity, visit],
            [*api_outputs, visit],
            api_name="segment",
            api_description="Lays masks over what sounds in a clip: overlay video, masks, what sounds when and where.",
            **line,
        )
    return app.queue(max_size=limits.waiting, default_concurrency_limit=2)


def _clip_input(value: str | None = None, **settings) -> gr.Video:
    """A video input for files that the browser sends. No addresses: Gradio would fetch them itself, of any size."""
    webcam = gr.WebcamOptions(mirror=False, constraints={"video": {"width": 640, "height": 480}})
    clip = gr.Video(value, webcam_options=webcam, **settings)
    take_file = clip.async_move_resource_to_block_cache

    async def take(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise _error("Expected a file, not an address: download the clip, and upload it")
        return await take_file(path)

    clip.async_move_resource_to_block_cache = take
    return clip


def _video(elem_id: str, height: int, value: Path | None = None) -> gr.Video:
    """A player; its label would lie over the names that stand in the video."""
    return gr.Video(value, elem_id=elem_id, height=height, show_label=False, interactive=False)


def _remove_results(visit: Visit) -> None:
    for result in visit.results():
        result.remove()


def launch(
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
    block: bool = True,
) -> str:
    """Serves the page until Ctrl-C, SIGTERM or SIGHUP.

    Args:
        model: the checkpoint, what `load` takes; None: that of the environment variable `CCFORMER_MODEL`, else the
            default one of the package.
        host: address to listen on; None: this machine only, or that of the environment variable `GRADIO_SERVER_NAME`.
        port: None: the first free one from 7860 on, or that of `GRADIO_SERVER_PORT`.
        limits: what is taken.
        block: whether to stay until then.

    Returns:
        The page's address.
    """
    share_arenas()  # before there are threads
    with stopped_by_signals():
        models = Models(model or os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL)
        models.get()
        app = make_app(models, limits)
        _, address, _ = app.launch(
            server_name=host,
            server_port=port,
            max_file_size=limits.megabytes * MEGABYTE,
            theme=gr.themes.Default(
                primary_hue="blue",
                neutral_hue="slate",
                font=["system-ui", "sans-serif"],
                font_mono=["ui-monospace", "monospace"],
            ),
            css_paths=[STYLE],
            js=NAMES_SCRIPT,
            footer_links=["api", "gradio"],
            ssr_mode=False,
            state_session_capacity=PAGES_KEPT,
            app_kwargs={"middleware": [Middleware(SafeHeaders)]},
            prevent_thread_lock=True,
            quiet=True,  # Gradio's own lines tell to call `launch` otherwise, which a command has no word for
        )
        print(f"the page is at {address} until Ctrl-C", flush=True)
        if block:
            app.block_thread()
    if block:
        end_children()  # the process ends when the clip in work is done with, and then its files are removed
    return address
