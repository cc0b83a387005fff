"""One clip of a corpus -> its files in a prepared folder."""

import json
import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..audio.io import read_audio, write_audio
from ..audio.mel import log_mel_spectrogram
from ..constants import MEL_PER_FRAME, SAMPLES_PER_FRAME, UNITS_PER_FRAME
from ..errors import ClipLengthError, Lip2SpeechError
from ..models.modeling_speaker_encoder import SpeakerEncoder
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..video.decode import write_video
from ..video.landmarks import MeshLandmarkDetector
from ..video.mouth import mouth_crops
from .corpora import Clip
from .layout import COLUMNS, PreparedFolder

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
    """Writes the files of clips into one prepared folder, with models that are loaded when first needed."""

    def __init__(self, folder: PreparedFolder):
        self.folder = folder

    @cached_property
    def detector(self) -> MeshLandmarkDetector:
        return MeshLandmarkDetector()

    @cached_property
    def speaker_encoder(self) -> SpeakerEncoder:
        return SpeakerEncoder.bundled()

    @cached_property
    def unit_extractor(self) -> SpeechUnitExtractor:
        return SpeechUnitExtractor.from_pretrained(self.folder.unit_extractor).eval()

    def write_files(self, clip: Clip) -> dict[str, Any]:
        """Write crops, sound, mel and speaker embedding, last a marker: they are there, or why they are not.

        Returns:
            The marker: {"id", "source", "warnings"} and either "frames" or "skipped" and "message". A clip
            whose error is none of this package's own gets no file for a marker, and so is tried again next
            time.
        """
        marker: dict[str, Any] = {"id": clip.id, "source": source_signature(clip), "warnings": []}
        path = self.folder.marker(clip.id)
        path.unlink(missing_ok=True)
        self.folder.path("units", clip.id).unlink(missing_ok=True)  # they may be those of an older source
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                marker["frames"] = self._write_targets(clip)
            marker["warnings"] = [str(warning.message) for warning in caught]
        except Lip2SpeechError as error:
            marker |= {"skipped": type(error).__name__, "message": str(error)}
        except (OSError, MemoryError, ImportError) as error:
            # The machine's trouble and not this clip's: stop and say so.
            error.add_note(f"while preparing {clip.id} from {clip.video}")
            raise
        except Exception as error:
            return marker | {"skipped": f"unexpected {type(error).__name__}", "message": str(error)}
        self.folder.write_json(path, marker)
        return marker

    def _write_targets(self, clip: Clip) -> int:
        # Sound first: it takes a hundredth of the time of the video, and a clip without any is out at once.
        waveform = read_sound(clip)
        mel = log_mel_spectrogram(torch.from_numpy(waveform)).numpy()
        crops = mouth_crops(clip.video, detector=self.detector)
        frames = common_frames(len(crops), len(waveform))
        sound = waveform[: SAMPLES_PER_FRAME * frames]
        speaker = self.speaker_encoder.embed(sound)
        folder = self.folder
        folder.write(folder.path("video", clip.id), lambda path: write_video(path, crops[:frames]))
        folder.write(folder.path("audio", clip.id), lambda path: write_audio(path, sound))
        folder.write_array(folder.path("mel", clip.id), mel[: MEL_PER_FRAME * frames].astype(np.float32))
        folder.write_array(folder.path("speaker_embedding", clip.id), speaker.astype(np.float32))
        return frames

    def write_units(self, clip: Clip, frames: int) -> None:
        """The units of a clip whose other files are there; of the whole sound, cut to 2 * `frames`."""
        units = self.unit_extractor(read_sound(clip))[: UNITS_PER_FRAME * frames]
        self.folder.write_array(self.folder.path("units", clip.id), units.astype(np.int16))


def source_signature(clip: Clip) -> list[list[int] | None]:
    """Size and modification time of a clip's video and sound: a marker with other ones is out of date."""
    signature: list[list[int] | None] = []
    for path in (clip.video, clip.audio):
        stat = path.stat() if path is not None and path.is_file() else None
        signature.append(None if stat is None else [stat.st_size, stat.st_mtime_ns])
    return signature


def valid_marker(folder: PreparedFolder, clip: Clip) -> dict[str, Any] | None:
    """What `ClipWriter.write_files` wrote about a clip, if its source and its files are as they were then."""
    path = folder.marker(clip.id)
    if not path.is_file():
        return None
    marker = json.loads(path.read_text(encoding="utf-8"))
    files = [] if "skipped" in marker else [folder.path(name, clip.id) for name in COLUMNS if name != "units"]
    unchanged = marker["source"] == source_signature(clip) and all(path.is_file() for path in files)
    return marker if unchanged else None
