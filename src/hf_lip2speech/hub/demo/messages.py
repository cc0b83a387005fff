"""Errors of this package in the words of the page, whose visitors have no command line."""

from ...errors import (
    EmptyVideoError,
    LimitError,
    Lip2SpeechError,
    NoAudioError,
    NoFaceError,
    NoSpeechError,
    NoVideoStreamError,
    UnreadableVideoError,
)

SAID: dict[type[Lip2SpeechError], str] = {
    NoFaceError: (
        "No face was found in this video. Take one in which a face looks into the camera, upright, well lit, "
        "and large enough that the mouth can be seen."
    ),
    NoVideoStreamError: (
        "This file holds sound and no moving picture. Lips are read from a video of a talking face."
    ),
    EmptyVideoError: "This video holds not one picture. Film or export it again.",
    UnreadableVideoError: (
        "This file cannot be read as a video. Does it play elsewhere? MP4, MOV, WebM, MKV, AVI and MPEG will "
        "do."
    ),
    NoAudioError: (
        "The recording of the voice cannot be read, or holds no sound. WAV, MP3, M4A, FLAC and OGG will do."
    ),
    NoSpeechError: (
        "Nobody was heard to speak in the recording of the voice. Give a few seconds of one person's speech, "
        "without music or noise."
    ),
}


def said(error: Lip2SpeechError) -> str:
    """What is wrong and what to do, for somebody who looks at the page."""
    for kind, message in SAID.items():
        if isinstance(error, kind):
            return message
    # The pipeline puts the video's path in front, which is the server's own business.
    return str(error.__cause__ if isinstance(error.__cause__, LimitError) else error)
