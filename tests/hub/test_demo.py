"""The demo without a browser: files in, files out; every bad file gets a sentence; nothing is kept."""

import importlib.util
import itertools
import shutil
import socket
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

import hf_lip2speech_cli
from hf_lip2speech.constants import SAMPLES_PER_FRAME
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.hub.demo import launch, speaking
from hf_lip2speech.hub.demo.speaking import message_of, speak_to_files
from hf_lip2speech.hub.repository import RENDERED_SPEAKER
from hf_lip2speech.media.audio import read_audio, write_audio
from hf_lip2speech.media.video import iter_frames, write_video
from hf_lip2speech.pipeline import LipToSpeechPipeline
from hf_lip2speech.text.characters import ENGLISH

from ..tiny_model import tiny_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed (extra demo)"
)

TALKER = str(RENDERED_SPEAKER)  # 75 frames
VOICE = Path(__file__).parents[1] / "synthetic" / "rendered" / "audio_16k" / "kal" / "pwat7s.flac"


@pytest.fixture(scope="module")
def speak() -> LipToSpeechPipeline:
    return LipToSpeechPipeline(model=tiny_model(), device="cpu")


@pytest.fixture(scope="module")
def second(tmp_path_factory) -> str:
    """The first second of the rendered speaker."""
    path = tmp_path_factory.mktemp("second") / "second.mp4"
    write_video(path, itertools.islice(iter_frames(TALKER), 25))
    return str(path)


@pytest.fixture(scope="module")
def spoken(speak, second, tmp_path_factory):
    """What the page shows of it, and the progress on the way."""
    told = []
    folder = tmp_path_factory.mktemp("spoken")
    files = speak_to_files(speak, second, folder, progress=lambda *progress: told.append(progress))
    return files, told


def test_the_video_comes_back_with_the_speech_in_it(spoken, second):
    files, _ = spoken
    before, after = (np.stack(list(iter_frames(name))) for name in (second, files.video))
    np.testing.assert_array_equal(after, before)
    speech = read_audio(files.speech)
    assert speech.shape == (25 * SAMPLES_PER_FRAME,) and speech.std() > 0
    assert abs(len(read_audio(files.video)) - len(speech)) <= 1024
    assert files.picture.read_bytes().startswith(b"\x89PNG") and files.notes == []


def test_the_mouth_is_the_models_88_pixels_and_can_be_given_back_as_a_crop(spoken, speak, second):
    files, _ = spoken
    mouth = np.stack(list(iter_frames(files.mouth)))
    assert mouth.shape == (25, 88, 88, 3)
    again = speak(str(files.mouth), cropped=True, return_mouth=True)["mouth"][:, 4:92, 4:92]
    original = speak(second, return_mouth=True)["mouth"][:, 4:92, 4:92]
    assert np.abs(again.astype(int) - original).mean() < 1.5
    assert abs(len(read_audio(files.mouth)) - 25 * SAMPLES_PER_FRAME) <= 1024


def test_progress_goes_through_the_stages_with_a_total_for_each(spoken):
    _, told = spoken
    stages = [stage for stage, _ in itertools.groupby(stage for stage, _, _ in told)]
    assert stages == ["landmarks", "crops", "reading lips", "speaking"]
    assert {total for _, _, total in told} == {25}


def test_a_recording_and_a_named_voice_speak_otherwise_than_the_default(spoken, speak, second, tmp_path):
    default = read_audio(spoken[0].speech)
    for name, voice in {"bob": {"voice": "bob"}, "recording": {"recording": str(VOICE)}}.items():
        (tmp_path / name).mkdir()
        speech = read_audio(speak_to_files(speak, second, tmp_path / name, **voice).speech)
        assert speech.shape == default.shape and np.abs(speech - default).max() > 1e-3


def test_pictures_that_browsers_may_not_show_come_back_as_h264(speak, tmp_path):
    source, out = tmp_path / "talker.mkv", tmp_path / "out"
    out.mkdir()
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 360, 288, "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in itertools.islice(iter_frames(TALKER), 10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    files = speak_to_files(speak, str(source), out)
    with av.open(str(files.video)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    assert len(list(iter_frames(files.video))) == 10


def test_a_damaged_video_speaks_with_a_note_that_names_the_file_and_not_its_folder(speak, tmp_path):
    broken = tmp_path / "broken.mp4"
    content = Path(TALKER).read_bytes()
    broken.write_bytes(content[: len(content) * 2 // 3])
    (note,) = speak_to_files(speak, str(broken), tmp_path).notes
    assert note.startswith("broken.mp4") and str(tmp_path) not in note


def faceless(path: Path) -> None:
    write_video(path, np.random.default_rng(0).integers(0, 256, (5, 96, 128, 3), dtype=np.uint8))


def text(path: Path) -> None:
    path.write_text("Dear friend, this is no video.")


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
        frame.rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def long(path: Path) -> None:
    write_video(path, (np.zeros((32, 32, 3), np.uint8) for _ in range(25 * 31)))


def huge(path: Path) -> None:
    write_video(path, np.zeros((1, 2320, 4100), np.uint8))


def nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(faceless, "No face was found", id="faceless"),
        pytest.param(text, "cannot be read as a video", id="text"),
        pytest.param(sound_alone, "holds only sound", id="sound"),
        pytest.param(nothing, "cannot be read as a video", id="empty file"),
        pytest.param(long, "This video lasts 31 s; at most 30 s", id="too long"),
        pytest.param(huge, "4100x2320 pixels; at most 4K", id="too large"),
        pytest.param(lambda path: None, "cannot be read as a video", id="no file"),
    ],
)
def test_a_video_that_will_not_do_is_told_so_in_words_of_the_page(speak, tmp_path, make, message):
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(Lip2SpeechError) as failure:
        speak_to_files(speak, str(path), tmp_path)
    assert message in message_of(failure.value)
    assert "clip.mp4" not in message_of(failure.value) and "cropped" not in message_of(failure.value)


def test_a_video_that_is_longer_than_its_head_says_is_stopped_on_the_way(speak, monkeypatch, tmp_path):
    monkeypatch.setattr(speaking, "check_video", lambda path: None)
    monkeypatch.setattr(speaking, "MAX_SECONDS", 0)
    with pytest.raises(Lip2SpeechError) as failure:
        speak_to_files(speak, TALKER, tmp_path)
    assert message_of(failure.value).startswith("This video is longer than its header says; at most 0 s")


def test_an_address_is_no_file_so_that_nobody_makes_the_server_fetch_it(speak, tmp_path):
    for given in (
        {"video": "http://127.0.0.1:1/a.mp4"},
        {"video": TALKER, "recording": "http://[::1]/a.wav"},
    ):
        with pytest.raises(Lip2SpeechError, match="no file 'http"):
            speak_to_files(speak, folder=tmp_path, **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: write_audio(path, np.zeros(16_000)), "No speech was found", id="silence"),
        pytest.param(text, "recording of the voice cannot be read", id="text"),
        pytest.param(
            lambda path: write_audio(path, np.zeros(62 * 16_000)), "at most 60 s is accepted", id="too long"
        ),
    ],
)
def test_a_recording_that_will_not_do_is_told_so(speak, tmp_path, make, message):
    make(tmp_path / "voice.wav")
    with pytest.raises(Lip2SpeechError) as failure:
        speak_to_files(speak, TALKER, tmp_path, recording=str(tmp_path / "voice.wav"))
    assert message in message_of(failure.value) and str(tmp_path) not in message_of(failure.value)


def test_without_gradio_the_command_says_in_a_line_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert hf_lip2speech_cli.main(["demo"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("hf-lip2speech: error: gradio is not installed") and line.endswith('[demo]"')


def test_the_command_hands_its_arguments_over(monkeypatch):
    from hf_lip2speech import pipeline
    from hf_lip2speech.hub import demo

    seen = []
    monkeypatch.setattr(hf_lip2speech_cli.models, "require_needed", lambda command: None)
    monkeypatch.setattr(pipeline, "load_pipeline", lambda name: name)
    monkeypatch.setattr(demo, "launch", lambda *given, **options: seen.append((*given, options)))
    line = "demo -m some/model --host 0.0.0.0 --port 80 --share"
    assert hf_lip2speech_cli.main(line.split()) == hf_lip2speech_cli.main(["demo"]) == 0
    assert seen == [
        ("some/model", {"host": "0.0.0.0", "port": 80, "share": True}),
        ("bundled", {"host": None, "port": None, "share": False}),
    ]


@pytest.mark.parametrize("told", [False, True])
def test_the_page_asks_for_a_text_where_the_model_takes_one(second, tmp_path, told):
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    from hf_lip2speech.hub.demo.page import make_page

    model = tiny_model(text_vocabulary=ENGLISH, text_conditioner_size=16 if told else None)
    speak = LipToSpeechPipeline(model=model, device="cpu")
    blocks = make_page(speak).blocks.values()
    assert [block.visible for block in blocks if block.elem_id == "script"] == [told]
    if told:
        files = speak_to_files(speak, second, tmp_path, text="No!")
        assert files.text == "no" and files.subtitles is not None
        assert files.subtitles.read_text().startswith("WEBVTT") and "no" in files.subtitles.read_text()


@pytest.fixture(scope="module")
def page(speak, tmp_path_factory):
    """The page served, its client, and the folder of its files; what is older than a second is swept away."""
    gradio = pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    from gradio_client import Client

    from hf_lip2speech.hub.demo import page as module

    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setattr(module, "SWEEP", 1)
        patch.setattr(module, "AGE", 5)
        served = module.make_page(speak)
        _, url, _ = served.launch(prevent_thread_lock=True, quiet=True, **module.LOOK)
        try:
            yield Client(url, verbose=False, download_files=str(folder.with_name("downloads"))), folder
        finally:
            served.close()
            gradio.close_all()


def test_the_page_speaks_and_then_forgets_what_it_was_given_but_not_its_examples(page, second, tmp_path):
    from gradio_client import handle_file

    client, folder = page
    mine = tmp_path / "mine.mp4"
    shutil.copyfile(second, mine)
    before = set(Path("/tmp").glob("lip2speech-*"))
    files = client.predict(handle_file(mine), "bob", None, api_name="/speak")
    names = ["speech.mp4", "mouth.mp4", "speech.wav", "speech.png"]
    assert [Path(file).name for file in files[:4]] == names
    assert read_audio(files[2]).shape == (25 * SAMPLES_PER_FRAME,)

    def kept() -> set[str]:
        return {path.name for path in folder.rglob("*.*") if path.is_file()}

    deadline = time.monotonic() + 30
    while kept() & {"mine.mp4", *names}:
        assert time.monotonic() < deadline, kept()
        time.sleep(0.2)
    assert {"talker.mp4", "talker_2.mp4", "talker_3.mp4"} <= kept()
    assert set(Path("/tmp").glob("lip2speech-*")) <= before


@pytest.mark.parametrize(
    ("video", "voice", "message"),
    [
        pytest.param(None, "ann", "There is no video yet.", id="no video"),
        pytest.param(TALKER, "<recording>", "There is no recording of a voice yet.", id="no recording"),
        pytest.param("<b>.mp4", "ann", "No face was found in this video.", id="no face"),
    ],
)
def test_the_page_answers_with_a_sentence(page, tmp_path, monkeypatch, video, voice, message):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    monkeypatch.chdir(tmp_path)
    faceless(tmp_path / "<b>.mp4")
    with pytest.raises(AppError, match=message):
        page[0].predict(video and handle_file(video), voice, None, api_name="/speak")


def test_a_port_that_is_taken_is_said_in_a_sentence(page, speak, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "set back afterwards")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "set back afterwards")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Lip2SpeechError, match=f"cannot be served at 127.0.0.1, port {port}: the port is"):
            launch(speak, port=port)
    assert list(tmp_path.iterdir()) == []


def test_the_bar_fills_once_over_all_stages(page, spoken):
    from hf_lip2speech.hub.demo.page import _bar

    shown = []
    fill = _bar(lambda fraction, desc: shown.append((fraction, desc)))
    for stage, done, total in spoken[1]:
        fill(stage, done, total)
    fractions = [fraction for fraction, _ in shown]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert [name for name, _ in itertools.groupby(name for _, name in shown)] == [
        "Finding the face",
        "Cutting out the mouth",
        "Reading lips",
        "Speaking",
    ]
