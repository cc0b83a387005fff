"""Filming a speaker, prompt by prompt: a page that leaves the folder which `personalise` reads."""

import html
import os
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from .audio.speech import FRAME, raise_volume, voiced_frames
from .constants import FRAME_RATE
from .data.corpora.clip import read_text, videos_in
from .errors import DatasetError, Lip2SpeechError, NoAudioError, NoFaceError
from .files import atomic_file, write_text
from .loading import BUNDLED, json_object
from .media.audio import read_audio
from .media.sources import ffmpeg_name, one_file
from .media.video import open_video
from .text.characters import encode_text
from .video.mouth import follow_mouth, view_problems
from .web import look, serve

LEAST_SECONDS, MOST_SECONDS = 1.0, 20.0
DARKEST, BRIGHTEST = 40.0, 215.0  # mean gray value 0..255 of mouths that are lit as those of most recordings
FAINTEST, USUAL = -45.0, -30.0  # dB relative to full scale, of the speech
LEAST_ABOVE_NOISE = 10.0  # dB, of the speech above the pauses
MOST_LOUD = 5e-3  # of the samples, above 0.9
MAX_MEGABYTES = 500  # of a take
CAMERA = {
    "video": {"facingMode": "user", "width": {"ideal": 1280}, "frameRate": {"ideal": 25}},
    # As the microphone hears it: what browsers clean away for calls is missing in the training.
    "audio": {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False},
}
HINTS = (
    "Sit in front of the camera, with light on your face. Start the recording, wait a moment, read the "
    "sentence aloud, wait a moment, and stop it."
)
CSS = """
.gradio-container { max-width: 760px !important; margin: 0 auto !important; }
#take video { max-height: 50vh; }
#take [data-testid=webcam-video] { transform: scaleX(-1); }  /* as in a mirror */
#prompt code { white-space: pre-wrap; overflow-wrap: anywhere; }
#take .time { display: none; }  /* of a video whose length the browser has not written */
"""


class Session:
    """Prompts, and the folder of their takes.

    Args:
        prompts: A text file (UTF-8), a prompt each line.
        videos: The folder, which may be missing.

    Raises:
        DatasetError: There is no prompt, or the file is not UTF-8.
        UnknownCharacterError: A prompt has a letter or digit that the bundled model does not know.
    """

    def __init__(self, prompts: str | os.PathLike[str], videos: str | os.PathLike[str]):
        lines = (" ".join(line.split()) for line in read_text(Path(prompts)).splitlines())
        self.prompts = [line for line in lines if line]
        self.videos = Path(videos)
        if not self.prompts:
            raise DatasetError(
                f"{os.fspath(prompts)} holds no prompt: write what is to be said, a line each."
            )
        vocabulary = json_object(BUNDLED / "config.json")["lip2speech"]["text_vocabulary"]
        for prompt in self.prompts:
            encode_text(prompt, vocabulary)

    def next_prompt(self) -> int | None:
        """The index of the first prompt without a take; None where all are recorded.

        The transcripts in the folder tell it, so that prompts may be added, removed and sorted.
        """
        texts = [path.with_suffix(".txt") for path in self._takes()]
        said = Counter(" ".join(read_text(text).split()) for text in texts if text.is_file())
        for index, prompt in enumerate(self.prompts):
            said[prompt] -= 1
            if said[prompt] < 0:
                return index
        return None

    def keep(self, take: str | os.PathLike[str], prompt: str) -> Path:
        """Store a take and its transcript under the next number; returns the video.

        Raises:
            OutputError: The folder cannot be written to.
        """
        numbers = [int(path.stem) for path in self._takes() if path.stem.isdecimal()]
        path = self.videos / f"{max(numbers, default=0) + 1:04d}{Path(take).suffix.lower()}"
        write_text(path.with_suffix(".txt"), f"{prompt}\n")
        with atomic_file(path) as unfinished:
            _copy_streams(take, unfinished)
        return path

    def _takes(self) -> list[Path]:
        return list(videos_in(self.videos, recursive=False))


def _copy_streams(source: str | os.PathLike[str], target: Path) -> None:
    """Copy a video with its length in its header, which browsers leave out; if that fails, as it is."""
    try:
        with av.open(ffmpeg_name(source), **one_file()) as read, av.open(str(target), "w") as written:
            streams = {stream: written.add_stream_from_template(stream) for stream in read.streams}
            for packet in read.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream]
                    written.mux(packet)
    except (av.FFmpegError, ValueError):
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class Verdict:
    """What is known of a take.

    Attributes:
        seconds: Of video.
        problems: Sentences that say what is wrong and what to do; none: it is good.
        usable: Whether a model could learn from it at all.
    """

    seconds: float
    problems: list[str]
    usable: bool = True


def check_take(path: str | os.PathLike[str]) -> Verdict:
    """Look for the speaker's face, at the light, and listen to the sound."""
    try:
        with warnings.catch_warnings(record=True) as caught, open_video(path) as video:
            warnings.simplefilter("always")
            mouth = follow_mouth(video, name="this take")
    except NoFaceError:
        advice = "No face was found. Look into the camera, upright, with light on your face."
        return Verdict(0.0, [advice], usable=False)
    except Lip2SpeechError as error:
        return Verdict(0.0, [f"This take cannot be read: {error}"], usable=False)
    seconds = len(mouth.crops) / FRAME_RATE
    problems = [_sentence(str(warning.message)) for warning in caught]
    problems += map(_sentence, view_problems(mouth.crops, mouth.points, mouth.face_mask))
    gray = float(mouth.crops.mean())
    if gray < DARKEST:
        problems.append("It is dark: put more light on your face, from the front.")
    elif gray > BRIGHTEST:
        problems.append("It is too bright: move away from the lamp or the window.")
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        problems.append(
            f"It lasts {seconds:.1f} s; between {LEAST_SECONDS:g} and {MOST_SECONDS:g} s are best."
        )
    return Verdict(seconds, problems + _sound_problems(path))


def _sound_problems(path: str | os.PathLike[str]) -> list[str]:
    try:
        sound = read_audio(path)
    except NoAudioError:
        return ["It has no sound: allow the microphone, unless a synthetic voice will speak for you."]
    voiced = voiced_frames(raise_volume(sound, USUAL))
    if not voiced.any():
        return ["No speech is heard: check the microphone, unless a synthetic voice will speak for you."]
    power = np.square(sound[: len(voiced) * FRAME].reshape(-1, FRAME), dtype=np.float64).mean(axis=1) + 1e-12
    speech = 10 * np.log10(power[voiced].mean())
    problems = []
    if speech < FAINTEST:
        problems.append("The speech is very quiet: go closer to the microphone, or turn it up.")
    if (np.abs(sound) > 0.9).mean() > MOST_LOUD:
        problems.append("The sound is distorted: go away from the microphone, or turn it down.")
    if not voiced.all() and speech - 10 * np.log10(np.median(power[~voiced])) < LEAST_ABOVE_NOISE:
        problems.append("It is noisy: close the window, turn off what hums, or go closer to the microphone.")
    return problems


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."


def make_page(session: Session) -> Any:
    """The page in Gradio, to be launched for one speaker."""
    import gradio as gr

    with gr.Blocks(title="Recorder", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        prompt = gr.Markdown(elem_id="prompt")
        take = gr.Video(
            label="Your take",
            sources=["webcam"],
            include_audio=True,
            webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
            elem_id="take",
        )
        verdict = gr.Markdown(HINTS, elem_id="verdict")
        with gr.Row():
            again = gr.Button("Record it again", interactive=False, elem_id="again")
            keep = gr.Button("Keep it and go on", variant="primary", interactive=False, elem_id="keep")

        def show() -> tuple:
            """The first prompt without a take."""
            index = session.next_prompt()
            if index is None:
                command = f"hf-lip2speech personalise {session.videos} MODEL"
                done = (
                    f"# All {len(session.prompts)} prompts are recorded\nThank you. Train with `{command}`."
                )
                return done, gr.Video(visible=False), "", gr.Button(visible=False), gr.Button(visible=False)
            text = html.escape(session.prompts[index])
            shown = f"{index + 1} of {len(session.prompts)}. Please say:\n# {text}"
            return shown, None, HINTS, gr.Button(interactive=False), gr.Button(interactive=False)

        def check(path: str | None) -> tuple:
            if path is None:
                return HINTS, gr.Button(interactive=False), gr.Button(interactive=False)
            found = check_take(path)
            if not found.problems:
                told = f"### Good\nYour face is seen and your speech is heard, for {found.seconds:.1f} s."
            else:
                told = "### Please check\n" + "\n".join(f"- {html.escape(one)}" for one in found.problems)
            return told, gr.Button(interactive=True), gr.Button(interactive=found.usable)

        def store(path: str | None) -> tuple:
            index = session.next_prompt()
            if path is not None and index is not None:
                session.keep(path, session.prompts[index])
            return show()

        outputs = [prompt, take, verdict, again, keep]
        page.load(show, None, outputs, api_visibility="private")
        take.change(check, take, [verdict, again, keep], show_progress_on=verdict, api_visibility="private")
        again.click(show, None, outputs, api_visibility="private")
        keep.click(store, take, outputs, api_visibility="private")
    return page


def record(
    prompts: str | os.PathLike[str], videos: str | os.PathLike[str], *, port: int | None = None
) -> None:
    """Serve the page on this machine until it is interrupted; takes that were kept are in the folder at once.

    Args:
        prompts: A text file (UTF-8) with what to say, a line each.
        videos: The folder for the takes. Prompts whose take is there are done.
        port: None: the first free one from 7860.

    Raises:
        ImportError: gradio is not installed (extra "demo").
        DatasetError: There is no prompt, or the file is not UTF-8.
        UnknownCharacterError: A prompt has a letter or digit that the bundled model does not know.
        Lip2SpeechError: The port is not available.
    """
    session = Session(prompts, videos)

    page = {"css": CSS, "footer_links": []}
    serve(
        lambda: (make_page(session), look() | page),
        "The recorder",
        host="127.0.0.1",
        port=port,
        max_megabytes=MAX_MEGABYTES,
    )
