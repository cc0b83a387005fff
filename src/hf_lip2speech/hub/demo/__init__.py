"""The web demo: upload or record a video, and hear it speak."""

import os
import tempfile

from ...errors import Lip2SpeechError
from ...extras import require_extra
from ...pipeline import LipToSpeechPipeline
from .speaking import MAX_MEGABYTES

__all__ = ["launch", "require_libraries"]


def require_libraries() -> None:
    """Raises an ImportError that names the extra where gradio or matplotlib is not installed."""
    for module in ("gradio", "matplotlib.figure"):
        require_extra(module, "demo")


def launch(
    speak: LipToSpeechPipeline, *, host: str | None = None, port: int | None = None, share: bool = False
) -> None:
    """Serve the demo until it is interrupted.

    Uploads and outputs are kept in a temporary folder for about an hour; the folder is removed with the
    server. Gradio's telemetry is off.

    Args:
        speak: The pipeline.
        host: Address to listen at; None: $GRADIO_SERVER_NAME, which a Space sets, else 127.0.0.1.
        port: None: $GRADIO_SERVER_PORT, else the first free one from 7860.
        share: Also reachable from anywhere, through Gradio's relay server.

    Raises:
        ImportError: gradio or matplotlib is not installed (extra "demo").
        Lip2SpeechError: the address or the port is not available.
    """
    require_libraries()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when a page is made
    with tempfile.TemporaryDirectory(prefix="lip2speech-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        from .live import add_live
        from .page import LOOK, make_page

        page = make_page(speak)
        try:
            app, url, shared_url = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                max_file_size=f"{MAX_MEGABYTES}mb",
                footer_links=["api", "gradio"],
                run_history=False,  # Gradio would keep outputs in the visitor's browser
                enable_monitoring=False,
                quiet=True,
                prevent_thread_lock=True,
                **LOOK,
            )
        except (OSError, ValueError) as error:  # in use; not reachable by its own address
            raise Lip2SpeechError(
                f"The demo cannot be served at {host or '127.0.0.1'}, port {port or '7860 to 7959'}: the "
                "port is taken, the address is not this machine's, or a proxy is in the way (set NO_PROXY). "
                f"({error})"
            ) from error
        add_live(app, speak)
        print(f"The demo is at {shared_url or url} (stop it with Ctrl-C)", flush=True)
        page.block_thread()
