"""Speech while the lips move: frames in, samples out, with a bounded look-ahead and a state of fixed size.

Every chunk of frames is read together with the frames after it (the look-ahead) and some before it; the
vocoder speaks it with the units and mel predicted for the look-ahead as context. What is spoken depends on
the frames alone, not on how they are divided among the calls.
"""

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from .constants import FRAME_RATE, MEL_PER_FRAME, MOUTH_SIZE, SAMPLES_PER_FRAME, UNITS_PER_FRAME
from .errors import Lip2SpeechError
from .feature_extraction_lip2speech import gray_histogram
from .models.phase_recovery import phase_of
from .models.visual_frontend import STEM_FRAMES
from .pipeline import LipToSpeechPipeline
from .pipeline_text import check_reads_text
from .text.characters import BLANK
from .video.crops import anchor_points, crop_matrix, cut_mouth
from .video.landmarks import Face, LandmarkDetector, MeshLandmarkDetector, iou
from .video.tracks import SAME_FACE_IOU

SMOOTHED_FRAMES = 6  # landmarks are averaged over this frame and the five before
SEARCH_EVERY = 25  # frames between two searches for more faces
MOST_FACES = 4  # each takes 2 ms of every frame
LONGEST_LOSS = 5  # frames without the face until the sound stops
LATEST_TIME = 1e12  # seconds; clocks count from 1970 at most, and more is not precise
LONGEST_GAP = 5.0  # seconds between two frames; longer ones are shortened to it
FADE = SAMPLES_PER_FRAME // 2  # samples of the fades into and out of silence
JOIN = 160  # samples over which the speech of two chunks is cross-faded


class LipToSpeechStream:
    """A `LipToSpeechPipeline` that speaks frame by frame.

    ```python
    stream = LipToSpeechStream(pipeline("lip-to-speech"))
    for frame in camera:  # uint8 (H, W, 3), RGB
        play(stream.push(frame))
    play(stream.flush())
    ```

    The model must have a front end of its own: an AV-HuBERT reads whole clips. One that was trained with
    `chunk_frames` reads best.

    Of several faces, the one that is largest when the first is seen is followed until it has been away for a
    second: who speaks is not known before lips have moved for a while. A whole video is read by the pipeline,
    which can choose.

    Args:
        pipe: the pipeline, whose model, feature extractor and device are used.
        look_ahead: frames (25 per second) after a chunk that are seen before it is spoken.
        chunk: frames spoken at once.
        context: frames before a chunk that are read with it.
        speaker: the voice, as in a call of the pipeline.
        fps: frames per second of frames that come without time stamps.
        detector: finds the landmarks, for this stream alone; default: a `MeshLandmarkDetector`.

    Attributes:
        latency: the longest time from a frame to its sound in seconds, (look_ahead + chunk) / 25, without the
            time of computing.
        face_seen: whether the newest frame shows the face.
        dropped: frames that came with a time stamp not later than the one before, and were left out.

    Raises:
        Lip2SpeechError: a number that cannot work, an unknown speaker, or a model without a front end.
    """

    def __init__(
        self,
        pipe: LipToSpeechPipeline,
        look_ahead: int = 8,
        chunk: int = 4,
        context: int = 50,
        speaker: Any = None,
        fps: float = FRAME_RATE,
        detector: LandmarkDetector | None = None,
    ):
        whole = all(isinstance(number, numbers.Integral) for number in (look_ahead, chunk, context))
        rate = isinstance(fps, numbers.Real) and 1 <= fps <= 1000
        if not (whole and rate) or isinstance(chunk, bool) or look_ahead < 0 or chunk < 1 or context < 0:
            raise Lip2SpeechError(
                f"look_ahead={look_ahead}, chunk={chunk}, context={context}, fps={fps}: expected at least "
                "0, 1 and 0 frames, and 1 to 1000 frames per second."
            )
        self.model: Any = pipe.model
        self.extractor: Any = pipe.feature_extractor
        if self.model.config.lip2speech.encoder is not None:
            raise Lip2SpeechError(
                "A stream needs a model with a front end of its own: this one reads with an AV-HuBERT, of "
                "whole clips."
            )
        speaker = pipe.resolve_speaker(speaker)
        voice = self.model.voice(speaker) if isinstance(speaker, str) else speaker
        self.speaker = voice[None].to(self.model.device)
        self.look_ahead, self.chunk, self.context, self.fps = look_ahead, chunk, context, fps
        self.latency = (look_ahead + chunk) / FRAME_RATE
        self.detector = detector or MeshLandmarkDetector(search_every=SEARCH_EVERY, max_faces=MOST_FACES)
        self.reset()

    def __enter__(self) -> "LipToSpeechStream":
        return self

    def __exit__(self, *error: Any) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames: another stream begins."""
        self.detector.reset()
        self.face_seen = False
        self.dropped = 0
        self._face: Face | None = None
        self._anchors: list[np.ndarray] = []
        self._lost = 0
        self._histogram = np.zeros(256, dtype=np.int64)
        self._first_time = self._last_time = 0.0  # of the frames, in seconds
        self._arrived = 0  # frames without time stamps
        self._last: np.ndarray | None = None  # the newest frame
        # by frame at 25 per second, from number self._start on:
        self._start = self._spoken = 0
        self._pixels: list[torch.Tensor] = []  # (1, S, S)
        self._features: list[torch.Tensor] = []  # (C,), shorter by what the newest frames' windows lack
        self._audible: list[bool] = []
        self._text: list[str] = []  # characters read and not taken yet
        self._last_class = BLANK  # of the text head, at the last position read
        self._units: list[torch.Tensor] = []  # (2,), of frames spoken
        self._mel: list[torch.Tensor] = []  # (4, bins)
        self._f0: list[torch.Tensor] = []  # (4,), in Hz, from a vocoder that knows pitch
        self._phase = torch.zeros(1, dtype=torch.float64)  # of the voice before the first frame of _f0
        self._tail: np.ndarray | None = None  # how the last chunk's speech would continue, (JOIN,)
        self._gain = 0.0

    @property
    def frames(self) -> int:
        """Frames at 25 per second so far, of which a chunk is spoken when its look-ahead is there."""
        return self._start + len(self._pixels)

    def push(self, frames: np.ndarray | Iterable[np.ndarray], timestamp: float | None = None) -> np.ndarray:
        """Take the next frame or frames and return what can be spoken now.

        Args:
            frames: RGB, uint8 (H, W, 3), or several: (N, H, W, 3) or a list.
            timestamp: of a single frame, in seconds of a clock that does not jump back; default: frames
                come at `fps`. Late and missing frames are bridged by their neighbours.

        Returns:
            float32 (640 n,) in [-1, 1] at 16 kHz, where n is a multiple of `chunk` and may be 0.

        Raises:
            Lip2SpeechError: a frame of another shape or dtype, or in which no face can be; a time stamp for
                several frames, or one that is none.
        """
        from .media.decoding import check_size  # imports FFmpeg

        single = isinstance(frames, np.ndarray) and frames.ndim == 3
        if timestamp is not None and not single:
            raise Lip2SpeechError("A timestamp belongs to a single frame (H, W, 3): push frames one by one.")
        if timestamp is not None and not (
            isinstance(timestamp, numbers.Real) and abs(timestamp) <= LATEST_TIME  # nor NaN
        ):
            raise Lip2SpeechError(f"timestamp={timestamp!r}: expected seconds of a clock.")
        spoken = []
        for frame in [frames] if single else frames:
            given = type(frame).__name__
            if isinstance(frame, np.ndarray):
                given = f"{frame.dtype} {frame.shape}"
            if not given.startswith("uint8") or frame.ndim != 3 or frame.shape[2] != 3:
                raise Lip2SpeechError(f"A frame is {given}; expected RGB, uint8 (height, width, 3).")
            check_size(frame.shape[1], frame.shape[0], "the stream")
            time = self._arrived / self.fps if timestamp is None else float(timestamp)
            self._arrived += 1
            for picture in self._at_frame_rate(frame, time):
                self._see(picture)
                if self.frames >= self._spoken + self.chunk + self.look_ahead:
                    spoken.append(self._speak(self.chunk))
        return np.concatenate(spoken) if spoken else np.zeros(0, dtype=np.float32)

    def flush(self) -> np.ndarray:
        """Speak what is left, without look-ahead, and reset: float32 (640 n,), n <= look_ahead + chunk."""
        left, spoken = self.frames - self._spoken, [np.zeros(0, dtype=np.float32)]
        while left > 0:
            spoken.append(self._speak(min(self.chunk, left)))
            left -= self.chunk
        text = self._text
        self.reset()
        self._text = text  # which can still be taken
        return np.concatenate(spoken)

    def take_text(self) -> str:
        """What the lips said in the frames spoken since the last call, as the text head spells it.

        A word may come in several pieces, which join to the text; a space stands between words.

        Raises:
            Lip2SpeechError: the model has no text head.
        """
        check_reads_text(self.model.config.lip2speech, "take_text()")
        text, self._text = "".join(self._text), []
        return text

    def _at_frame_rate(self, frame: np.ndarray, time: float) -> Iterable[np.ndarray]:
        """The frames at 25 per second that a new frame completes: each is the one nearest in time."""
        step, before = 1 / FRAME_RATE, self._last
        if before is None:
            self._first_time = self._last_time = time
        elif time <= self._last_time:
            self.dropped += 1
            return
        excess = time - self._last_time - LONGEST_GAP
        if excess > 0:
            self._first_time += excess
        previous = self._last_time + max(excess, 0)
        self._last, self._last_time = frame, time
        while (tick := self._first_time + self.frames * step) <= time + step / 2 - 1e-9:
            yield frame if before is None or time - tick <= tick - previous else before

    def _see(self, frame: np.ndarray) -> None:
        """Follow the face into the next frame and keep its mouth as the model's input."""
        faces = self.detector(frame)
        if self._face is not None and self._lost <= FRAME_RATE:
            overlaps = iou(self._face.box, [face.box for face in faces])
            faces = [face for face, overlap in zip(faces, overlaps, strict=True) if overlap > SAME_FACE_IOU]
        elif self._face is not None:
            self._anchors = []
        self.face_seen = bool(faces)
        if faces:
            self._face = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
            self._anchors = [*self._anchors, anchor_points(self._face)][-SMOOTHED_FRAMES:]
            self._lost = 0
        else:
            self._lost += 1
        self._audible.append(self._face is not None and self._lost <= LONGEST_LOSS)
        size = self.extractor.crop_size
        if self._anchors:
            crop = cut_mouth(frame, crop_matrix(np.mean(self._anchors, axis=0)))
            margin = (MOUTH_SIZE - size) // 2
            crop = crop[None, margin : margin + size, margin : margin + size]
            if self._audible[-1]:
                self._histogram += gray_histogram(crop)
            pixels = self.extractor.normalize(crop, histogram=self._histogram)
        else:
            pixels = np.zeros((1, size, size), dtype=np.float32)
        self._pixels.append(torch.from_numpy(pixels))

    @torch.inference_mode()
    def _speak(self, count: int) -> np.ndarray:
        """The next `count` frames, with all that have been seen: float32 (640 count,)."""
        read, begin = self.model.lip2speech, self._spoken - self._start
        end, device, half = begin + count, self.model.device, STEM_FRAMES // 2
        # Features of frames whose windows are complete are kept; those of the newest are made anew.
        first = len(self._features)
        context = max(first - half, 0)
        pixels = torch.stack(self._pixels[context:])[None].to(device, read.dtype)
        fresh = read.frame_features(pixels, first=first - context)[0]
        features = torch.cat([torch.stack(self._features), fresh]) if self._features else fresh
        self._features += list(fresh[: max(len(fresh) - half, 0)])

        left = max(begin - self.context, 0)
        speaker = self.speaker.to(read.dtype)
        states, logits, mel = read.predict(features[None, left:], speaker, first=begin - left)
        if read.config.text_vocabulary is not None:
            self._spell(states[0, UNITS_PER_FRAME * (begin - left) :], self._audible[begin:end])
        units, mel = read.unit_ids(logits)[0], mel[0].float()
        spoken = self._vocode(units, mel, count)
        self._units += list(units[: UNITS_PER_FRAME * count].unflatten(0, (count, -1)))
        self._mel += list(mel[: MEL_PER_FRAME * count].unflatten(0, (count, -1)))
        self._spoken += count

        gains = np.repeat(np.array(self._audible[begin:end], np.float32), SAMPLES_PER_FRAME)
        before = np.concatenate([np.full(FADE, self._gain, np.float32), gains])
        self._gain = float(gains[-1])
        ramps = np.convolve(before, np.full(FADE, 1 / FADE, np.float32), mode="valid")[1:]
        self._forget()
        return np.clip(spoken * ramps, -1, 1)

    def _spell(self, states: torch.Tensor, audible: list[bool]) -> None:
        """Read the characters of the next frames; states (at least 2 per frame, C)."""
        read = self.model.lip2speech
        seen = np.repeat(audible, UNITS_PER_FRAME)
        for index, shown in zip(read.text_head(states[: len(seen)]).argmax(-1).tolist(), seen, strict=True):
            index = index if shown else BLANK
            if index not in (BLANK, self._last_class):
                self._text.append(read.config.text_vocabulary[index - 1])
            self._last_class = index

    def _vocode(self, units: torch.Tensor, mel: torch.Tensor, count: int) -> np.ndarray:
        """Speech of the first `count` frames of units and mel; those before and after are its context."""
        reach = -(-self.model.config.vocoder.context_units // UNITS_PER_FRAME)
        before = min(reach, len(self._units))
        units = units[: UNITS_PER_FRAME * (count + reach)]
        mel = mel[: MEL_PER_FRAME * (count + reach)]
        if before:
            units = torch.cat([*self._units[-before:], units])
            mel = torch.cat([*self._mel[-before:], mel])
        given = (units[None], mel[None], self.speaker)
        pitch: dict[str, Any] = {}
        if self.model.config.vocoder.generator_type == "istft":  # the phase of the voice continues
            f0 = self.model.vocoder.predict_pitch(*given)[0].unflatten(0, (-1, MEL_PER_FRAME))
            f0 = [*self._f0, *f0[before:]]
            self._f0 = f0[: before + count]
            first = MEL_PER_FRAME * (self._spoken - before)
            pitch = {"f0": torch.cat(f0)[None], "first_frame": first, "first_phase": self._phase}
        waveform = self.model.vocoder(*given, **pitch, return_dict=True).waveform[0].float().cpu().numpy()
        waveform = waveform[SAMPLES_PER_FRAME * before :]
        spoken, after = waveform[: SAMPLES_PER_FRAME * count].copy(), waveform[SAMPLES_PER_FRAME * count :]
        if self._tail is not None:
            weight = np.linspace(0, 1, len(self._tail), dtype=np.float32)
            spoken[: len(weight)] = weight * spoken[: len(weight)] + (1 - weight) * self._tail
        self._tail = after[:JOIN] if len(after) >= JOIN else None
        return spoken

    def _forget(self) -> None:
        """Drop what no later chunk reads."""
        reach = -(-self.model.config.vocoder.context_units // UNITS_PER_FRAME)
        self._units, self._mel = self._units[-reach:], self._mel[-reach:]
        if len(self._f0) > reach:
            left = torch.cat(self._f0[:-reach])[None].cpu()
            self._phase, self._f0 = phase_of(left, self._phase)[:, -1], self._f0[-reach:]
        spare = self._spoken - self._start - self.context - STEM_FRAMES
        if spare > 0:
            for kept in (self._pixels, self._features, self._audible):
                del kept[:spare]
            self._start += spare
