"""Serving a page of Gradio from this machine."""

import os
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hf_lip2speech_extras import require_needed

from .errors import Lip2SpeechError

SESSIONS = 100  # visitors of whom Gradio remembers what changed on their page; its default is 10,000

if TYPE_CHECKING:
    import fastapi
    import gradio


def look() -> dict[str, Any]:
    """The theme of the pages, as an argument of Gradio's `launch`."""
    import gradio

    fonts = [gradio.themes.LocalFont("IBM Plex Sans", weights=(400, 700))]
    fallbacks = ["ui-sans-serif", "system-ui", "sans-serif"]
    theme = gradio.themes.Soft(primary_hue="rose", neutral_hue="slate", font=[*fonts, *fallbacks])
    # Gradio's own shades have too little contrast (WCAG AA: 4.5 to 1, of a field's edge 3 to 1).
    theme.set(
        body_text_color_subdued="*neutral_600",
        block_label_text_color="*primary_700",
        block_title_text_color="*primary_700",
        color_accent="*primary_600",
        checkbox_label_background_fill_selected="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_secondary_border_color="*neutral_500",
        button_secondary_border_color_hover="*neutral_500",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_hover="*neutral_500",
        input_border_color="*neutral_500",
        input_border_color_focus="*primary_600",
        input_border_width="1px",
    )
    return {"theme": theme}


def serve(
    make_page: Callable[[], tuple["gradio.Blocks", dict[str, Any]]],
    name: str,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    max_megabytes: int,
    on_start: Callable[["fastapi.FastAPI"], Any] = lambda app: None,
) -> None:
    """Serve a page until it is interrupted.

    Uploads and outputs are kept in a temporary folder, which is removed with the server. Gradio's telemetry
    is off.

    Args:
        make_page: Makes the page, and more arguments of Gradio's `launch`, when Gradio's folder is chosen.
        name: What messages call it, such as "The demo".
        host: Address to listen at; None: $GRADIO_SERVER_NAME, which a Space sets, else 127.0.0.1.
        port: None: $GRADIO_SERVER_PORT, else the first free one from 7860.
        share: Also reachable from anywhere, through Gradio's relay server.
        max_megabytes: Of a file.
        on_start: Called with the application before its address is printed.

    Raises:
        ImportError: gradio or matplotlib is not installed (extra "demo").
        Lip2SpeechError: The address or the port is not available.
    """
    require_needed("demo")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when a page is made
    with tempfile.TemporaryDirectory(prefix="lip2speech-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page, options = make_page()
        try:
            app, url, shared_url = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                max_file_size=f"{max_megabytes}mb",
                state_session_capacity=SESSIONS,
                run_history=False,  # Gradio would keep outputs in the visitor's browser
                enable_monitoring=False,
                quiet=True,
                prevent_thread_lock=True,
                **options,
            )
        except (OSError, ValueError) as error:  # in use; not reachable by its own address
            raise Lip2SpeechError(
                f"{name} cannot be served at {host or '127.0.0.1'}, port {port or '7860 to 7959'}: the "
                "port is taken, the address is not this machine's, or a proxy is in the way (set NO_PROXY). "
                f"({error})"
            ) from error
        on_start(app)
        print(f"{name} is at {shared_url or url} (stop it with Ctrl-C)", flush=True)
        page.block_thread()
