"""The demo served, with nothing left behind."""

import os
import tempfile

from ...errors import Lip2SpeechError
from ...extras import require_extra
from ...pipeline import LipToSpeechPipeline
from .limits import MAX_MEGABYTES


def require_libraries() -> None:
    """Raises an ImportError that names the extra where gradio or matplotlib is not installed."""
    for module in ("gradio", "matplotlib.figure"):
        require_extra(module, "demo")


def launch(
    speak: LipToSpeechPipeline, *, host: str | None = None, port: int | None = None, share: bool = False
) -> None:
    """Serve the demo until it is interrupted.

    What visitors upload and what is made of it lies in a temporary folder, for about an hour, and the folder
    goes when the server does. Gradio's telemetry is off.

    Args:
        speak: the pipeline that speaks.
        host: address to listen at; None: $GRADIO_SERVER_NAME, which a Space sets, else 127.0.0.1.
        port: None: $GRADIO_SERVER_PORT, else the first free one from 7860.
        share: also reachable from anywhere, through a tunnel of Gradio's makers.

    Raises:
        ImportError: gradio or matplotlib is not installed (extra "demo").
        Lip2SpeechError: the address or the port is not free.
    """
    require_libraries()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when a page is made
    with tempfile.TemporaryDirectory(prefix="lip2speech-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        from .page import LOOK, make_page

        page = make_page(speak)
        try:
            _, url, shared_url = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                max_file_size=f"{MAX_MEGABYTES}mb",
                footer_links=["api", "gradio"],
                run_history=False,  # Gradio would keep what was made in the visitor's browser
                enable_monitoring=False,
                quiet=True,
                prevent_thread_lock=True,
                **LOOK,
            )
        except (OSError, ValueError) as error:  # in use; not reachable by its own address
            raise Lip2SpeechError(
                f"The demo cannot be served at {host or '127.0.0.1'}, port {port or '7860 to 7959'}: the "
                f"port is taken, the address not ours, or a proxy in the way (set NO_PROXY). ({error})"
            ) from error
        print(f"The demo is at {shared_url or url} (stop it with Ctrl-C)", flush=True)
        page.block_thread()
