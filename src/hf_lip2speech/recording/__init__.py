"""Filming a speaker, prompt by prompt: a page that leaves the folder which `personalise` reads."""

import os

from ..web import serve
from .takes import Session

__all__ = ["Session", "record"]

MAX_MEGABYTES = 500  # of a take


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

    def make():
        from .page import LOOK, make_page

        return make_page(session), LOOK

    serve(make, "The recorder", host="127.0.0.1", port=port, max_megabytes=MAX_MEGABYTES)
