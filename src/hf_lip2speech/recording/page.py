"""The recorder's page, in Gradio."""

import html

import gradio as gr

from ..web import look
from .takes import Session, check_take

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
LOOK = look() | {"css": CSS, "footer_links": []}


def make_page(session: Session) -> gr.Blocks:
    """The page, to be launched for one speaker."""
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
