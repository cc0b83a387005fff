"""The web demo: upload or record a video, and hear it speak."""

from ...pipeline import LipToSpeechPipeline
from ...web import serve
from .speaking import MAX_MEGABYTES

__all__ = ["launch"]


def launch(
    speak: LipToSpeechPipeline, *, host: str | None = None, port: int | None = None, share: bool = False
) -> None:
    """Serve the demo until it is interrupted.

    Uploads and outputs are deleted after about an hour.

    Args:
        speak: The pipeline.
        host, port, share: see `web.serve`.

    Raises:
        ImportError: gradio or matplotlib is not installed (extra "demo").
        Lip2SpeechError: the address or the port is not available.
    """

    def make():
        from .page import LOOK, make_page

        return make_page(speak), LOOK

    def add(app) -> None:
        from .live import add_live

        add_live(app, speak)

    place = {"host": host, "port": port, "share": share}
    serve(make, "The demo", **place, max_megabytes=MAX_MEGABYTES, on_start=add)
