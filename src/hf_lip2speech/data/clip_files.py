"""One clip of a corpus -> its files in a prepared folder."""

import time
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from ..audio.mel import log_mel_spectrogram
from ..constants import MEL_PER_FRAME, SAMPLES_PER_FRAME, SAMPLING_RATE, UNITS_PER_FRAME
from ..errors import ClipLengthError, Lip2SpeechError, NoAudioError
from ..media.audio import read_audio, write_audio
from ..media.video import iter_frames, write_video
from ..models.modeling_speaker_encoder import SpeakerEncoder
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..video.landmarks import MeshLandmarkDetector
from ..video.mouth import mouth_crops
from .corpora import Clip
from .journal import Journal
from .layout import PreparedFolder
from .segments import Segment, segments_of

MAX_FRAMES_OFF = 3  # by which sound and video may differ in length


def common_frames(frames: int, samples: int) -> int:
    """The number of video frames T that a clip is cut to: the shorter of its video and its sound.

    Up to 3 frames are cut off the end of the longer one; nothing is filled up, so every target is real.

    Args:
        frames: Of the video, at 25 a second.
        samples: Of the sound, at 16 kHz.

    Raises:
        ClipLengthError: They are more than 3 frames apart, or no whole frame has sound.
    """
    sound = samples / SAMPLES_PER_FRAME
    if abs(sound - frames) > MAX_FRAMES_OFF:
        raise ClipLengthError(
            f"the video has {frames} frames and the sound {sound:.1f} frames' length; expected at most "
            f"{MAX_FRAMES_OFF} frames' difference. Give video and sound of the same recording, cut alike."
        )
    common = min(frames, samples // SAMPLES_PER_FRAME)
    if common < 1:
        raise ClipLengthError(
            f"the sound is {samples} samples long; expected at least one video frame's, {SAMPLES_PER_FRAME}."
        )
    return common


def read_sound(clip: Clip) -> np.ndarray:
    """A clip's sound, float32 (N,) in [-1, 1], rounded to the 16 bits in which it is stored.

    So what is computed from it here can be computed from the stored file as well.
    """
    sound = read_audio(clip.audio or clip.video)
    return np.clip(np.round(sound * 32768), -32768, 32767).astype(np.float32) / 32768


class ClipWriter:
    """Writes the files of clips into one prepared folder, with models that are loaded when first needed.

    Args:
        folder: Where to.
        device: Of the unit extractor; the rest runs on the CPU.
    """

    def __init__(self, folder: PreparedFolder, device: str = "cpu"):
        self.folder = folder
        self.device = device
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

    def write_files(self, clip: Clip, sources: Sequence[Path], limit: int) -> dict[str, Any]:
        """Write crops, sound, mel and speaker embedding, then a line of the journal: done, or why not.

        Args:
            clip: What to write.
            sources: The files on which it depends: should one change, the clip is done anew.
            limit: Frames from which on the clip is cut at word times.

        Returns:
            The line: {"id", "time", "sources", "limit", "speaker", "warnings", "took": seconds of work,
            "seconds": of sound, None if there is none}, and either "segments": [[id, start, frames]] or
            "skipped": the error's name, and "message". A clip whose error is none of this package's own gets
            no line, and so is tried again next time.
        """
        models = self.detector, self.speaker_encoder  # loaded now, or the first clip's time would hold theirs
        begin = time.perf_counter()
        record: dict[str, Any] = {"id": clip.id, "time": time.time(), "sources": file_signature(sources)}
        record |= {"limit": limit, "speaker": clip.speaker, "warnings": [], "seconds": None}
        if clip.problem:
            record["warnings"].append(clip.problem)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                segments = self._write_targets(clip, limit, record, *models)
            record["warnings"] += [str(warning.message) for warning in caught]
            record["segments"] = [[segment.id, segment.start, segment.frames] for segment in segments]
        except Lip2SpeechError as error:
            record |= {"skipped": type(error).__name__, "message": str(error)}
        except (OSError, MemoryError, ImportError) as error:
            # The machine's trouble and not this clip's: stop and say so.
            error.add_note(f"while preparing {clip.id} from {clip.video}")
            raise
        except Exception as error:
            return record | {"skipped": f"unexpected {type(error).__name__}", "message": str(error)}
        record["took"] = round(time.perf_counter() - begin, 3)
        self.journal.write(record)
        return record

    def _write_targets(
        self,
        clip: Clip,
        limit: int,
        record: dict[str, Any],
        detector: MeshLandmarkDetector,
        speaker_encoder: SpeakerEncoder,
    ) -> list[Segment]:
        # Sound first: it takes a hundredth of the time of the video, and a clip without any is out at once.
        try:
            waveform = read_sound(clip)
        except NoAudioError:
            next(iter_frames(clip.video))  # if that cannot be read either, its error is the reason
            raise
        record["seconds"] = round(len(waveform) / SAMPLING_RATE, 3)
        mel = log_mel_spectrogram(torch.from_numpy(waveform)).numpy().astype(np.float32)
        crops = mouth_crops(clip.video, detector=detector)
        frames = common_frames(len(crops), len(waveform))
        # Of the whole clip, also where it is cut: the more speech, the surer the voice.
        speaker = speaker_encoder.embed(waveform[: SAMPLES_PER_FRAME * frames]).astype(np.float32)
        segments = segments_of(clip, frames, limit)
        for segment in segments:
            start, end = segment.start, segment.start + segment.frames
            sound = waveform[SAMPLES_PER_FRAME * start : SAMPLES_PER_FRAME * end]
            path = {column: self.folder.path(column, segment.id) for column in ("video", "audio", "mel")}
            self.folder.path("units", segment.id).unlink(missing_ok=True)  # those of an older source, say
            self._write_video(path["video"], crops[start:end])
            self._write_audio(path["audio"], sound)
            self.folder.write_array(path["mel"], mel[MEL_PER_FRAME * start : MEL_PER_FRAME * end])
            self.folder.write_array(self.folder.path("speaker_embedding", segment.id), speaker)
        return segments

    def _write_video(self, path: Path, crops: np.ndarray) -> None:
        self.folder.write(path, lambda unfinished: write_video(unfinished, crops))

    def _write_audio(self, path: Path, sound: np.ndarray) -> None:
        self.folder.write(path, lambda unfinished: write_audio(unfinished, sound))

    def write_units(self, ids: Sequence[str], frames: int) -> int:
        """The units of stored clips of the same length, in one batch: each gets what it gets alone.

        Clips of one length need no padding, which a self-supervised model's first normalisation would
        average over.

        Returns:
            How many clips they were.
        """
        sounds = [soundfile.read(self.folder.path("audio", clip), dtype="float32")[0] for clip in ids]
        units = self.unit_extractor.extract(torch.from_numpy(np.stack(sounds))).unit_ids
        assert units is not None and units.shape[1] == UNITS_PER_FRAME * frames
        for clip, row in zip(ids, units.cpu().numpy().astype(np.int16), strict=True):
            self.folder.write_array(self.folder.path("units", clip), row)
        return len(ids)


def source_signature(clip: Clip) -> list[list[int] | None]:
    """`file_signature` of a clip's video and of its sound, None where that is inside the video."""
    return file_signature([clip.video] if clip.audio is None else [clip.video, clip.audio])


def file_signature(paths: Sequence[Path]) -> list[list[int] | None]:
    """Size and modification time of files; None for one that is missing."""
    signature: list[list[int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            signature.append(None)
        else:
            signature.append([stat.st_size, stat.st_mtime_ns])
    return signature
