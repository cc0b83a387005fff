"""Many people at the demo at once: how many are answered, how long they wait, and the server's memory.

    python scripts/measure_demo.py [--people 20] [--seconds 120] [--model bundled]

Each visitor uploads a video, asks for its speech, and begins again when there is an answer. Needs Linux.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from hf_lip2speech_extras import needs_extra

with needs_extra("demo"):
    import httpx

from hf_lip2speech.hub.repository import RENDERED_SPEAKER

BUSY = "queue"  # Gradio's word for it


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--video", type=Path, default=RENDERED_SPEAKER)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hf_lip2speech", "demo", "--model", arguments.model]
        environment = os.environ | {"TMPDIR": folder, "PYTHONUNBUFFERED": "1"}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            url = next(filter(None, (re.search(r"http://\S+?/", line) for line in server.stdout)))[0]
            report(arguments, url, server.pid)
        finally:
            server.terminate()
            server.wait()
    return 0


def report(arguments: argparse.Namespace, url: str, pid: int) -> None:
    """Let the visitors in, and print what became of them."""
    content = arguments.video.read_bytes()
    first = ask(url, content)
    print(f"alone: {first[0]} after {first[1]:.1f} s")
    answers: list[tuple[str, float]] = []
    until = time.monotonic() + arguments.seconds

    def visit() -> None:
        while time.monotonic() < until:
            answers.append(ask(url, content))
            time.sleep(0.5)

    people = [threading.Thread(target=visit) for _ in range(arguments.people)]
    for person in people:
        person.start()
    memory = []
    while any(person.is_alive() for person in people):
        memory.append(resident(pid))
        time.sleep(5)
    memory.append(resident(pid))
    waits = sorted(seconds for kind, seconds in answers if kind == "speech")
    print(
        f"{arguments.people} people, {arguments.seconds:.0f} s: {dict(Counter(kind for kind, _ in answers))}"
    )
    if waits:
        print(f"wait for speech: median {waits[len(waits) // 2]:.1f} s, longest {waits[-1]:.1f} s")
    print(f"the server's memory every 5 s, MiB: {memory}")


def ask(url: str, content: bytes) -> tuple[str, float]:
    """One visit: "speech", "busy" or what else was answered, and the seconds until then."""
    begin = time.monotonic()
    try:
        with httpx.Client(base_url=url, timeout=900) as client:
            (path,) = client.post("gradio_api/upload", files={"files": ("a.mp4", content)}).json()
            video = {"path": path, "meta": {"_type": "gradio.FileData"}}
            asked = client.post("gradio_api/call/speak", json={"data": [video, None, None, None, None]})
            if asked.status_code != 200:
                kind = "busy" if BUSY in asked.text.lower() else f"HTTP {asked.status_code}"
                return kind, time.monotonic() - begin
            kind = heard(client, asked.json()["event_id"])
    except httpx.HTTPError as error:
        kind = type(error).__name__
    return kind, time.monotonic() - begin


def heard(client: httpx.Client, event_id: str) -> str:
    """What the server says in the end."""
    event = ""
    with client.stream("GET", f"gradio_api/call/speak/{event_id}") as stream:
        for line in stream.iter_lines():
            event = line.removeprefix("event: ") if line.startswith("event: ") else event
            if line.startswith("data: ") and event == "complete":
                return "speech"
            if line.startswith("data: ") and event == "error":
                said = str(json.loads(line.removeprefix("data: ")))
                return "busy" if BUSY in said.lower() else said
    return "no answer"


def resident(pid: int) -> int:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


if __name__ == "__main__":
    sys.exit(main())
