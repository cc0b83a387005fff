"""The page of the demo, in Gradio."""

import html
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import gradio as gr

from hf_lip2speech_extras import PACKAGE

from ...errors import Lip2SpeechError
from ...pipeline import LipToSpeechPipeline
from ...video.tracks import TALKING
from ...web import look
from ..repository import RENDERED_SPEAKER
from .live import live_html
from .speaking import (
    MAX_MEGABYTES,
    MAX_RECORDING_SECONDS,
    MAX_SECONDS,
    OneThread,
    Spoken,
    is_bundled,
    message_of,
    samples,
    show_faces,
    speak_to_files,
    voice_choices,
)

QUEUE = 8  # visitors that can wait, less than a minute; one is served at a time, others are told to come back
MODEL = "model"  # Gradio's name for what one visitor uses at a time
SWEEP, AGE = 600, 3600  # seconds: how often files are deleted, and how old they are then
EXAMPLES = [str(path) for path in sorted(RENDERED_SPEAKER.parent.glob("*.mp4"))]
# lips need no microphone
CAMERA = {"video": {"facingMode": "user", "width": {"ideal": 1280}}, "audio": False}
MOVING = ("The one that talks", TALKING)
QUIET: dict[str, Any] = {
    "queue": False,
    "api_visibility": "private",
    "show_progress": "hidden",
}  # of an event
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": MODEL}
RECORDING = "<recording>"  # the choice of a voice that is not one of the model's

# The pipeline's stages: the name on the page, and its begin and end in the progress bar.
STAGES = {
    "landmarks": ("Finding the face", 0.0, 0.6),
    "crops": ("Cutting out the mouth", 0.6, 0.75),
    "reading lips": ("Reading lips", 0.75, 0.9),
    "speaking": ("Speaking", 0.9, 1.0),
}

INTRODUCTION = f"""
# Lip to speech
Give a silent video of a talking face, choose a voice, and hear what the lips say. At most {MAX_SECONDS} s and
{MAX_MEGABYTES} MB.
"""
CONSENT = (
    "The result is a guess at what was said, in a voice that you choose. Label it as synthetic wherever you "
    "play it, get consent from the people whose face or voice you use, and don't use it to eavesdrop or to "
    "impersonate anyone. All files are deleted after about an hour."
)
PICTURE = "**Over time:** the mouth, the predicted mel spectrogram and speech units"

# The result is above the button on a desktop, and below it on a phone.
SCROLL = (
    "() => document.getElementById('talking').scrollIntoView("
    "{behavior: 'smooth', block: innerWidth < 700 ? 'start' : 'nearest'})"
)

SCRIPTS = [
    Path(__file__).with_name(name).read_text(encoding="utf-8").rstrip() for name in ("page.js", "live.js")
]
LOOK = look() | {
    "footer_links": ["api", "gradio"],
    "css_paths": Path(__file__).with_name("page.css"),
    "js": f"() => {{ {'; '.join(f'({script})()' for script in SCRIPTS)} }}",
}


def make_page(speak: LipToSpeechPipeline) -> gr.Blocks:
    """The page, to be launched; one visitor is served at a time."""
    compute = OneThread()
    told = speak.model.config.lip2speech.text_conditioner_size is not None
    with gr.Blocks(title="Lip to speech", analytics_enabled=False, delete_cache=(SWEEP, AGE)) as page:
        gr.Markdown(INTRODUCTION + about(speak))
        with gr.Tab("A video", elem_id="film-tab"):
            with gr.Row():
                with gr.Column():
                    video = gr.Video(
                        label="1. A talking face",
                        sources=["upload", "webcam"],
                        webcam_options=gr.WebcamOptions(constraints=CAMERA),
                        elem_id="video",
                    )
                    label = "Or try a rendered one"
                    gr.Examples(EXAMPLES, video, label=label, cache_examples=False, elem_id="examples")
                    face = _faces(video, compute)
                    voice, recording = _voices(speak, compute)
                    script = gr.Textbox(
                        "",
                        label="What is said, if you know it",
                        info="The speech keeps to these words, each when the lips say it.",
                        visible=told,
                        elem_id="script",
                    )
                    button = gr.Button(
                        "3. Make it speak", variant="primary", size="lg", interactive=False, elem_id="speak"
                    )
                    gr.Markdown(CONSENT, elem_id="consent")
                with gr.Column():
                    talking = gr.Video(
                        label="With speech", autoplay=True, buttons=["download"], elem_id="talking"
                    )
                    words = gr.Markdown(elem_id="words")
                    subtitles = gr.File(visible=False)
                    with gr.Row(visible=False) as parts:
                        mouth = gr.Video(
                            label="The model's input", buttons=["download"], min_width=140, elem_id="mouth"
                        )
                        speech = gr.Audio(
                            label="The speech", buttons=["download"], min_width=260, elem_id="speech"
                        )
            with gr.Column(visible=False) as below:
                gr.Markdown(PICTURE)
                picture = gr.Image(
                    label="Over time",
                    show_label=False,
                    type="filepath",
                    buttons=["download", "fullscreen"],
                    elem_id="picture",
                )
        with gr.Tab("Live", elem_id="live-tab"):
            gr.HTML(live_html(speak))
            gr.Markdown(CONSENT)
        if described := card(speak):
            with gr.Accordion("About this model", open=False, elem_id="card"):
                gr.Markdown(described)
        gr.Markdown(links(speak), elem_id="links")
        outputs = [talking, mouth, speech, picture, words, subtitles, parts, below]

        def run(
            video: str | None,
            voice: str | None,
            recording: str | None,
            face: int | str | None = TALKING,
            script: str | None = "",
            progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio looks for it here
        ) -> Iterator[list]:
            if video is None:
                raise _error("There is no video yet. Upload or record one, or choose an example.")
            if voice == RECORDING and recording is None:
                raise _error("There is no recording of a voice yet. Add one, or choose another voice.")
            with tempfile.TemporaryDirectory(prefix="lip2speech-") as folder:
                try:
                    spoken = compute(
                        speak_to_files,
                        speak,
                        video,
                        folder,
                        voice=None if voice == RECORDING else voice,
                        recording=recording if voice == RECORDING else None,
                        face=TALKING if face is None else face,
                        text=script or "",
                        progress=_bar(progress),
                    )
                except Lip2SpeechError as error:
                    raise _error(message_of(error)) from error
                for note in spoken.notes:
                    gr.Warning(html.escape(note))
                yield _shown(spoken)  # Gradio copies the files while it waits here

        video.change(lambda path: gr.Button(interactive=path is not None), video, button, **QUIET)
        button.click(js=SCROLL, api_visibility="private")
        spoken = button.click(
            run,
            [video, voice, recording, face, script],
            outputs,
            api_name="speak",
            show_progress_on=talking,
            **ONE_AT_A_TIME,
        )
        spoken.success(js=SCROLL, api_visibility="private")
        spoken.success(lambda path: gr.Video(subtitles=path), subtitles, talking, **QUIET)
    page.queue(max_size=QUEUE)
    return page


def about(speak: LipToSpeechPipeline) -> str:
    """A line on the model."""
    if is_bundled(speak):
        return (
            "**This model knows only the 51 words of GRID's sentences** (“bin red at g four please”): all "
            "other speech comes out as those words."
        )
    return ""


def card(speak: LipToSpeechPipeline) -> str:
    """The first screen of the card of a model in a folder; "" where there is none."""
    path = Path(speak.model.config._name_or_path) / "README.md"
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8").split("\n---\n", 1)[-1]
    return re.split(r"\n## (?:Samples|Evaluation)|\n<", text)[0]


def links(speak: LipToSpeechPipeline) -> str:
    """Where the model's card, the code and the paper are."""
    name = speak.model.config._name_or_path
    found = {}
    if name and not Path(name).exists():
        found["Model card"] = f"https://huggingface.co/{name}"
    stated = metadata(PACKAGE).get_all("Project-URL") or []
    found |= dict(line.split(", ", 1) for line in stated)
    return " · ".join(f"[{title}]({url})" for title, url in found.items())


def _faces(video: gr.Video, compute: OneThread) -> gr.Radio:
    """The choice of a face, for videos that show several."""
    with gr.Accordion("Several people in the picture?", open=False, elem_id="faces"):
        button = gr.Button("Show their numbers", interactive=False, elem_id="show-faces")
        picture = gr.Image(
            show_label=False, type="filepath", buttons=[], visible=False, elem_id="faces-picture"
        )
        face = gr.Radio([MOVING], value=TALKING, label="Whose lips?", elem_id="face")

    def show(path: str) -> Iterator[tuple]:
        with tempfile.TemporaryDirectory(prefix="lip2speech-") as folder:
            numbered = Path(folder) / "faces.png"
            try:
                count = compute(show_faces, path, numbered)
            except Lip2SpeechError as error:
                raise _error(message_of(error)) from error
            choices = [MOVING, *((f"Face {number}", number) for number in range(count))]
            yield gr.Image(str(numbered), visible=True), gr.Radio(choices, value=TALKING)

    button.click(show, video, [picture, face], api_visibility="private", **ONE_AT_A_TIME)
    video.change(
        lambda path: (
            gr.Button(interactive=path is not None),
            gr.Image(None, visible=False),
            gr.Radio([MOVING], value=TALKING),
        ),
        video,
        [button, picture, face],
        **QUIET,
    )
    return face


def _voices(speak: LipToSpeechPipeline, compute: OneThread) -> tuple[gr.components.Component, gr.Audio]:
    """The choice of a voice, a sample of it, and the upload of a recording that one of the choices needs."""
    choices = [*voice_choices(speak), ("That of a recording", RECORDING)]
    first = choices[0][1]
    kind = gr.Radio if len(choices) < 8 else gr.Dropdown
    voice = kind(choices, value=first, label="2. Voice", elem_id="voice")
    named = first != RECORDING
    hear = gr.Button("Hear this voice", size="sm", visible=named, elem_id="hear")
    sample = gr.Audio(
        label="A sample of this voice", autoplay=True, visible=False, buttons=[], elem_id="sample"
    )
    recording = gr.Audio(
        label=f"Recording of one voice, at most {MAX_RECORDING_SECONDS} s",
        buttons=[],  # one of the default buttons shares it with the Hub
        sources=["upload", "microphone"],
        type="filepath",
        visible=not named,
        elem_id="recording",
    )
    of = samples(speak)
    hear.click(
        lambda chosen: gr.Audio(compute(of, chosen), visible=True),
        voice,
        sample,
        api_visibility="private",
        **ONE_AT_A_TIME,
    )
    voice.change(
        lambda chosen: (
            gr.Audio(visible=chosen == RECORDING),
            gr.Button(visible=chosen != RECORDING),
            gr.Audio(None, visible=False),
        ),
        voice,
        [recording, hear, sample],
        **QUIET,
    )
    return voice, recording


def _error(message: str) -> gr.Error:
    return gr.Error(html.escape(message), print_exception=False)  # Gradio would take it for HTML


def _bar(progress: gr.Progress) -> Any:
    """A progress function for the pipeline that fills one bar over all stages."""

    def fill(stage: str, done: int, total: int | None) -> None:
        name, start, end = STAGES[stage]
        if done % 5 and done != total:  # each call is a message to the browser
            return
        progress(start + (end - start) * min(1.0, done / total) if total else start, desc=name)

    return fill


def _shown(spoken: Spoken) -> list:
    return [
        *map(str, (spoken.video, spoken.mouth, spoken.speech, spoken.picture)),
        f"The lips say: **{html.escape(spoken.text)}**" if spoken.text else "",
        None if spoken.subtitles is None else str(spoken.subtitles),
        gr.Row(visible=True),
        gr.Column(visible=True),
    ]
