"""Sound of a clip -> log-mel examples of each frame, for VGGish or for another audio encoder.

VGGish's front end is its own (*lineage*): 25 ms Hann windows every 10 ms, not centred and not padded; FFT of 512;
magnitudes; 64 HTK mel bands, 125-7500 Hz, triangles drawn in mel space; log(x + 0.01); 96 columns = 0.96 s per
example. What differs from VGGish (*ours*): which 0.96 s a frame gets is decided by the time of the frame (see
`timing_ccformer`), not by counting examples, and a silent or missing second is marked in `audio_mask` instead of
passing as a spectrogram of zeros.

Another audio encoder hears the same second, 0.975 s at its own sampling rate, through its own feature extractor of
transformers, which fills it up to the encoder's window: AST's with zeros (with `max_length` 96 there is nothing to
fill), CLAP's by repeating it over ten seconds.

A model with an audio classifier may hear a frame's sound several times, each a little sooner or later (`sound_shifts`,
*ours*): see `ever_longer` in `audio_classifier_ccformer`.

Letters: `B` clips, `T` frames, `E` examples of a frame, its own first, `S` samples, `C` channels.
"""

import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchaudio.functional import resample
from transformers import ASTFeatureExtractor, BatchFeature, ClapFeatureExtractor, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from .argument_names_ccformer import refuse_misspelt, unknown_names
from .media_ccformer import read_sound
from .timing_ccformer import EXAMPLE_COLUMNS, LOWEST_RATE, SAMPLING_RATE, FrameTiming

MEL_BANDS = 64
MEL_LOW_HZ, MEL_HIGH_HZ = 125.0, 7500.0
FFT_LENGTH = 512
LOG_OFFSET = 0.01

# Float PCM lies in -1..1 (decoders and resamplers overshoot a little); integers turned to float reach 32768.
LARGEST_SAMPLE = 16.0
# torchaudio's kernel grows with both terms of the reduced ratio of rates: 44101 Hz would take gigabytes. The nearest
# ratio of small numbers is exact for the common rates, 2e-6 off for 47952, 44056 and their like (5e-4 at the worst).
LARGEST_DENOMINATOR = 1000
MOST_SHIFTS, LARGEST_SHIFT = 16, 2.0  # s
EDGE_SECONDS = 0.1  # at either end of a shifted example, in each of which there has to be sound
# Examples transformed at once, so that memory does not grow with the number of frames.
EXAMPLES_AT_ONCE = 64

# Those of other audio encoders, by the names that they are saved under.
ENCODER_EXTRACTORS = {kind.__name__: kind for kind in (ASTFeatureExtractor, ClapFeatureExtractor)}
# The largest of each setting, as a saved one may come from anywhere.
LARGEST_SETTINGS = {
    "feature_size": 256,
    "num_mel_bins": 256,
    "sampling_rate": 48000,
    "max_length": 4096,  # columns
    "max_length_s": 30,
    "hop_length": 4800,
    "fft_window_size": 8192,
}

# What integer samples are divided by, so that they lie in -1..1.
PCM = {torch.int16: 2.0**15, torch.int32: 2.0**31}

Samples = np.ndarray | torch.Tensor | Sequence[float]
# The samples alone, or with their rate: (samples, rate), {"array": samples, "sampling_rate": rate} as `datasets` gives
# it, an AudioDecoder of torchcodec, or a file.
Waveform = Samples | tuple[Samples, float] | Mapping[str, Any] | str | Path | None


class CCFormerFeatureExtractor(SequenceFeatureExtractor):
    """Waveforms -> `input_features (B, T, E, 96, 64)` and `audio_mask (B, T)`.

    Args:
        feature_size: mel bands; those of the front end, VGGish's 64, are the only ones.
        sampling_rate: samples per second the spectrogram is made from; that of the front end, VGGish's 16000, is the
            only one. Sound at any other rate is resampled.
        padding_value: value of the features where there is no sound.
        alignment: which sound a frame gets, `"frame"` (ours) or `"avsbench"` (lineage), see `timing_ccformer`.
        silence_threshold: an example whose largest |sample| is below this counts as no sound (ours). 0 switches
            it off.
        encoder_extractor: front end of another audio encoder (ours), an `ASTFeatureExtractor` or a
            `ClapFeatureExtractor`, or its settings as `to_dict` gives them; the examples are then `(columns,
            bands)` of what it makes. None: VGGish's.
        sound_shifts: list of the seconds by which further examples of each frame start later than its own, negative:
            sooner (ours); at most 16, each within -2..2; the nearest come first, in whatever order they are given.
            Only a model with `use_audio_classifier` makes use of them.

    Raises:
        ValueError: for a feature size, sampling rate, alignment, threshold or shifts that cannot be.
        TypeError: for a misspelt argument.
    """

    model_input_names = ["input_features", "audio_mask"]

    def __init__(
        self,
        feature_size: int | None = None,
        sampling_rate: int | None = None,
        padding_value: float = 0.0,
        alignment: str = "frame",
        silence_threshold: float = 1e-4,
        encoder_extractor: ASTFeatureExtractor | ClapFeatureExtractor | Mapping[str, Any] | None = None,
        sound_shifts: Sequence[float] = (),
        **kwargs,
    ):
        if isinstance(encoder_extractor, Mapping):
            encoder_extractor = encoder_extractor_of(encoder_extractor)
        whose, bands, rate = "VGGish", MEL_BANDS, SAMPLING_RATE
        if encoder_extractor is not None:
            whose, rate = type(encoder_extractor).__name__, encoder_extractor.sampling_rate
            bands = spectrogram_shape(encoder_extractor)[1]
        feature_size = bands if feature_size is None else feature_size
        sampling_rate = rate if sampling_rate is None else sampling_rate
        if (feature_size, sampling_rate) != (bands, rate):
            raise ValueError(
                f"feature_size={feature_size}, sampling_rate={sampling_rate}: the front end of {whose} is fixed to "
                f"{bands} bands at {rate} Hz. Leave both out; sound at another rate is resampled"
            )
        if not silence_threshold >= 0:
            raise ValueError(f"silence_threshold is {silence_threshold}, expected 0 (off) or greater")
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        refuse_misspelt(kwargs, self.settings(), type(self).__name__)
        timing = FrameTiming(alignment=alignment)
        self.alignment = alignment
        self.silence_threshold = silence_threshold
        self.encoder_extractor = encoder_extractor
        self.sound_shifts = checked_shifts(sound_shifts)
        # float64: beside a loud tone, float32 rounding of the FFT puts the quiet bands 3e-4 off (measured).
        # The base class leaves these two names out of the saved JSON. Of VGGish's rate, whoever hears.
        self.window = torch.hann_window(timing.window_samples, periodic=True, dtype=torch.float64)
        # (FFT bins, 64); HTK's scale and unnormalised triangles, as in the TensorFlow original, not librosa's
        # defaults.
        self.mel_filters = torch.from_numpy(
            mel_filter_bank(
                FFT_LENGTH // 2 + 1,
                MEL_BANDS,
                MEL_LOW_HZ,
                MEL_HIGH_HZ,
                SAMPLING_RATE,
                norm=None,
                mel_scale="htk",
                triangularize_in_mel_space=True,
            )
        )

    @property
    def example_shape(self) -> tuple[int, int]:
        """Columns and bands of one example."""
        if self.encoder_extractor is None:
            return EXAMPLE_COLUMNS, MEL_BANDS
        return spectrogram_shape(self.encoder_extractor)

    @property
    def examples_per_frame(self) -> int:
        """E: its own, and one for each of `sound_shifts`."""
        return 1 + len(self.sound_shifts)

    @property
    def seconds_before(self) -> float:
        """How much sooner than a frame's own example the sound begins that its examples are made of."""
        return max([0.0, *(-shift for shift in self.sound_shifts)])

    @property
    def frame_samples(self) -> int:
        """Samples of the sound that all examples of one frame are made of."""
        around = self.seconds_before + max([0.0, *self.sound_shifts])
        return FrameTiming(sampling_rate=self.sampling_rate).example_samples + round(around * self.sampling_rate)

    def without_shifts(self) -> "CCFormerFeatureExtractor":
        """One that makes a frame's own example alone: to train with, as labels are of a frame's own second, and where
        later sound is not there yet."""
        plain = copy(self)
        plain.sound_shifts = []
        return plain

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, with the settings of another encoder's extractor where there is one."""
        output = super().to_dict()
        encoder_extractor = output.pop("encoder_extractor")
        if encoder_extractor is not None:
            names = sorted(encoder_settings(type(encoder_extractor)))
            settings = {name: getattr(encoder_extractor, name) for name in names}
            kind = {"feature_extractor_type": type(encoder_extractor).__name__}
            output["encoder_extractor"] = kind | settings
        return output

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict[str, Any], **kwargs) -> "CCFormerFeatureExtractor":
        """The last step of `from_pretrained`: refuses misspelt arguments."""
        refuse_misspelt(kwargs, cls.settings(), cls.__name__)
        return super().from_dict(feature_extractor_dict, **kwargs)

    @classmethod
    def settings(cls) -> set[str]:
        """Names of all that can be set, of ours and of the base class."""
        ours = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
        return ours | {"padding_side", "return_attention_mask"}

    def log_mel(self, waveform: np.ndarray | torch.Tensor) -> torch.Tensor:
        """VGGish's log-mel of mono sound at 16 kHz (lineage).

        Args:
            waveform: float samples in -1..1, `(S,)` or, for many pieces of one length, `(..., S)`.

        Returns:
            float32 `(columns, 64)` or `(..., columns, 64)`, `columns = 1 + (S - 400) // 160` (0 for S < 400).
        """
        samples = as_tensor(waveform).to(torch.float64)  # (..., S)
        timing = FrameTiming()
        if samples.shape[-1] < timing.window_samples:
            return torch.zeros(*samples.shape[:-1], 0, MEL_BANDS)
        windows = samples.unfold(-1, timing.window_samples, timing.hop_samples)  # (..., columns, 400)
        magnitudes = torch.fft.rfft(windows * self.window, n=FFT_LENGTH).abs()  # (..., columns, 257)
        return torch.log(magnitudes @ self.mel_filters + LOG_OFFSET).to(torch.float32)  # (..., columns, 64)

    def examples(self, sound: torch.Tensor) -> torch.Tensor:
        """Pieces of sound `(N, samples)`, of `FrameTiming.example_samples` at `sampling_rate` -> `(N, columns, bands)`
        float32."""
        if self.encoder_extractor is None:
            return self.log_mel(sound)
        made = self.encoder_extractor(list(sound.numpy()), sampling_rate=self.sampling_rate, return_tensors="pt")
        spectrograms = made[self.encoder_extractor.model_input_names[0]].to(torch.float32)
        # CLAP's has four alike for a fused one, or one: (N, 4, columns, bands), (N, 1, columns, bands).
        return spectrograms if spectrograms.ndim == 3 else spectrograms[:, 0]

    def official_examples(self, examples: Samples, length: int, repeat_last: bool) -> torch.Tensor:
        """AVSBench's own log-mel examples `(T', 1, 96, 64)` -> one per frame, E times, `(length, E, 96, 64)` float32.

        Args:
            examples: as its authors give them out, at least one.
            length: frames of the clip.
            repeat_last: what stands in where there are too few: the last one (s4, ms3), or zeros (avss) (lineage).

        Raises:
            ValueError: where the front end is another encoder's.
        """
        if self.encoder_extractor is not None:
            raise ValueError(
                "the clip has no sound but AVSBench's own log-mel examples, which are VGGish's, and the model hears "
                f"through {type(self.encoder_extractor).__name__}; give the clip its sound, the audio_wav of AVSBench"
            )
        examples = as_tensor(examples)[:length].to(torch.float32)
        filling = examples[-1:] if repeat_last else torch.zeros_like(examples[-1:])
        examples = torch.cat([examples, filling.expand(length - len(examples), -1, -1, -1)])
        return examples.repeat(1, self.examples_per_frame, 1, 1)

    def __call__(
        self,
        audio: Waveform | Sequence[Waveform],
        sampling_rate: float | Sequence[float | None] | None = None,
        timestamps: Sequence[float] | Sequence[Sequence[float]] | None = None,
        fps: float | Sequence[float | None] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Turns the sound of one clip, or of several, into log-mel examples: one per frame, or E with `sound_shifts`.

        Args:
            audio: one clip: samples, as floats in -1..1 or integers of 16 or 32 bits, in an array or tensor `(S,)`,
                `(C, S)` or `(S, C)` (the smaller dimension is taken for the channels, which are averaged), or in a
                list of floats; a sound with its rate, see `plain_sound`; or None for a clip without sound. Several
                clips: a list of those.
            sampling_rate: samples per second of `audio`, or one per clip; required where only samples are given.
            timestamps: times (s, from the start of the sound) of the clip's frames; for several clips a list with one
                sequence each. Left out: frames at `fps`.
            fps: frames per second of the clip, or one per clip: above 1 a frame hears the second around the middle of
                its own step. None: 1, as AVSBench has, or of given times unknown.
            return_tensors: `"pt"`, `"np"`, or None (NumPy arrays).

        Returns:
            `input_features` float32 `(B, T, E, 96, 64)`, of another encoder `(B, T, E, *example_shape)`, T the most
            frames of any clip; `audio_mask` bool `(B, T)`, False where there is no sound: no track, silence, beyond
            the end, or the padding of a shorter clip. There the features are `padding_value`. E is 1 without
            `sound_shifts`; a shifted example that begins or ends in a tenth of a second of silence, as one that
            reaches over an end of the clip does, is replaced by the frame's own.

        Raises:
            ValueError: for sound or times that cannot be used; the text says what to give instead.
        """
        several = is_batch_of_sounds(audio)
        clips = list(audio) if several else [audio]
        if not clips:
            raise ValueError("audio is an empty list; give at least one clip (None for a clip without sound)")
        rates = per_clip(sampling_rate, len(clips), "sampling_rate")
        times = per_clip(timestamps, len(clips), "timestamps") if several else [timestamps]
        frame_rates = per_clip(fps, len(clips), "fps")
        clip_examples = []
        for i, clip in enumerate(zip(clips, rates, times, frame_rates, strict=True)):
            with naming_clip(i, len(clips) > 1):
                clip_examples.append(self._examples(*clip))

        num_frames = max(len(mask) for _, mask in clip_examples)
        shape = (len(clips), num_frames, self.examples_per_frame, *self.example_shape)
        features = torch.full(shape, self.padding_value, dtype=torch.float32)  # (B, T, E, columns, bands)
        audio_mask = torch.zeros(shape[:2], dtype=torch.bool)  # (B, T)
        for row, (examples, mask) in enumerate(clip_examples):
            features[row, : len(mask)][mask] = examples[mask]
            audio_mask[row, : len(mask)] = mask
        data = {"input_features": features.numpy(), "audio_mask": audio_mask.numpy()}
        return BatchFeature(data, tensor_type=return_tensors)

    def _examples(
        self, audio: Waveform, rate: float | None, timestamps: Sequence[float] | None, fps: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One clip -> log-mel `(T, E, columns, bands)` and where it holds sound `(T,)`."""
        audio, rate = plain_sound(audio, rate)
        waveform = None if audio is None else self._resampled_mono(audio, rate)  # (S,)
        timing = FrameTiming(1.0 if fps is None else fps, self.sampling_rate, self.alignment)
        num_frames = None  # as many as there are timestamps
        if timestamps is None:
            if waveform is None:
                raise ValueError(
                    "a clip without sound needs timestamps, the times (s) of its frames: one example is made per frame"
                )
            num_frames = timing.num_frames(len(waveform) / self.sampling_rate)
        times = frame_times(timing, timestamps, num_frames)  # (T,)
        if waveform is None:
            nothing = torch.zeros(len(times), self.examples_per_frame, *self.example_shape)
            return nothing, torch.zeros(len(times), dtype=torch.bool)
        starts = torch.from_numpy(timing.sound_start_samples(times))[:, None]  # (T, 1)
        shifts = torch.tensor([0, *(round(shift * self.sampling_rate) for shift in self.sound_shifts)])  # (E,)
        # Silence before the beginning, and beyond the end: one example of zeros, and no start reaches further.
        starts = (starts + shifts).clamp(-timing.example_samples, len(waveform))  # (T, E)
        before = max(0, -int(starts.min()))
        starts = starts + before
        waveform = torch.nn.functional.pad(waveform, (before, timing.example_samples))  # (S + 15600,), at 16 kHz
        pieces = waveform.unfold(0, timing.example_samples, 1)  # (S + 1, 15600), a view: one piece from each sample on
        edge = round(EDGE_SECONDS * self.sampling_rate)
        examples, mask, whole = [], [], []
        # Once each: what starts a second later than one frame of a clip may be the next one's own.
        needed, places = starts.unique(return_inverse=True)  # (n,), (T, E)
        for some_starts in needed.split(EXAMPLES_AT_ONCE):
            sound = pieces[some_starts]  # (n, 15600)
            examples.append(self.examples(sound))  # (n, columns, bands)
            loud = sound.abs() >= self.silence_threshold  # (n, 15600)
            mask.append(loud.any(dim=1))  # (n,)
            whole.append(loud[:, :edge].any(dim=1) & loud[:, -edge:].any(dim=1))  # (n,)
        own = places[:, :1]
        # What reaches over an end of the clip, or of its sound, says less of the frame than its own example.
        places = torch.where(torch.cat(whole)[places], places, own)
        return torch.cat(examples)[places], torch.cat(mask)[own[:, 0]]  # (T, E, columns, bands), (T,)

    def _resampled_mono(self, audio: Samples, rate: float | None) -> torch.Tensor:
        waveform = as_tensor(audio)
        waveform = waveform.to(torch.float32) / PCM[waveform.dtype] if waveform.dtype in PCM else waveform
        _check_waveform(waveform)
        _check_rate(rate)
        waveform = waveform.to(torch.float32)
        if waveform.ndim == 2:
            # (C, S) or (S, C) -> (S,): a clip has fewer channels than samples
            waveform = waveform.mean(dim=0 if waveform.shape[0] < waveform.shape[1] else 1)
        return resampled(waveform, rate, self.sampling_rate)


def encoder_settings(kind: type[SequenceFeatureExtractor]) -> set[str]:
    """Names of the settings of an encoder's extractor."""
    return set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"}


def encoder_extractor_of(settings: Mapping[str, Any]) -> ASTFeatureExtractor | ClapFeatureExtractor:
    """The extractor that saved settings describe, `feature_extractor_type` among them.

    Raises:
        ValueError: for one that is not offered, or settings that it has not or that are beyond `LARGEST_SETTINGS`.
    """
    settings = dict(settings)
    name = settings.pop("feature_extractor_type", None)
    if name not in ENCODER_EXTRACTORS:
        raise ValueError(
            f"encoder_extractor has feature_extractor_type {name!r}, expected {' or '.join(ENCODER_EXTRACTORS)}"
        )
    unknown = unknown_names(settings, encoder_settings(ENCODER_EXTRACTORS[name]))
    if unknown:
        raise ValueError(f"encoder_extractor, a {name}, has no setting {unknown}")
    for setting, most in LARGEST_SETTINGS.items():
        value = settings.get(setting, 1)
        if not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"encoder_extractor has {setting} {value!r}, expected a whole number from 1 to {most}")
    extractor = ENCODER_EXTRACTORS[name](**settings)
    columns = spectrogram_shape(extractor)[0]
    if columns > LARGEST_SETTINGS["max_length"]:
        raise ValueError(
            f"encoder_extractor makes {columns} columns of a sound, expected at most "
            f"{LARGEST_SETTINGS['max_length']}; give it a longer hop_length"
        )
    return extractor


def spectrogram_shape(extractor: ASTFeatureExtractor | ClapFeatureExtractor) -> tuple[int, int]:
    """Columns and bands of what an encoder's extractor makes of a piece of sound."""
    if isinstance(extractor, ASTFeatureExtractor):
        return extractor.max_length, extractor.num_mel_bins
    return extractor.nb_max_samples // extractor.hop_length + 1, extractor.feature_size


def frame_times(timing: FrameTiming, timestamps: Sequence[float] | None, num_frames: int | None) -> np.ndarray:
    """Times (s) of a clip's frames, float64 `(T,)`: those given, or else the regular ones of `timing`.

    Args:
        timing: of the clip.
        timestamps: the times, if they are given.
        num_frames: of the clip; None where only the timestamps tell.

    Raises:
        ValueError: for times that are not one finite number per frame.
    """
    if timestamps is None:
        return timing.frame_times(num_frames)
    times = np.asarray(timestamps, dtype=np.float64)
    if num_frames is not None and times.shape != (num_frames,):
        raise ValueError(
            f"timestamps have shape {times.shape} for a clip of {num_frames} frames; give one time (s) per frame"
        )
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all():
        raise ValueError(
            f"timestamps are {timestamps!r}; expected the time (s) of each frame, at least one, all finite"
        )
    return times


def resampled(waveform: torch.Tensor, rate: float, new_rate: float) -> torch.Tensor:
    """Sound `(S,)` float32 of `rate` samples per second at `new_rate`."""
    ratio = Fraction(new_rate) / Fraction(rate)
    if ratio == 1:
        return waveform
    ratio = ratio.limit_denominator(LARGEST_DENOMINATOR)
    return resample(waveform, orig_freq=ratio.denominator, new_freq=ratio.numerator)


def plain_sound(audio: Waveform, sampling_rate: float | None) -> tuple[Samples | None, float | None]:
    """A sound of any form -> its samples and their rate, not yet checked; None where it has none.

    Args:
        audio: samples; or what knows its rate: `(samples, rate)`, `{"array": samples, "sampling_rate": rate}` of
            `datasets` (or `"waveform"` for `"array"`, as in a row of `load_avsbench`), an `AudioDecoder` of
            torchcodec, or the path of a sound file or of a video.
        sampling_rate: that was given beside it.

    Raises:
        ValueError: for a dict without these keys, and where the two rates differ.
        MediaError: for a file that cannot be read or has no sound (a ValueError too).
    """
    sampling_rate = _as_number(sampling_rate)
    if isinstance(audio, (str, Path)):
        audio, rate = read_sound(audio)
    elif isinstance(audio, Mapping):
        audio, rate = _samples_of_mapping(audio)
    elif _is_decoder(audio):
        decoded = audio.get_all_samples()
        audio, rate = decoded.data, decoded.sample_rate  # (C, S)
    elif _is_samples_and_rate(audio):
        audio, rate = audio
    else:
        return audio, sampling_rate
    rate = _as_number(rate)
    if audio is not None and sampling_rate not in (None, rate):
        raise ValueError(f"sampling_rate is {sampling_rate}, but the sound says {rate}; leave sampling_rate out")
    return audio, rate


def _samples_of_mapping(sound: Mapping[str, Any]) -> tuple[Samples | None, float | None]:
    names = [name for name in ("array", "waveform") if name in sound]
    if len(names) != 1 or "sampling_rate" not in sound:
        raise ValueError(
            f"a sound is a dict of {', '.join(map(str, sound)) or 'nothing'}; expected "
            '{"array": samples, "sampling_rate": samples per second}, as the Audio feature of datasets decodes it'
        )
    return sound[names[0]], sound["sampling_rate"]


def _is_decoder(audio: Any) -> bool:
    """Whether it is torchcodec's `AudioDecoder`, which nobody can have without importing that library first."""
    decoders = sys.modules.get("torchcodec.decoders")
    return decoders is not None and isinstance(audio, decoders.AudioDecoder)


def _is_samples_and_rate(audio: Any) -> bool:
    """Whether it is `(samples, rate)`, as torchaudio gives a file, and not two sounds."""
    if not isinstance(audio, tuple) or len(audio) != 2:
        return False
    return isinstance(_as_number(audio[1]), Real) and isinstance(audio[0], (list, np.ndarray, torch.Tensor))


def _as_number(value: Any) -> Any:
    """Arrays and tensors without dimensions as plain numbers: `datasets` gives a rate so where rows are tensors."""
    return value.item() if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim == 0 else value


def is_batch_of_sounds(audio: Waveform | Sequence[Waveform]) -> bool:
    """Whether `audio` is several clips: a list or tuple of anything but plain numbers, and no `(samples, rate)`."""
    if not isinstance(audio, (list, tuple)) or _is_samples_and_rate(audio):
        return False
    return not (audio and _is_sequence_of_numbers(audio))


@contextmanager
def naming_clip(index: int, several: bool) -> Iterator[None]:
    """Of several clips, an error inside the block says which one it is about."""
    try:
        yield
    except ValueError as error:
        if several:
            error.args = (f"clip {index}: {error}",)
        raise


def per_clip(value, num_clips: int, name: str) -> list:
    """`value` as a list with one entry per clip; None or a single value goes to all of them."""
    value = _as_number(value)
    if value is None or isinstance(value, (Real, str)):
        return [value] * num_clips
    if len(value) != num_clips:
        raise ValueError(f"{name} has {len(value)} entries for {num_clips} clip(s); give one entry per clip")
    return list(value)


def as_tensor(values: np.ndarray | torch.Tensor | Sequence[float]) -> torch.Tensor:
    """`values` as a tensor on the CPU, apart from any gradient."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu()
    array = np.ascontiguousarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{type(values).__name__} is not an array of numbers; expected an array, a tensor or a list of floats, "
            'or a sound with its rate: {"array": ..., "sampling_rate": ...}, (samples, rate), or the path of a file'
        )
    # A copy: decoders hand out arrays that may not be written to, which torch warns about.
    return torch.tensor(array)


def _is_sequence_of_numbers(value) -> bool:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim == 1
    return isinstance(value, (list, tuple)) and all(isinstance(number, Real) for number in value)


def checked_shifts(shifts: Sequence[float]) -> list[float]:
    """The nearest first; raises ValueError unless it is a list or tuple of numbers that `sound_shifts` may be."""
    numbers = isinstance(shifts, (list, tuple)) and all(
        isinstance(shift, Real) and not isinstance(shift, bool) and abs(shift) <= LARGEST_SHIFT for shift in shifts
    )
    if not numbers or len(shifts) > MOST_SHIFTS:
        raise ValueError(
            f"sound_shifts is {shifts!r:.200}; expected a list of at most {MOST_SHIFTS} numbers of seconds, each "
            f"within -{LARGEST_SHIFT:g}..{LARGEST_SHIFT:g}"
        )
    return sorted(map(float, shifts), key=lambda shift: (abs(shift), shift))


def _check_waveform(waveform: torch.Tensor) -> None:
    shape = tuple(waveform.shape)
    if waveform.ndim not in (1, 2):
        raise ValueError(
            f"the waveform has shape {shape}; expected (samples,), (channels, samples) or (samples, channels). "
            "Give several clips as a list"
        )
    if not waveform.numel():
        raise ValueError(f"the waveform is empty (shape {shape}); give None for a clip without sound")
    if not waveform.is_floating_point():
        raise ValueError(
            f"the waveform is {str(waveform.dtype).removeprefix('torch.')}; expected floats in -1..1, or int16 or "
            "int32"
        )
    if not torch.isfinite(waveform).all():
        raise ValueError("the waveform holds NaN or infinite samples; expected finite floats in -1..1")
    largest = waveform.abs().max().item()
    if largest > LARGEST_SAMPLE:
        raise ValueError(
            f"the waveform reaches {largest:g}; expected floats in -1..1 (16-bit values: divide by 32768)"
        )


def _check_rate(rate: float | None) -> None:
    if rate is None:
        raise ValueError("sampling_rate is missing; give the samples per second of the waveform, for example 44100")
    if not isinstance(rate, Real) or not math.isfinite(rate) or rate < LOWEST_RATE:
        raise ValueError(
            f"sampling_rate is {rate!r}; expected samples per second, at least {LOWEST_RATE}, for example 44100"
        )
