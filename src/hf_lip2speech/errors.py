"""Errors that a user can meet. Each is a ValueError whose message says what was given, what was expected,
what to do."""

from hf_lip2speech_extras import MissingExtraError as MissingExtraError
from hf_lip2speech_extras import missing_extra


class Lip2SpeechError(ValueError):
    """Base of every error that this package raises about its input."""


class UnreadableVideoError(Lip2SpeechError):
    """The file cannot be opened or decoded as a video."""


class MissingVideoError(UnreadableVideoError, FileNotFoundError):
    """There is no file of that name."""


class NoVideoStreamError(Lip2SpeechError):
    """The file opens but holds no video stream (a sound file, say)."""


class EmptyVideoError(Lip2SpeechError):
    """The video stream holds no frame."""


class NoFaceError(Lip2SpeechError):
    """No face was found in the video."""


class MouthCropError(Lip2SpeechError):
    """Frames given as ready-made mouth crops cannot be such."""


class NoAudioError(Lip2SpeechError):
    """The file holds no sound, or cannot be read as sound."""


class LimitError(Lip2SpeechError):
    """A file is longer or larger than what is taken where many people share one machine."""


class DatasetError(Lip2SpeechError):
    """A corpus folder or a prepared folder is not laid out as expected."""


class DamagedClipError(DatasetError):
    """A file of one prepared clip is missing, damaged or of another length than the manifest says.

    Attributes:
        clip: The clip's ID.
    """

    def __init__(self, message: str, clip: str = ""):
        super().__init__(message, clip)
        self.clip = clip

    def __str__(self) -> str:
        return str(self.args[0])


class NoSpeechError(Lip2SpeechError):
    """No speech was detected in a recording that should show how somebody speaks."""


class NotFittedError(Lip2SpeechError):
    """A SpeechUnitExtractor without centroids was asked for units."""


class ClipLengthError(Lip2SpeechError):
    """A clip's sound and video differ too much in length to belong together."""


class FliteError(Lip2SpeechError):
    """The program flite, which speaks for the rendered speakers, is missing or behaves unexpectedly."""


class WorkerDiedError(Lip2SpeechError):
    """One of several processes that share a piece of work died; what was done is kept."""


class OutputError(OSError):
    """A file cannot be written: the disk is full, the folder is read-only, or the name is not allowed.

    Not a Lip2SpeechError, since no input is to blame: a preparation must stop and not skip the clip.
    """

    def __str__(self) -> str:
        return str(self.args[-1])


class UnexpectedError(Lip2SpeechError):
    """A bug of this package stopped a long run; the message holds its traceback."""


class CheckpointError(Lip2SpeechError):
    """A published checkpoint is damaged, of no known kind, or lacks or misshapes what its kind holds."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint names something that only code to be run would name."""


class ConfigError(Lip2SpeechError):
    """The settings of a training hold an unknown key or an impossible value, or cannot be read."""


class TrainingError(Lip2SpeechError):
    """A training cannot start, continue or resume."""


class NotLoadedError(Lip2SpeechError, OSError):
    """Nothing could be loaded: no such folder, repository or revision, no access, or no connection."""


class WrongKindError(Lip2SpeechError):
    """A repository or folder holds another kind of model than the class that was to load it."""


class PublishError(Lip2SpeechError):
    """A checkpoint cannot be published: it is not whole, its card is not, or the Hub refuses."""


class MetricError(Lip2SpeechError):
    """A metric cannot be computed on what was given."""


class UndefinedMetricError(MetricError):
    """What was given is well formed, but holds nothing that the metric could rate: count such clips apart."""


class PesqUndefinedError(UndefinedMetricError):
    """PESQ finds nothing in the speech that it could rate."""


def message_for_user(error: Exception) -> str | None:
    """What a program tells its user in one line; None where the error is a bug, whose traceback is needed."""
    if isinstance(error, (Lip2SpeechError, MissingExtraError)):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return missing_extra(error)
    if isinstance(error, OSError) and error.errno is not None:  # the system's: no space, no permission, ...
        return str(error)
    return None
