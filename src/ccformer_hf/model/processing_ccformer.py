"""Clips -> inputs of the model, and its output -> maps at the size of the pictures.

Picture and sound are aligned by the times of the frames (*ours*), never by equal lengths: each frame gets the sound
around its own time, and clips of different lengths or picture sizes share a batch through padding and masks.

Letters: `B` clips, `T` frames, `K` classes with background first, `H W` picture, `h w` the model's map.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.processing_utils import ImagesKwargs, ProcessingKwargs, Unpack

from .argument_names_ccformer import refuse_misspelt, unknown_names
from .feature_extraction_ccformer import (
    CCFormerFeatureExtractor,
    Waveform,
    frame_times,
    is_batch_of_sounds,
    naming_clip,
    per_clip,
    plain_sound,
)
from .image_processing_ccformer import CCFormerImageProcessor
from .instances_ccformer import Instance, ObjectNumbers, frame_instances
from .media_ccformer import read_clip
from .pictures_ccformer import IGNORE_LABEL, SUFFIXES, read_labels, read_picture, rgb, upright
from .sureness_ccformer import without_specks, without_unsure_classes
from .timing_ccformer import FrameTiming

# Frames and sound of one clip differ in length by the rounding of a frame, or where one of them was cut off. Where
# they differ by this factor and so many seconds, the frames were probably taken at another rate than the one assumed;
# by the larger, certainly.
UNLIKELY_RATIO, UNLIKELY_GAP = 1.5, 1.0
IMPOSSIBLE_RATIO = 4.0

Array = np.ndarray | torch.Tensor
Frame = Array | Image.Image | str | Path
Clip = Array | Sequence[Frame] | Image.Image | str | Path
# A row of a data set: its columns by name.
Row = Mapping[str, Any]

# Slope and shift that leave scores as they are; the largest of either; a score is at least this far from 0 and from 1.
NOT_CALIBRATED, STEEPEST, CERTAIN = (1.0, 0.0), 10.0, 1e-6
# Floats of 0..1 that were resized may overshoot by this much.
OVERSHOOT = 1e-3


class SoundKwargs(TypedDict, total=False):
    """What the feature extractor takes beside the sound.

    Attributes:
        sampling_rate: samples per second of the sound, one for all clips or one per clip.
    """

    sampling_rate: int | float | Sequence[int | float | None] | None


class NoKwargs(TypedDict, total=False):
    """Nothing: the arguments of a part that the processor does not have."""


class AudioVisualProcessorKwargs(ProcessingKwargs, total=False):
    """What a call of `AudioVisualProcessor` takes beside the clips, by part as in any processor of transformers."""

    images_kwargs: ImagesKwargs
    audio_kwargs: SoundKwargs
    videos_kwargs: NoKwargs
    # The way that all supported versions of transformers know; newer ones also take attributes of the processor.
    _defaults = {"common_kwargs": {"return_tensors": "pt"}}


class NoTokenizer:
    """Says that there are no special tokens to the `Trainer` of transformers, which asks every processor for them."""

    eos_token_id = bos_token_id = pad_token_id = None


class AudioVisualProcessor(ProcessorMixin):
    """Frames and sound of clips -> inputs of `CCFormerForAudioVisualSegmentation`, and its output -> maps.

    Args:
        image_processor: `CCFormerImageProcessor`; left out: one with its defaults.
        feature_extractor: `CCFormerFeatureExtractor`, which also holds the alignment rule; left out: one with its
            defaults.
        fps: frames sampled per second, for video files and for frames given without their fps or timestamps.
        score_calibration: slope and shift of `confidence`, measured for the model that it belongs to.
        unseen_calibration: those of `unseen`, likewise.
        class_threshold: share of the threshold that a class has to reach somewhere in a frame to be given in it, 0..1,
            likewise, see `sure_probabilities`.
        component_threshold: share of the area of its class's largest connected component that another one needs to be
            given, 0..1, likewise; above 0 it needs scipy.

    Raises:
        ValueError: for an fps that is not positive, a calibration that is not two numbers, the first positive, or a
            class_threshold or component_threshold outside 0..1.
        TypeError: for a misspelt argument, here or in `from_pretrained`.
    """

    valid_processor_kwargs = AudioVisualProcessorKwargs
    tokenizer = NoTokenizer()

    def __init__(
        self,
        image_processor: CCFormerImageProcessor | None = None,
        feature_extractor: CCFormerFeatureExtractor | None = None,
        fps: float = 1.0,
        score_calibration: Sequence[float] = NOT_CALIBRATED,
        unseen_calibration: Sequence[float] = NOT_CALIBRATED,
        class_threshold: float = 0.0,
        component_threshold: float = 0.0,
    ):
        self.fps = FrameTiming(fps=fps).fps  # which checks it
        self.score_calibration = _checked_calibration("score_calibration", score_calibration)
        self.unseen_calibration = _checked_calibration("unseen_calibration", unseen_calibration)
        self.class_threshold = _checked_share("class_threshold", class_threshold)
        self.component_threshold = _checked_share("component_threshold", component_threshold)
        super().__init__(image_processor or CCFormerImageProcessor(), feature_extractor or CCFormerFeatureExtractor())

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "input_features", "frame_mask", "audio_mask"]

    def without_shifts(self) -> "AudioVisualProcessor":
        """One whose frames have their own sound alone, see `CCFormerFeatureExtractor.without_shifts`."""
        plain = copy(self)
        plain.feature_extractor = self.feature_extractor.without_shifts()
        return plain

    @classmethod
    def from_args_and_dict(cls, args, processor_dict: dict[str, Any], **kwargs) -> "AudioVisualProcessor":
        """The last step of `from_pretrained`, after the parts: refuses misspelt arguments."""
        ours = {"fps", "score_calibration", "unseen_calibration", "class_threshold", "component_threshold"}
        refuse_misspelt(kwargs, ours.union(cls.get_attributes()), cls.__name__)
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs) -> list[str]:
        """As in any processor of transformers; but saving leaves it equal to the one loaded from there."""
        files = super().save_pretrained(save_directory, push_to_hub, **kwargs)
        # Where the code lies is written into the file; what is loaded from there has not got it as an attribute.
        vars(self).pop("auto_map", None)
        return files

    def __call__(
        self,
        images: Clip | Row | Sequence[Clip] | Sequence[Row],
        audio: Waveform | Sequence[Waveform] = None,
        *,
        timestamps: Sequence[float] | Sequence[Sequence[float] | None] | None = None,
        segmentation_maps: Clip | Sequence[Clip] | None = None,
        label_mask: Sequence[bool] | Sequence[Sequence[bool] | None] | None = None,
        **kwargs: Unpack[AudioVisualProcessorKwargs],
    ) -> BatchFeature:
        """Prepares one clip or several. Whether it is one or several is read off `images`; all else has to follow.

        Args:
            images: frames. One clip is any of: an array or tensor `(T, H, W, 3)` or `(T, 3, H, W)`; a list of frames,
                each an array or tensor `(H, W, 3)` or `(3, H, W)`, a PIL image, or the path of a picture (.png, .jpg,
                ...); one PIL image or picture, which is a clip of one frame; the path of a video. Several clips: a
                list of those, or an array of one dimension more. Values are integers of 0..255 or floats of 0..1.
                Pictures may differ in size, clips in length. Pictures and PIL images are turned upright as their EXIF
                orientation says. Or a row of a data set, or several, see below.
            audio: sound of the clip, see `CCFormerFeatureExtractor`: samples, or what knows its rate, such as
                `{"array": samples, "sampling_rate": rate}`, `(samples, rate)` or the path of a file; None: no sound,
                or for a video file its own sound. Several clips: None, or a list with one entry per clip.
            timestamps: times (s) of the frames, counted from the first sample of the sound, one per frame; a frame
                then hears the second before its time. Left out: 15/16 into each step of 1/fps, as AVSBench does; above
                one frame per second a frame then hears the second around the middle of its step. Not for video files,
                which have their own times.
            segmentation_maps: class maps of the frames, 0 = background, 255 = ignore: an integer array or tensor
                `(T, H, W)`, or a list of `(H, W)` arrays, PIL images holding class numbers, or paths of those, None
                for a frame that is not annotated. Several clips: a list of those.
            label_mask: one bool per frame, False where it is not annotated; left out: all are.
            **kwargs: `fps`, frames per second, one for all or one per clip: at which the given frames were taken, or
                at which a video file is sampled (`"all"`: every frame); left out: the processor's. `sampling_rate`,
                samples per second of `audio`, one for all or one per clip, needed where `audio` is samples alone.
                `return_tensors`, `"pt"` (the default), `"np"` or None. Settings of the image processor for this call
                only, such as `size`. As in any processor of transformers these may also come as `images_kwargs={...}`
                and `audio_kwargs={...}`.

        A row of a data set is a dict with `frames` and, where it has them, `labels` and `annotated` (for
        `segmentation_maps` and `label_mask`), `sound` (or `audio`) and `log_mel` (AVSBench's own examples, taken where
        there is no sound), as `load_avsbench` and `load_folder` give it, in any format of `datasets`; other columns
        are passed over. Without `fps` its frames are one per second, as in every such set. Several rows: a list of
        them, or what `dataset[:8]` gives.

        Where frames come with sound but with neither `fps` nor `timestamps`, the processor's fps is assumed. Frames
        and sound that hardly belong together at it are warned of; those that cannot are refused, see
        `check_assumed_rate`.

        Returns:
            `pixel_values` float32 `(B, T, 3, h, w)`, `input_features` float32 `(B, T, 1, 96, 64)` (for another audio
            encoder than VGGish, or with `sound_shifts`, as the feature extractor makes them), `frame_mask` bool `(B,
            T)` False on padding, `audio_mask` bool `(B, T)` False where there is no sound; with segmentation maps also
            `labels` int64 `(B, T, h, w)` (nearest; 255 where padded or not annotated) and `label_mask` bool `(B, T)`.

        Raises:
            ValueError: for frames, sound, times or maps that cannot be used; the text says which of several clips,
                which frame, and what to give instead.
            TypeError: for an argument that is not there.
            MediaError: for a video that cannot be read (a ValueError too).
            OSError: for a picture file that is not there.
        """
        image_settings, sampling_rate, fps = self._call_settings(kwargs)
        return_tensors = image_settings.pop("return_tensors")
        # Whatever the form it came in, from here on everything is a list with one entry per clip.
        official: list[torch.Tensor | None] = []  # examples (T, 1, 96, 64) of clips that bring their own
        assumed_fps = self.fps
        if rows := _rows(images):
            if not (audio is None and segmentation_maps is None and label_mask is None):
                raise ValueError(
                    "images holds rows of a data set, which have sound and labels of their own; leave audio, "
                    "segmentation_maps and label_mask out"
                )
            images, audio, segmentation_maps, label_mask, official = _columns(rows, self.feature_extractor)
            assumed_fps = FrameTiming().fps
        elif _is_picture(images):
            images = [images]
        several = _is_several_clips(images)
        clips = list(images) if several else [images]  # B clips
        if not clips:
            raise ValueError("images holds no clip; give at least one")
        sounds = self._sounds_per_clip(audio, len(clips), several)
        rates = per_clip(sampling_rate, len(clips), "sampling_rate")
        times = per_clip(timestamps, len(clips), "timestamps") if several else [timestamps]
        frame_rates = per_clip(fps, len(clips), "fps")

        # Decode the pictures, and give every frame its time: sound and picture meet by these times alone.
        pictures, assumed = [], []  # per clip T arrays (H, W, 3); whether its frame rate is a guess
        for i, clip in enumerate(clips):
            with naming_clip(i, several):
                sounds[i], rates[i] = plain_sound(sounds[i], rates[i])
                is_video = isinstance(clip, (str, Path))
                # Whether sound and pictures fit is checked below where nobody said how fast the frames were taken.
                assumed.append(not is_video and times[i] is None and frame_rates[i] is None)
                if times[i] is not None and (is_video or frame_rates[i] is not None):
                    what = f"the video {clip}, which has its own" if is_video else "a clip whose fps is given too"
                    raise ValueError(f"timestamps are given for {what}; leave them out, and give fps alone")
                rate = assumed_fps if frame_rates[i] is None else frame_rates[i]
                if is_video:
                    video = read_clip(clip, rate)
                    pictures.append(video.frames)  # (T, H, W, 3)
                    times[i], frame_rates[i] = video.timestamps, video.fps  # (T,)
                    if sounds[i] is None:  # sound that is given replaces the video's own
                        sounds[i], rates[i] = video.waveform, video.sampling_rate
                else:
                    pictures.append(read_frames(clip))  # T of (H, W, 3)
                    frame_rates[i] = rate if times[i] is None else None
                    times[i] = frame_times(FrameTiming(fps=rate), times[i], len(pictures[i]))

        lengths = [len(clip) for clip in pictures]
        data = {
            "pixel_values": _padded(self._pixels(pictures, image_settings), 0.0),  # (B, T, 3, h, w)
            # input_features (B, T, E, columns, bands) and audio_mask (B, T), padded alike
            **self.feature_extractor(sounds, rates, times, frame_rates, return_tensors="pt"),
            "frame_mask": _padded([torch.ones(length, dtype=torch.bool) for length in lengths], False),  # (B, T)
        }
        for i, examples in enumerate(official):
            if examples is not None:
                data["input_features"][i, : lengths[i]] = examples
                data["audio_mask"][i, : lengths[i]] = True
        # Only now: the feature extractor has checked the sounds, whose length is compared here.
        for i, sound in enumerate(sounds):
            if assumed[i] and sound is not None:
                with naming_clip(i, several):
                    check_assumed_rate(lengths[i], assumed_fps, sound_seconds(sound, rates[i]))
        if segmentation_maps is not None:
            # One entry per clip, as `clips` has.
            maps = segmentation_maps if several else [segmentation_maps]
            masks = label_mask if several and label_mask is not None else [label_mask] * len(clips)
            size = data["pixel_values"].shape[-2:]  # (h, w): labels as large as pixel_values
            data |= _labels(maps, masks, lengths, size)
        elif label_mask is not None:
            raise ValueError("label_mask is given without segmentation_maps; give the maps too, or leave it out")
        if return_tensors != "pt":
            data = {name: tensor.numpy() for name, tensor in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def confidence(self, score: float) -> float:
        """How likely it is that a class that the model marks sounds (*ours*), 0..1.

        Platt's scaling: sigmoid(slope * logit(score) + shift), with the two numbers of `score_calibration`. It changes
        no mask, and the order of scores stays.

        Args:
            score: mean probability within the mask, 0..1.
        """
        return _scaled(score, self.score_calibration)

    def unseen(self, sounding: float) -> float:
        """How likely it is that nothing in view makes the sound that there is (*ours*), 0..1: what sounds is not in
        view, or nothing that the model knows.

        Platt's scaling again, with `unseen_calibration`, of the surest that the model is of any pixel.

        Args:
            sounding: highest 1 - P(background) of the frame, 0..1.
        """
        return 1 - _scaled(sounding, self.unseen_calibration)

    def sure_probabilities(self, probabilities: torch.Tensor, threshold: float) -> torch.Tensor:
        """Probabilities of frames without what the model is not sure enough of (*ours*).

        A class has to reach `class_threshold` of the threshold in some place of a frame to be given in it; what it has
        goes to the classes beside it and to the background (`without_unsure_classes`). Of what a class then marks,
        components smaller than `component_threshold` of its largest are left out (`without_specks`). In this order,
        and once: a class that was sure in a speck only stays where it is less sure.

        Args:
            probabilities: `(..., K, h, w)` as the model gives them, background first, 0..1, summing to 1 over K.
            threshold: from which on a pixel sounds, 0..1.

        Raises:
            ImportError: for specks to leave out, without scipy.
        """
        if self.class_threshold:
            probabilities = without_unsure_classes(probabilities, self.class_threshold * threshold)
        if self.component_threshold:
            probabilities = without_specks(probabilities, threshold, self.component_threshold)
        return probabilities

    def post_process_scores(
        self,
        outputs,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        num_frames: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        """Probability of every class at every pixel.

        Args:
            outputs: what the model returned; its `logits (B, T, K, h, w)` are used.
            target_sizes: (height, width) per clip, in pixels; left out: the size of the logits.
            num_frames: real frames of each clip (`frame_mask.sum(1)`), to cut the padding off; left out: all.

        Returns:
            Per clip float32 `(T, K, H, W)`, 0..1, summing to 1 over K. All of it is in memory at once:
            `post_process_semantic_segmentation` is the one for large pictures and many classes.

        Raises:
            ValueError: for sizes or frame counts that do not fit the outputs, or outputs that are NaN.
        """
        return [
            _resized(probabilities, size)
            for probabilities, size in _clip_probabilities(outputs, target_sizes, num_frames)
        ]

    def post_process_semantic_segmentation(
        self,
        outputs,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        threshold: float = 0.5,
        num_frames: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        """The class that sounds at every pixel.

        A pixel is not background where 1 - P(background) > threshold; there the likeliest of the other classes wins.
        Both are of the `sure_probabilities`.

        Args:
            outputs: what the model returned; its `logits (B, T, K, h, w)` are used.
            target_sizes: (height, width) per clip, in pixels; left out: the size of the logits.
            threshold: 0..1, higher marks less.
            num_frames: real frames of each clip (`frame_mask.sum(1)`), to cut the padding off; left out: all.

        Returns:
            Per clip uint8 `(T, H, W)`, 0 = background, K up to 255. Memory beyond that does not grow with T or K.

        Raises:
            ValueError: for a threshold outside 0..1, for sizes or frame counts that do not fit the outputs, or outputs
                that are NaN.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}, expected 0 (marks most) to 1 (marks nothing)")
        return [
            torch.stack(
                [class_map_at_size(frame, size, threshold) for frame in self.sure_probabilities(clip, threshold)]
            )
            for clip, size in _clip_probabilities(outputs, target_sizes, num_frames)
        ]

    def post_process_instance_segmentation(
        self,
        outputs,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        threshold: float = 0.5,
        num_frames: Sequence[int] | None = None,
    ) -> list[list[dict[str, Any]]]:
        """The objects that sound in each frame by itself; see `instances_ccformer` for what counts as one.

        Args:
            outputs: what the model returned; its `class_queries_logits (B, T, Q, K)` and `masks_queries_logits
                (B, T, Q, h, w)` are used.
            target_sizes: (height, width) per clip, in pixels; left out: the size of the logits.
            threshold: of an object's score, 0..1: probability of its label times the mean probability in its mask.
            num_frames: real frames of each clip (`frame_mask.sum(1)`), to cut the padding off; left out: all.

        Returns:
            Per clip and frame, as Mask2Former's: `segmentation`, int32 `(H, W)` of numbers from 1, 0 = nothing sounds;
            and `segments_info`, a dict with `id` (its number), `label_id` and `score` for each object, best first.

        Raises:
            ValueError: as in `post_process_semantic_segmentation`.
            ImportError: without scipy.
        """
        return [
            [
                {
                    "segmentation": _numbered(frame, range(1, len(frame) + 1), size),
                    "segments_info": [
                        {"id": number, "label_id": one.label_id, "score": one.score}
                        for number, one in enumerate(frame, 1)
                    ],
                }
                for frame in frames
            ]
            for frames, size in _clip_instances(outputs, target_sizes, threshold, num_frames)
        ]

    def post_process_video_instances(
        self,
        outputs,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        threshold: float = 0.5,
        num_frames: Sequence[int] | None = None,
    ) -> list[dict[str, Any]]:
        """The objects that sound in a clip, each with one number in all frames.

        Args, errors: as in `post_process_instance_segmentation`.

        Returns:
            Per clip `segmentation`, int32 `(T, H, W)` of numbers from 1, 0 = nothing sounds; and `segments_info`, a
            dict for each object: `id` (its number), `label_id`, `score` (mean over its frames) and `frames`, in which
            it sounds.
        """
        clips = []
        for frames, size in _clip_instances(outputs, target_sizes, threshold, num_frames):
            numbers, maps, objects = ObjectNumbers(), [], {}
            for index, frame in enumerate(frames):
                given = numbers.number([(one.label_id, one.mask) for one in frame])
                maps.append(_numbered(frame, given, size))
                for number, one in zip(given, frame, strict=True):
                    seen = objects.setdefault(number, {"label_id": one.label_id, "scores": [], "frames": []})
                    seen["scores"].append(one.score)
                    seen["frames"].append(index)
            info = [
                {"id": number, "score": float(np.mean(seen.pop("scores"))), **seen} for number, seen in objects.items()
            ]
            clips.append({"segmentation": torch.stack(maps), "segments_info": info})
        return clips

    def _call_settings(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
        """Keyword arguments of a call -> settings of the image processor, among them `return_tensors`; rate; fps."""
        # By itself: to transformers, what a processor was made with is no keyword argument of its parts.
        fps = kwargs.pop("fps", None)
        parts = AudioVisualProcessorKwargs.__annotations__
        ours = {part: set(parts[part].__annotations__) for part in ("images_kwargs", "audio_kwargs", "videos_kwargs")}
        # The library warns of some of these, and passes over others.
        known = {"images", "audio", "timestamps", "segmentation_maps", "label_mask", "fps", "common_kwargs"}
        given = [(kwargs, known.union(parts, *ours.values()))]
        given += [(kwargs.get(part, ()), known_there) for part, known_there in ours.items()]
        unknown = ", ".join(filter(None, (unknown_names(names, known_there) for names, known_there in given)))
        if unknown:
            raise TypeError(
                f"AudioVisualProcessor cannot be called with {unknown}; beside images, audio, timestamps, "
                "segmentation_maps and label_mask it takes fps, sampling_rate, return_tensors and the settings of its "
                "image processor"
            )
        # The library sorts flat arguments to the parts; `return_tensors` goes to each, we read that of the images.
        merged = self._merge_kwargs(AudioVisualProcessorKwargs, **kwargs)
        return merged["images_kwargs"], merged["audio_kwargs"].get("sampling_rate"), fps

    def _pixels(self, pictures: list[list[np.ndarray]], settings: dict[str, Any]) -> list[torch.Tensor]:
        """Frames of each clip -> its pixels `(T, 3, h, w)`, one h and w for all clips."""
        # Said, not guessed: a picture of 3 x W pixels would be taken for channels first.
        settings = {**settings, "input_data_format": "channels_last", "return_tensors": None}
        pixels = [self.image_processor(list(clip), **settings).pixel_values for clip in pictures]
        sizes = {frame.shape[-2:] for clip in pixels for frame in clip}  # each frame (3, h, w)
        if len(sizes) > 1:
            raise ValueError(
                f"the frames come out at different sizes, {sorted(sizes)}; leave do_resize on and give the image "
                'processor one size, {"height": ..., "width": ...}'
            )
        return [torch.from_numpy(np.stack(clip)) for clip in pixels]  # (T, 3, h, w)

    def _sounds_per_clip(self, audio, num_clips: int, several: bool) -> list[Waveform]:
        # A list of numbers is one sound; what else a list holds are sounds, and several of them.
        if not several:
            if is_batch_of_sounds(audio):
                raise ValueError(
                    "audio is a list of sounds but images is one clip; give the one waveform, or a list of clips"
                )
            return [audio]
        if audio is None:
            return [None] * num_clips
        if not is_batch_of_sounds(audio) or len(audio) != num_clips:
            given = f"{len(audio)} sounds" if is_batch_of_sounds(audio) else "one waveform"
            raise ValueError(
                f"audio is {given} for {num_clips} clips; give a list with one entry per clip, None for no sound"
            )
        return list(audio)


def _is_several_clips(images) -> bool:
    """Whether `images` is a list of clips (or an array with one more dimension) and not one clip."""
    if isinstance(images, (str, Path)):
        return False
    if isinstance(images, (np.ndarray, torch.Tensor)):
        if images.ndim not in (4, 5):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; expected (frames, height, width, 3) or (frames, 3, height, "
                "width) for one clip, one dimension more for several"
            )
        return images.ndim == 5
    if not isinstance(images, (list, tuple)):
        raise ValueError(
            f"images is a {type(images).__name__}; expected an array or tensor, a list of frames or clips, or a path"
        )
    # What an entry is decides: a list of pictures is one clip, a list of videos, arrays or lists several.
    are_clips = {_is_clip(item) for item in images}
    if len(are_clips) == 2:
        raise ValueError("images mixes single frames with whole clips; give a list of the ones or of the others")
    return True in are_clips


def _is_clip(item) -> bool:
    if isinstance(item, (str, Path)):
        return not _is_picture_path(item)
    if isinstance(item, (np.ndarray, torch.Tensor)):
        return item.ndim == 4
    return isinstance(item, (list, tuple))


def _is_picture(item: Any) -> bool:
    return isinstance(item, Image.Image) or (isinstance(item, (str, Path)) and _is_picture_path(item))


def _is_picture_path(path: str | Path) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


def _rows(images) -> list[Row]:
    """The rows of a data set that `images` is, one dict each; none where it is something else."""
    if isinstance(images, Mapping):
        if not _is_several_clips(_frames_of(images)):
            return [images]
        # What `dataset[:8]` gives: columns, not rows.
        return [dict(zip(images, values, strict=True)) for values in zip(*images.values(), strict=True)]
    if isinstance(images, (list, tuple)) and any(isinstance(item, Mapping) for item in images):
        if not all(isinstance(item, Mapping) for item in images):
            raise ValueError("images mixes rows of a data set with clips; give a list of the ones or of the others")
        return list(images)
    return []


def _frames_of(row: Row) -> Clip:
    if row.get("frames") is None:
        raise ValueError(
            f"a row has the columns {', '.join(map(str, row)) or '(none)'}; expected frames, and optionally labels, "
            "annotated, sound (or audio) and log_mel; rename_columns of datasets renames them"
        )
    frames = row["frames"]
    if not isinstance(frames, (list, tuple, np.ndarray, torch.Tensor, Image.Image, str, Path)):
        raise ValueError(
            f"the frames of a row are a {type(frames).__name__}; expected pictures, an array, or the path of a video, "
            'which a column cast to Video(decode=False) of datasets has under "path"'
        )
    if isinstance(frames, np.ndarray) and frames.dtype == object:  # `datasets`' arrays of arrays of different sizes
        return list(frames)
    return [frames] if _is_picture(frames) else frames


def _columns(rows: Sequence[Row], extractor: CCFormerFeatureExtractor) -> tuple[list, list, list | None, list, list]:
    """Rows -> their clips, sounds, label maps, label masks and official examples, one entry per row."""
    clips, official = [], []
    for i, row in enumerate(rows):
        with naming_clip(i, len(rows) > 1):
            clips.append(_frames_of(row))
            if row.get("sound") is not None and row.get("audio") is not None:
                raise ValueError("a row has the columns sound and audio; expected one of them, remove the other")
    sounds = [row.get("audio") if row.get("sound") is None else row["sound"] for row in rows]
    labels = [row.get("labels") for row in rows]
    without = [i for i, maps in enumerate(labels) if maps is None]
    if without and len(without) < len(rows):
        raise ValueError(f"row {without[0]} has no labels, others have; give rows with labels or without")
    for row, sound, clip in zip(rows, sounds, clips, strict=True):
        examples = row.get("log_mel")
        taken = sound is None and examples is not None and len(examples)
        repeat_last = row.get("setting") != "avss"
        official.append(extractor.official_examples(examples, len(clip), repeat_last) if taken else None)
    masks = [row.get("annotated") for row in rows]
    return clips, sounds, None if without else labels, None if without else masks, official


def read_frames(clip: Array | Sequence[Frame]) -> list[np.ndarray]:
    """The frames of one clip, each uint8 `(H, W, 3)`."""
    if not len(clip):
        raise ValueError("a clip has no frames; give at least one")
    return [_read_frame(frame, f"frame {index}") for index, frame in enumerate(clip)]


def _read_frame(frame: Frame, name: str) -> np.ndarray:
    if isinstance(frame, (str, Path)):
        frame = read_picture(frame)  # upright RGB
    elif isinstance(frame, Image.Image):
        frame = rgb(frame, name)
    frame = _as_array(frame)
    is_first, is_last = frame.ndim == 3 and frame.shape[0] == 3, frame.ndim == 3 and frame.shape[-1] == 3
    if is_first == is_last:
        unclear = ", which has its channels first or last" if is_first else ""
        raise ValueError(
            f"{name} has shape {frame.shape}{unclear}; expected (height, width, 3) or (3, height, width), RGB"
        )
    if not frame.size:
        raise ValueError(f"{name} has shape {frame.shape}, no pixels at all; expected (height, width, 3)")
    return _as_bytes(np.moveaxis(frame, 0, -1) if is_first else frame, name)  # (H, W, 3)


def _as_bytes(frame: np.ndarray, name: str) -> np.ndarray:
    """A frame of integers in 0..255, or of floats in 0..1, as uint8. Floats up to 255 could be either: refused."""
    if frame.dtype == np.uint8:
        return frame
    low, high = frame.min(), frame.max()  # NaN, where there is one
    if frame.dtype.kind in "iu" and 0 <= low and high <= 255:
        return frame.astype(np.uint8)
    if frame.dtype.kind == "f" and -OVERSHOOT <= low and high <= 1 + OVERSHOOT:
        return np.rint(frame.clip(0, 1) * 255).astype(np.uint8)
    raise ValueError(
        f"{name} is {frame.dtype} with values from {low} to {high}; expected integers 0..255 or floats 0..1, not yet "
        "normalised, which the processor does"
    )


def check_assumed_rate(num_frames: int, fps: float, seconds: float) -> None:
    """Warns of an assumed frame rate at which frames and sound hardly belong together; refuses an impossible one.

    A single frame is left alone: it says nothing of a rate.

    Args:
        num_frames: of the clip.
        fps: frames per second that are assumed, as nobody said otherwise.
        seconds: of sound.

    Raises:
        ValueError: says at what rate they would fit.
    """
    lasting = num_frames / fps  # seconds
    shorter, longer = sorted((lasting, seconds))
    # The gap lets clips of a second or two pass, where one frame more or less is a large ratio.
    if num_frames == 1 or longer - shorter <= UNLIKELY_GAP or longer <= UNLIKELY_RATIO * shorter:
        return
    message = (
        f"{num_frames} frames at {fps:g} per second, which is assumed, last {lasting:g} s, but the sound lasts "
        f"{seconds:.3g} s; give fps={num_frames / seconds:.3g} if they belong together, or timestamps, or fps={fps:g} "
        "if it really is so"
    )
    if longer >= IMPOSSIBLE_RATIO * shorter:
        raise ValueError(message)
    warnings.warn(message, stacklevel=3)


def sound_seconds(audio: Waveform, sampling_rate: float) -> float:
    """Seconds of a waveform of any form that the feature extractor takes; the longer dimension holds the samples."""
    return max(np.shape(audio)) / sampling_rate


def _as_array(values) -> np.ndarray:
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # which NumPy does not know


def _padded(clips: Sequence[torch.Tensor], value: float) -> torch.Tensor:
    """Tensors `(T_i, ...)` -> `(B, max T, ...)`, filled up with `value`."""
    if len(clips) == 1:
        return clips[0][None]  # nothing to fill up, and no copy
    return torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True, padding_value=value)


def _labels(maps, masks, lengths: list[int], size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Class maps and annotated-frame masks, one entry per clip -> `labels (B, T, h, w)`, `label_mask (B, T)`."""
    for name, entries in (("segmentation_maps", maps), ("label_mask", masks)):
        if len(entries) != len(lengths):
            raise ValueError(f"{name} has {len(entries)} entries for {len(lengths)} clips; give one entry per clip")
    labels, label_masks = [], []
    for clip_maps, mask, length in zip(maps, masks, lengths, strict=True):
        if len(clip_maps) != length:
            raise ValueError(
                f"{len(clip_maps)} segmentation maps are given for a clip of {length} frames; give one per frame"
            )
        # (T,): True where the frame is annotated
        mask = np.ones(length, dtype=bool) if mask is None else _as_array(mask).astype(bool)
        if mask.shape != (length,):
            raise ValueError(
                f"label_mask has shape {mask.shape} for a clip of {length} frames; give one bool per frame"
            )
        clip_labels = torch.from_numpy(np.stack([_read_map(class_map, size) for class_map in clip_maps]))  # (T, h, w)
        label_masks.append(torch.from_numpy(mask & [class_map is not None for class_map in clip_maps]))  # (T,)
        clip_labels[~label_masks[-1]] = IGNORE_LABEL  # whatever a map holds there, nobody annotated it
        labels.append(clip_labels)
    # (B, T, h, w) and (B, T): no loss and no score counts padding.
    return {"labels": _padded(labels, IGNORE_LABEL), "label_mask": _padded(label_masks, False)}


def _read_map(class_map: Frame | None, size: tuple[int, int]) -> np.ndarray:
    """One class map of any form, nearest to `size`, int64 `(h, w)`; all ignored where there is none."""
    if class_map is None:
        return np.full(size, IGNORE_LABEL, dtype=np.int64)
    if isinstance(class_map, (str, Path)):
        class_map = read_labels(class_map)
    elif isinstance(class_map, Image.Image):
        class_map = upright(class_map)  # as its frame is; its values, palette or not, are the ids
    class_map = _as_array(class_map)  # (H, W)
    if class_map.ndim != 2 or class_map.dtype.kind not in "biu" or not class_map.size:
        raise ValueError(
            f"a segmentation map has shape {class_map.shape} and type {class_map.dtype}; expected class numbers as "
            "integers, (height, width), 0 = background"
        )
    if class_map.shape == tuple(size):
        return class_map.astype(np.int64)
    # The pixel at the middle of each new one: class ids must not be mixed. (h,) and (w,)
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, class_map.shape, strict=True)
    )
    return class_map[rows[:, None], columns].astype(np.int64)  # (h, w)


def _scaled(probability: float, calibration: Sequence[float]) -> float:
    slope, shift = calibration
    probability = min(max(probability, CERTAIN), 1 - CERTAIN)
    return 1 / (1 + math.exp(-slope * math.log(probability / (1 - probability)) - shift))


def _checked_share(name: str, given: float) -> float:
    if not 0 <= given <= 1:
        raise ValueError(f"{name} is {given}, expected a number from 0 to 1")
    return float(given)


def _checked_calibration(name: str, given: Sequence[float]) -> list[float]:
    two = list(given) if isinstance(given, (list, tuple)) and len(given) == 2 else [None, None]
    numbers = all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in two)
    if not numbers or not all(abs(number) <= STEEPEST for number in two) or two[0] <= 0:  # NaN is refused too
        raise ValueError(
            f"{name} is {given!r}, expected a slope above 0 and a shift, both up to {STEEPEST:g}; "
            f"{list(NOT_CALIBRATED)} changes nothing"
        )
    return [float(number) for number in two]


def _clip_probabilities(outputs, target_sizes, num_frames) -> list[tuple[torch.Tensor, tuple[int, int]]]:
    """Per clip: its probabilities `(T, K, h, w)` without padded frames, and the size to resize them to."""
    logits = getattr(outputs, "logits", None)
    if logits is None:
        raise ValueError(
            f"the outputs, a {type(outputs).__name__}, have no logits: AutoModel gives the network without its head; "
            "load CCFormerForAudioVisualSegmentation (AutoModelForSemanticSegmentation) instead"
        )
    num_clips, most_frames = logits.shape[:2]  # (B, T, K, h, w)
    sizes = (
        [tuple(logits.shape[-2:])] * num_clips if target_sizes is None else [_as_size(size) for size in target_sizes]
    )
    lengths = [most_frames] * num_clips if num_frames is None else [int(length) for length in num_frames]
    for name, entries in (("target_sizes", sizes), ("num_frames", lengths)):
        if len(entries) != num_clips:
            raise ValueError(f"{name} has {len(entries)} entries for {num_clips} clips; give one entry per clip")
    if not all(1 <= length <= most_frames for length in lengths):
        raise ValueError(f"num_frames is {lengths}, but the outputs hold 1..{most_frames} frames per clip")
    # The logits are log-probabilities; in half precision their sum would be off, so softmax makes it 1 again.
    clips = [logits[i, :length].float().softmax(dim=1) for i, length in enumerate(lengths)]  # (T, K, h, w)
    for i, probabilities in enumerate(clips):
        wrong = probabilities.isnan().flatten(1).any(1)  # (T,)
        if wrong.any():
            raise ValueError(
                f"the model's output for clip {i} holds NaN in frame {int(wrong.nonzero()[0])}; its weights are "
                "damaged, or they overflow in this precision: load them again, or run it in float32 or bfloat16"
            )
    return list(zip(clips, sizes, strict=True))


def _clip_instances(
    outputs, target_sizes, threshold: float, num_frames
) -> list[tuple[list[list[Instance]], tuple[int, int]]]:
    """Per clip: the objects of each frame, and the size of the pictures."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, expected 0 (marks most) to 1 (marks nothing)")
    clips = _clip_probabilities(outputs, target_sizes, num_frames)  # which checks them
    labels, masks = outputs.class_queries_logits, outputs.masks_queries_logits  # (B, T, Q, K), (B, T, Q, h, w)
    return [
        ([frame_instances(labels[i, t], masks[i, t], size, threshold) for t in range(len(frames))], size)
        for i, (frames, size) in enumerate(clips)
    ]


def _numbered(frame: Sequence[Instance], numbers: Iterable[int], size: tuple[int, int]) -> torch.Tensor:
    """Int32 `(H, W)`: each object's number where it is."""
    found = torch.zeros(size, dtype=torch.int32)
    for number, instance in zip(numbers, frame, strict=True):
        found[torch.from_numpy(instance.mask)] = number
    return found


def _as_size(size: Sequence[int]) -> tuple[int, int]:
    # A tensor too: `target_sizes=batch["sizes"]`.
    values = tuple(int(value) for value in size) if isinstance(size, (tuple, list, torch.Tensor, np.ndarray)) else ()
    if len(values) != 2 or min(values) < 1:
        raise ValueError(
            f"an entry of target_sizes is {size!r}; expected a list of (height, width) in pixels, one per clip"
        )
    return values


def _resized(probabilities: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """`(N, K, h, w)` -> `(N, K, H, W)`. Bilinear weights sum to 1, so the probabilities still do."""
    return torch.nn.functional.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)


def class_map_at_size(probabilities: torch.Tensor, size: tuple[int, int], threshold: float) -> torch.Tensor:
    """One frame of `sure_probabilities`, `(K, h, w)` -> uint8 `(H, W)`, see `post_process_semantic_segmentation`.

    Class by class: all 71 of AVSS at 1280 x 720 would take 260 MB.
    """
    sounding = 1 - _resized(probabilities[None, :1], size)[0, 0] > threshold  # (H, W)
    # Where the others together exceed the threshold, the likeliest of them exceeds its K-th part.
    candidates = probabilities.amax(dim=(1, 2)) > threshold / len(probabilities)  # (K,)
    best = torch.zeros(size, device=probabilities.device)  # (H, W), of the classes so far
    classes = torch.zeros(size, device=probabilities.device, dtype=torch.uint8)  # (H, W), 0 = background
    for number in range(1, len(probabilities)):
        if candidates[number]:
            probability = _resized(probabilities[None, number, None], size)[0, 0]  # (H, W)
            classes.masked_fill_(sounding & (probability > best), number)
            best = torch.maximum(best, probability)
    return classes
