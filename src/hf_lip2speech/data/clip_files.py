"""One clip of a corpus -> its files in a prepared folder."""

import errno
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from ..audio.mel import log_mel_spectrogram
from ..audio.speech import voiced_frames
from ..constants import FRAME_RATE, MEL_PER_FRAME, SAMPLES_PER_FRAME, SAMPLING_RATE, UNITS_PER_FRAME
from ..errors import ClipLengthError, Lip2SpeechError, NoAudioError, UnreadableVideoError
from ..media.audio import read_audio, sound_tracks, write_audio
from ..media.video import iter_frames, open_video, write_video
from ..models.modeling_speaker_encoder import SpeakerEncoder
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..models.modeling_visual_units import VisualUnitExtractor
from ..video.landmarks import LandmarkDetector, MeshLandmarkDetector
from ..video.mouth import MouthClip, follow_mouth
from ..video.tracks import TALKING
from .corpora import Clip
from .corpora.clip import Segment, file_signature, segments_of
from .layout import Journal, PreparedFolder, named_damage, read_crops, read_waveform
from .unread import place_of_bug

# Makes a clip's sound, float32 (640 T,) at 16 kHz, from its text and its mouth of T frames.
Speak = Callable[[Clip, MouthClip], np.ndarray]
MAX_SECONDS_OFF = 0.5  # by which sound and video may differ in length
RULES = 3  # of what is usable: clips that were skipped under others are tried again
FRAMES_OFF = 3  # a greater difference is reported
# Errors of opening a file that are the file's own; others (a full disk, a lost network) are the machine's.
FILE_ERRORS = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EINVAL, errno.ELOOP)
}


def common_frames(frames: int, samples: int) -> int:
    """The number of video frames that have sound: those of the shorter of video (25 fps) and sound (16 kHz).

    Raises:
        ClipLengthError: They are more than half a second apart, or no whole frame has sound.
    """
    seconds_off = abs(samples / SAMPLING_RATE - frames / FRAME_RATE)
    if seconds_off > MAX_SECONDS_OFF:
        raise ClipLengthError(
            f"the video has {frames} frames and the sound is {samples / SAMPLES_PER_FRAME:.1f} frames long; "
            f"expected video and sound of the same recording, at most {MAX_SECONDS_OFF:g} s apart."
        )
    common = min(frames, samples // SAMPLES_PER_FRAME)
    if common < 1:
        raise ClipLengthError(
            f"the sound has {samples} samples; at least one video frame's, {SAMPLES_PER_FRAME}, are needed."
        )
    return common


def kept_frames(frames: int, samples: int) -> int:
    """The number of video frames that `prepare` keeps of a clip; raises as `common_frames`.

    Those of the video where the sound ends up to half a second earlier, to be padded with silence, or later,
    to be cut. Where less than one frame's sound is missing, that frame is left out.
    """
    common = common_frames(frames, samples)
    return frames if frames - samples / SAMPLES_PER_FRAME >= 1 else common


def read_sound(clip: Clip) -> np.ndarray:
    """A clip's sound, float32 (N,) in [-1, 1], rounded to the 16 bits in which it is stored.

    What is computed from it can therefore be computed from the stored file as well. Of several sound tracks,
    as OBS and cameras record them, the one with most speech is read, and a warning names it.
    """
    source = clip.audio or clip.video
    titles = sound_tracks(source)
    sound = read_audio(source) if len(titles) < 2 else _most_spoken_track(source, titles)
    return np.clip(np.round(sound * 32768), -32768, 32767).astype(np.float32) / 32768


def _most_spoken_track(source: Path, titles: Sequence[str]) -> np.ndarray:
    speech, sounds = {}, {}
    for track in range(len(titles)):
        with suppress(NoAudioError):
            sounds[track] = read_audio(source, track=track)
            speech[track] = voiced_frames(sounds[track]).sum()
    if not sounds:
        return read_audio(source)  # whose error is the reason
    best = max(speech, key=lambda track: speech[track])
    title = f" ({titles[best]})" if titles[best] else ""
    warnings.warn(
        f"{source} has {len(titles)} sound tracks; track {best + 1}{title}, which has most speech, is used.",
        stacklevel=3,
    )
    return sounds[best]


def read_mouth(path: Path, *, detector: LandmarkDetector, face: int | str) -> MouthClip:
    """The mouth of one face of a video file, see `follow_mouth`."""
    with open_video(path) as video:
        return follow_mouth(video, name=video.name, detector=detector, face=face)


class ClipWriter:
    """Writes the files of clips into one prepared folder, with models that are loaded when first needed.

    Args:
        device: Of the unit extractors; the rest runs on the CPU.
        face: Which of several faces, see `follow_mouth`.
        speak: Makes the sound of a clip; None: it is the recording's.
    """

    def __init__(
        self,
        folder: PreparedFolder,
        device: str = "cpu",
        face: int | str = TALKING,
        speak: Speak | None = None,
    ):
        self.folder = folder
        self.device = device
        self.face = face
        self.speak = speak
        self.journal = Journal(folder.journal)

    @cached_property
    def detector(self) -> MeshLandmarkDetector:
        return MeshLandmarkDetector()

    @cached_property
    def speaker_encoder(self) -> SpeakerEncoder:
        return SpeakerEncoder.bundled()

    @cached_property
    def unit_extractor(self) -> SpeechUnitExtractor:
        return SpeechUnitExtractor.from_pretrained(self.folder.unit_extractor).eval().to(self.device)

    @cached_property
    def visual_unit_extractor(self) -> VisualUnitExtractor:
        folder = self.folder.visual_unit_extractor
        return VisualUnitExtractor.from_pretrained(folder).eval().to(self.device)

    def write_files(self, clip: Clip, sources: Sequence[Path], limit: int) -> dict[str, Any]:
        """Write crops, sound, mel and speaker embedding, then the clip's record in the journal.

        `sources` are the files on which the clip depends: when one changes, it is prepared again. Clips of
        more than `limit` frames are cut at word times.

        Returns:
            The record: {"id", "time", "sources", "limit", "rules", "face", "speaker", "warnings", "took":
            seconds of work, "seconds": of sound, None if there is none, "faceless": frames in which nobody is
            seen for longer than a second, "trimmed", "padded": seconds of sound cut off at the end, if more
            than 3 frames, or of silence added}, and one of "segments": [[id, start, frames]]; "skipped": the
            name of the error of an unusable clip, and its "message"; "failed": where a bug of this package
            was met (it is tried again by the next run), "message" and "traceback".

        Raises:
            OSError, MemoryError, ImportError: The machine's trouble, with a note that names the clip.
        """
        _ = self.detector, self.speaker_encoder  # loaded now, or the first clip's time would include it
        begin = time.perf_counter()
        record: dict[str, Any] = {"id": clip.id, "time": time.time(), "sources": file_signature(sources)}
        record |= {"limit": limit, "speaker": clip.speaker, "warnings": [], "seconds": None, "rules": RULES}
        record["face"] = self.face
        if clip.problem:
            record["warnings"].append(clip.problem)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                segments = self._write_targets(clip, limit, record)
            record["warnings"] += [str(warning.message) for warning in caught]
            record["segments"] = [[part.id, part.start, part.frames] for part in segments]
        except Lip2SpeechError as error:
            record |= {"skipped": type(error).__name__, "message": str(error)}
        except (OSError, MemoryError, ImportError) as error:
            error.add_note(f"while preparing {clip.id} from {clip.video}")
            raise
        except Exception as error:
            where = place_of_bug(error)
            record |= {"failed": where, "message": str(error), "traceback": traceback.format_exc()}
        record["took"] = round(time.perf_counter() - begin, 3)
        self.journal.write(record)
        return record

    def _write_targets(self, clip: Clip, limit: int, record: dict[str, Any]) -> list[Segment]:
        waveform, mouth = self._read(clip, record)
        crops = mouth.crops
        frames = kept_frames(len(crops), len(waveform))
        longer = len(waveform) / SAMPLES_PER_FRAME - len(crops)
        if longer > FRAMES_OFF:
            record["trimmed"] = seconds = round(longer / FRAME_RATE, 3)
            warnings.warn(f"the sound is {seconds} s longer than the video; its end was cut.", stacklevel=2)
        if (missing := SAMPLES_PER_FRAME * frames - len(waveform)) > 0:
            record["padded"] = seconds = round(missing / SAMPLING_RATE, 3)
            warnings.warn(
                f"the sound is {seconds} s shorter than the video; silence was added.", stacklevel=2
            )
            waveform = np.pad(waveform, (0, missing))
        record["faceless"] = int((~mouth.face_mask[:frames]).sum())
        mel = log_mel_spectrogram(torch.from_numpy(waveform)).numpy().astype(np.float32)
        # Of the whole clip, also where it is cut: the more speech, the better the embedding.
        speaker = self.speaker_encoder.embed(waveform[: SAMPLES_PER_FRAME * frames]).astype(np.float32)
        segments = segments_of(clip, frames, limit)
        folder = self.folder
        for part in segments:
            start, end = part.start, part.start + part.frames
            for column in ("units", "visual_units"):  # those of an older source, say
                folder.path(column, part.id).unlink(missing_ok=True)
            with folder.writing(folder.path("video", part.id)) as path:
                write_video(path, crops[start:end])
            with folder.writing(folder.path("audio", part.id)) as path:
                write_audio(path, waveform[SAMPLES_PER_FRAME * start : SAMPLES_PER_FRAME * end])
            folder.write_array(folder.path("mel", part.id), mel[MEL_PER_FRAME * start : MEL_PER_FRAME * end])
            folder.write_array(folder.path("speaker_embedding", part.id), speaker)
        return segments

    def _read(self, clip: Clip, record: dict[str, Any]) -> tuple[np.ndarray, MouthClip]:
        """Sound (N,) and mouth."""
        try:
            if self.speak is not None:
                mouth = read_mouth(clip.video, detector=self.detector, face=self.face)
                waveform = self.speak(clip, mouth)
                record["seconds"] = round(len(waveform) / SAMPLING_RATE, 3)
                return waveform, mouth
            # Sound first: it takes a hundredth of the video's time, and a clip without any is out at once.
            try:
                waveform = read_sound(clip)
            except NoAudioError:
                next(iter_frames(clip.video))  # if that cannot be read either, its error is the reason
                raise
            record["seconds"] = round(len(waveform) / SAMPLING_RATE, 3)
            return waveform, read_mouth(clip.video, detector=self.detector, face=self.face)
        except Lip2SpeechError:
            raise
        except (av.FFmpegError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in FILE_ERRORS:
                raise
            raise UnreadableVideoError(f"{clip.video} cannot be read: {error}.") from error

    def write_units(self, column: str, ids: Sequence[str], frames: int) -> int:
        """Write the "units" or "visual_units" of stored clips of the same length, in one batch; returns the
        number of clips.

        Clips of one length need no padding, which a self-supervised model's first normalisation would
        average over: each gets the units that it gets alone.
        """
        if column == "units":
            source, read, extractor = "audio", read_waveform, self.unit_extractor
            length, kind = UNITS_PER_FRAME * frames, np.int16
        else:
            source, read, extractor = "video", read_crops, self.visual_unit_extractor
            length, kind = frames, np.uint16
        values = []
        for path in (self.folder.path(source, clip) for clip in ids):
            with named_damage(path):
                values.append(read(path))
        units = extractor(torch.from_numpy(np.stack(values))).unit_ids
        assert units is not None and units.shape[1] == length
        for clip, row in zip(ids, units.cpu().numpy().astype(kind), strict=True):
            self.folder.write_array(self.folder.path(column, clip), row)
        return len(ids)
