"""The page of the demo, in Gradio."""

import html
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import Lip2SpeechError
from ...loading import BUNDLED
from ...pipeline import LipToSpeechPipeline
from ...web import look
from ..repository import RENDERED_SPEAKER
from .live import live_html
from .speaking import MAX_MEGABYTES, MAX_RECORDING_SECONDS, MAX_SECONDS, Spoken, message_of, speak_to_files

QUEUE = 20  # visitors that can wait; one is served at a time
SWEEP, AGE = 600, 3600  # seconds: how often files are deleted, and how old they are then
EXAMPLES = [str(path) for path in sorted(RENDERED_SPEAKER.parent.glob("*.mp4"))]
# lips need no microphone
CAMERA = {"video": {"facingMode": "user", "width": {"ideal": 1280}}, "audio": False}
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
Turn a silent video of a talking face into speech. One face, at most {MAX_SECONDS} s and {MAX_MEGABYTES} MB.
"""
CONSENT = (
    "The result is a guess at what was said, in a voice that you choose. Label it as synthetic wherever you "
    "play it, get consent from the people whose face or voice you use, and don't use it to eavesdrop or to "
    "impersonate anyone. All files are deleted after about an hour."
)
PICTURE = "**Over time:** the mouth, the predicted mel spectrogram and speech units"

# On a phone, the result is below the button.
SCROLL = (
    "() => { if (innerWidth < 700) document.getElementById('talking').scrollIntoView({behavior: 'smooth'}) }"
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
    with gr.Blocks(title="Lip to speech", analytics_enabled=False, delete_cache=(SWEEP, AGE)) as page:
        gr.Markdown(INTRODUCTION + about(speak))
        with gr.Tab("A video", elem_id="film-tab"):
            with gr.Row():
                with gr.Column():
                    video = gr.Video(
                        label="A talking face",
                        sources=["upload", "webcam"],
                        webcam_options=gr.WebcamOptions(constraints=CAMERA),
                        elem_id="video",
                    )
                    label = "Or try a rendered one"
                    gr.Examples(EXAMPLES, video, label=label, cache_examples=False, elem_id="examples")
                    voice, recording = _voices(speak)
                    button = gr.Button("Make it speak", variant="primary", size="lg", elem_id="speak")
                    gr.Markdown(CONSENT, elem_id="consent")
                with gr.Column():
                    talking = gr.Video(
                        label="With speech", autoplay=True, buttons=["download"], elem_id="talking"
                    )
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
        outputs = [talking, mouth, speech, picture, parts, below]

        def run(
            video: str | None,
            voice: str | None,
            recording: str | None,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio looks for it here
        ) -> Iterator[list]:
            if video is None:
                raise _error("There is no video yet. Upload or record one, or choose an example.")
            if voice == RECORDING and recording is None:
                raise _error("There is no recording of a voice yet. Add one, or choose another voice.")
            with tempfile.TemporaryDirectory(prefix="lip2speech-") as folder:
                try:
                    spoken = speak_to_files(
                        speak,
                        video,
                        folder,
                        voice=None if voice == RECORDING else voice,
                        recording=recording if voice == RECORDING else None,
                        progress=_bar(progress),
                    )
                except Lip2SpeechError as error:
                    raise _error(message_of(error)) from error
                for note in spoken.notes:
                    gr.Warning(html.escape(note))
                yield _shown(spoken)  # Gradio copies the files while it waits here

        button.click(js=SCROLL, api_visibility="private")
        spoken = button.click(
            run,
            [video, voice, recording],
            outputs,
            api_name="speak",
            show_progress_on=talking,
            concurrency_limit=1,
        )
        spoken.success(js=SCROLL, api_visibility="private")
    page.queue(max_size=QUEUE)
    return page


def about(speak: LipToSpeechPipeline) -> str:
    """A line on the model."""
    name = speak.model.config._name_or_path
    if Path(name) == BUNDLED:
        return (
            "This model knows only the 51 words of GRID's sentences (“bin red at g four please”): all other "
            "speech comes out as those words."
        )
    if name and not Path(name).exists():
        return f"Model: [{name}](https://huggingface.co/{name})."
    return ""


def _voices(speak: LipToSpeechPipeline) -> tuple[gr.components.Component, gr.Audio]:
    """The choice of a voice, and the upload of a recording that one of the choices needs."""
    default = speak.model.config.default_voice
    choices = [(f"{name} (default)" if name == default else name, name) for name in speak.voices]
    choices.sort(key=lambda choice: choice[1] != default)
    kind = gr.Radio if len(choices) < 8 else gr.Dropdown
    voice = kind(
        [*choices, ("a recording", RECORDING)], value=default or RECORDING, label="Voice", elem_id="voice"
    )
    recording = gr.Audio(
        label=f"Recording of one voice, at most {MAX_RECORDING_SECONDS} s",
        buttons=[],  # one of the default buttons shares it with the Hub
        sources=["upload", "microphone"],
        type="filepath",
        visible=default is None,
        elem_id="recording",
    )
    voice.change(
        lambda chosen: gr.Audio(visible=chosen == RECORDING),
        voice,
        recording,
        queue=False,
        api_visibility="private",
        show_progress="hidden",
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
    files = (spoken.video, spoken.mouth, spoken.speech, spoken.picture)
    return [*map(str, files), gr.Row(visible=True), gr.Column(visible=True)]
