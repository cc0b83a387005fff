"""`pipeline("lip-to-speech")`: every kind of input, batches and streams, voices, outputs, errors."""

import functools
import http.server
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from hf_lip2speech import Lip2SpeechWithVocoder
from hf_lip2speech.errors import (
    EmptyVideoError,
    Lip2SpeechError,
    MissingVideoError,
    NoFaceError,
    UnreadableVideoError,
)
from hf_lip2speech.media.audio import write_audio
from hf_lip2speech.media.video import write_video
from hf_lip2speech.pipeline import LipToSpeechPipeline
from hf_lip2speech.video.landmarks import Face

from .media.voices import babble
from .tiny_model import noise_videos, pitched_vocoder, tiny_model, tiny_pipeline, unit_vector

LENGTHS = (9, 4, 13, 7, 5)  # frames


@pytest.fixture(scope="module")
def speak() -> LipToSpeechPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def mouths() -> list[dict]:
    """Ready-made mouth crops as frames."""
    return noise_videos(*LENGTHS)


@pytest.fixture(scope="module")
def files(mouths, tmp_path_factory) -> list[str]:
    """The same crops as video files."""
    folder = tmp_path_factory.mktemp("mouths")
    paths = [str(folder / f"{index}.mp4") for index in range(len(mouths))]
    for path, mouth in zip(paths, mouths, strict=True):
        write_video(path, mouth["frames"])
    return paths


def test_pitch_is_returned_and_shifted_by_a_vocoder_that_knows_it_and_refused_by_others(speak, mouths):
    for asked in ({"return_f0": True}, {"pitch_shift": 2.0}):
        with pytest.raises(Lip2SpeechError, match="knows no pitch"):
            speak(mouths[0], cropped=True, **asked)
    vocoder = pitched_vocoder()
    vocoder.generator.pitch_predictor.head.bias.data[1] = 9.0  # voiced
    voices = {"ann": unit_vector(1)}
    model = Lip2SpeechWithVocoder.from_parts(speak.model.lip2speech, vocoder, voices)
    pitched = LipToSpeechPipeline(model=model)
    as_it_is = pitched(mouths[0], cropped=True, return_f0=True)
    raised = pitched(mouths[0], cropped=True, return_f0=True, pitch_shift=12)
    assert as_it_is["f0"].shape == (36,) and as_it_is["audio"].shape == (9 * 640,)
    np.testing.assert_allclose(raised["f0"], 2 * as_it_is["f0"], rtol=1e-5)
    assert not np.array_equal(raised["audio"], as_it_is["audio"])


def assert_same_speech(given, expected):
    assert len(given) == len(expected)
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one["audio"], other["audio"], atol=1e-4)


def test_one_input_gives_640_samples_a_frame_of_16_khz_sound(speak, mouths):
    for mouth, length in zip(mouths, LENGTHS, strict=True):
        speech = speak(mouth, cropped=True)
        assert set(speech) == {"audio", "sampling_rate"}
        assert speech["sampling_rate"] == 16000
        assert speech["audio"].shape == (640 * length,) and speech["audio"].dtype == np.float32
        assert np.abs(speech["audio"]).max() <= 1 and speech["audio"].std() > 1e-4


def test_parts_on_request_have_the_clips_own_length(speak, mouths):
    wanted = {"return_spectrogram": True, "return_units": True, "return_mouth": True}
    for speech, mouth, length in zip(
        speak(mouths, cropped=True, batch_size=5, **wanted), mouths, LENGTHS, strict=True
    ):
        assert speech["spectrogram"].shape == (4 * length, 80) and speech["spectrogram"].dtype == np.float32
        assert speech["unit_ids"].shape == (2 * length,) and speech["unit_ids"].dtype == np.int64
        assert 0 <= speech["unit_ids"].min() and speech["unit_ids"].max() < 20
        assert speech["mouth"].dtype == np.uint8
        np.testing.assert_array_equal(speech["mouth"], mouth["frames"])


def test_a_path_its_bytes_and_a_url_give_the_same_speech(speak, files, tmp_path):
    from pathlib import Path

    path = Path(files[0])
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=path.parent)
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{path.name}"
        inputs = [str(path), path, path.read_bytes(), bytearray(path.read_bytes()), url]
        speeches = [speak(item, cropped=True)["audio"] for item in inputs]
        server.shutdown()
    for speech in speeches[1:]:
        np.testing.assert_array_equal(speech, speeches[0])


@pytest.mark.parametrize("batch_size", [2, 4, 5])
def test_a_list_in_batches_gives_what_one_by_one_gives(speak, mouths, batch_size):
    alone = [speak(mouth, cropped=True) for mouth in mouths]
    assert_same_speech(speak(mouths, cropped=True, batch_size=batch_size), alone)
    assert max(np.abs(one["audio"]).max() for one in alone) > 1e-3


def test_a_list_is_always_a_batch(speak, mouths, files):
    assert speak([], cropped=True) == []
    assert len(speak(mouths[:1], cropped=True)) == 1
    assert len(speak(tuple(mouths[:2]), cropped=True)) == 2
    assert_same_speech(speak(files[:2], cropped=True), [speak(path, cropped=True) for path in files[:2]])


def test_worker_processes_give_the_same(speak, files):
    alone = speak(files, cropped=True)
    assert_same_speech(speak(files, cropped=True, batch_size=2, num_workers=2), alone)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_spawned_workers_get_can_be_pickled_and_holds_no_model(speak, mouths, batch_size, monkeypatch):
    made = []

    def loader(dataset, collate_fn, **settings):
        made.append(pickle.dumps((dataset, collate_fn)))
        dataset, collate_fn = pickle.loads(made[-1])
        return DataLoader(dataset, collate_fn=collate_fn, **settings)

    expected = speak(mouths, cropped=True)
    monkeypatch.setattr("hf_lip2speech.pipeline.DataLoader", loader)
    assert_same_speech(speak(mouths, cropped=True, batch_size=batch_size), expected)
    weights = sum(parameter.nbytes for parameter in speak.model.parameters())
    assert len(made) == 1 and len(made[0]) < weights / 2


class Rows(Dataset):
    """A torch data set that notes which rows were read."""

    def __init__(self, rows):
        self.rows, self.read = rows, []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.read.append(index)
        return self.rows[index]


def test_data_sets_and_generators_stream(speak, mouths):
    alone = [speak(mouth, cropped=True) for mouth in mouths]
    rows = Rows(mouths)
    stream = iter(speak(rows, cropped=True))
    assert not rows.read
    next(stream)
    assert rows.read == [0]
    assert_same_speech(list(speak(Rows(mouths), cropped=True, batch_size=2)), alone)

    taken = []

    def generate():
        for index, mouth in enumerate(mouths):
            taken.append(index)
            yield mouth

    stream = iter(speak(generate(), cropped=True))
    next(stream)
    assert len(taken) < len(mouths)
    assert_same_speech(list(speak(generate(), cropped=True, batch_size=2)), alone)
    assert_same_speech(list(speak(iter(mouths), cropped=True)), alone)


def test_rows_of_a_datasets_table_are_taken_by_their_video_column(speak, files):
    datasets = pytest.importorskip("datasets")
    alone = speak(files, cropped=True)
    table = datasets.Dataset.from_dict({"id": list("abcde"), "video": files})
    assert_same_speech(list(speak(table, cropped=True, batch_size=2)), alone)
    assert_same_speech(list(speak(KeyDataset(table, "video"), cropped=True)), alone)
    assert_same_speech(list(speak(table.to_iterable_dataset(), cropped=True, batch_size=2)), alone)
    undecoded = [{"video": {"path": None, "bytes": open(path, "rb").read()}} for path in files[:2]]
    assert_same_speech(speak(undecoded, cropped=True), alone[:2])
    assert_same_speech(speak([{"path": path, "bytes": None} for path in files], cropped=True), alone)


def test_each_way_to_name_a_speaker(speak, mouths, tmp_path, monkeypatch):
    from hf_lip2speech.media.audio import write_audio

    ann, bob = (speak(mouths[0], cropped=True, speaker=name)["audio"] for name in ("ann", "bob"))
    default = speak(mouths[0], cropped=True)["audio"]
    np.testing.assert_array_equal(ann, default)
    assert np.abs(ann - bob).max() > 1e-4
    for vector in (unit_vector(2), unit_vector(2).tolist(), torch.from_numpy(unit_vector(2))):
        np.testing.assert_allclose(speak(mouths[0], cropped=True, speaker=vector)["audio"], bob, atol=1e-6)
    batch = speak(mouths[:2], cropped=True, speaker=unit_vector(2), batch_size=2)
    np.testing.assert_allclose(batch[0]["audio"], bob, atol=1e-4)

    class Encoder:
        def embed(self, waveform):
            assert waveform.shape == (16000,)
            return unit_vector(2)

    monkeypatch.setattr("hf_lip2speech.models.voices._speaker_encoder", Encoder)
    recording = {"array": np.random.default_rng(0).normal(0, 0.1, 8000), "sampling_rate": 8000}
    write_audio(tmp_path / "bob.wav", np.full(16000, 0.1, np.float32))
    for speaker in (recording, tmp_path / "bob.wav", str(tmp_path / "bob.wav")):
        np.testing.assert_allclose(speak(mouths[0], cropped=True, speaker=speaker)["audio"], bob, atol=1e-6)


def test_the_speaker_of_the_pipeline_holds_until_a_call_names_another(mouths):
    speak = LipToSpeechPipeline(model=tiny_model(), device="cpu", speaker="bob", cropped=True)
    ann, bob = (speak(mouths[0], speaker=name)["audio"] for name in ("ann", "bob"))
    np.testing.assert_array_equal(speak(mouths[0])["audio"], bob)
    np.testing.assert_array_equal(speak(mouths[0], speaker=None)["audio"], ann)
    assert speak.voices == ["ann", "bob"]


@pytest.mark.parametrize(
    ("speaker", "message"),
    [
        pytest.param("carl", "'carl'.*neither a voice.*nor a file.*ann, bob", id="unknown name"),
        pytest.param(np.zeros(16000, np.float32), r"\(16000,\).*sampling_rate", id="samples without a rate"),
        pytest.param(np.full(256, np.nan), "not finite", id="not a number"),
        pytest.param(np.zeros(256), "all zero", id="zeros"),
        pytest.param(object(), "object", id="anything else"),
    ],
)
def test_a_wrong_speaker_is_found_before_any_video_is_read(speak, speaker, message):
    with pytest.raises(Lip2SpeechError, match=message):
        speak("no such video.mp4", speaker=speaker)


def test_a_model_without_a_default_voice_asks_for_one(mouths):
    model = tiny_model()
    model.config.default_voice = None
    speak = LipToSpeechPipeline(model=model, device="cpu")
    with pytest.raises(Lip2SpeechError, match="no default voice.*ann, bob"):
        speak("no such video.mp4")
    assert speak(mouths[0], cropped=True, speaker="bob")["audio"].shape == (640 * LENGTHS[0],)


def test_a_model_in_training_mode_is_put_into_eval_mode_and_learns_nothing(mouths):
    model = tiny_model().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    speak = LipToSpeechPipeline(model=model, device="cpu", cropped=True)
    first, second = (speak(mouths[0])["audio"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_the_video_stays_where_it_is_and_its_windows_are_moved(speak, mouths, monkeypatch):
    given = []
    generate = speak.model.generate_speech
    monkeypatch.setattr(speak, "device", torch.device("meta"))
    monkeypatch.setattr(
        speak.model, "generate_speech", lambda video, **rest: given.append(video) or generate(video, **rest)
    )
    speak(mouths[0], cropped=True)
    assert given[0].device.type == "cpu"


def test_the_sampling_rate_and_the_crop_size_are_those_of_the_model():
    model = tiny_model(crop_size=64)
    speak = LipToSpeechPipeline(model=model, device="cpu", cropped=True)
    assert speak.feature_extractor.crop_size == 64
    speech = speak({"frames": np.zeros((3, 96, 96), np.uint8), "fps": 25})
    assert speech["sampling_rate"] == model.config.sampling_rate == 16_000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_gives_float32_sound(mouths, dtype):
    speak = LipToSpeechPipeline(model=tiny_model().to(dtype), device="cpu", cropped=True)
    speech = speak(mouths[0], speaker=unit_vector(2), return_spectrogram=True)
    assert speech["audio"].dtype == speech["spectrogram"].dtype == np.float32
    assert np.isfinite(speech["audio"]).all()
    assert speech["audio"].shape == (640 * LENGTHS[0],)


def test_saved_and_loaded_by_name_it_says_the_same(speak, mouths, tmp_path):
    speak.model.save_pretrained(tmp_path)
    speak.feature_extractor.save_pretrained(tmp_path)
    again = pipeline("lip-to-speech", model=str(tmp_path), device="cpu", local_files_only=True)
    assert isinstance(again, LipToSpeechPipeline)
    assert_same_speech(again(mouths, cropped=True), speak(mouths, cropped=True))


def test_the_pipeline_saves_what_can_be_loaded_without_trusting_code(speak, mouths, tmp_path):
    speak.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    again = pipeline("lip-to-speech", model=str(tmp_path), device="cpu", local_files_only=True)
    assert_same_speech(again(mouths[:1], cropped=True), speak(mouths[:1], cropped=True))


def test_an_open_file_is_one_video_or_one_recording(speak, files, tmp_path):
    expected = speak(files[0], cropped=True)
    with open(files[0], "rb") as video:
        assert_same_speech([speak(video, cropped=True)], [expected])
        assert_same_speech(speak([video, files[0]], cropped=True, batch_size=2), [expected] * 2)
    recording = tmp_path / "voice.wav"
    write_audio(recording, babble(2.0))
    with open(recording, "rb") as voice:
        theirs = speak(files[0], cropped=True, speaker=voice)
    assert_same_speech([theirs], [speak(files[0], cropped=True, speaker=str(recording))])


def test_what_is_given_as_bytes_is_called_so(speak):
    with pytest.raises(UnreadableVideoError, match=r"^cannot open the given 11 bytes as a video: [^\]]*$"):
        speak(b"not a video")


def test_an_input_in_a_batch_that_fails_is_named(speak, files, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    with pytest.raises(UnreadableVideoError, match=r"Input 1: .*broken\.mp4"):
        speak([files[0], str(broken)], cropped=True, batch_size=2)
    with pytest.raises(UnreadableVideoError, match=r"Input 1: .*broken\.mp4"):
        speak([files[0], str(broken)], cropped=True, batch_size=2, num_workers=1)
    with pytest.raises(UnreadableVideoError, match=r"missing\.mp4"):
        speak(str(tmp_path / "missing.mp4"))
    with pytest.raises(EmptyVideoError, match="Input 1: "):
        speak([files[0], {"frames": np.zeros((0, 96, 96), np.uint8), "fps": 25}], cropped=True)


def test_a_video_without_a_face_is_named_and_the_way_out_mentioned(speak, files):
    with pytest.raises(NoFaceError, match=r"Input 0: .*0\.mp4.*cropped=True"):
        speak(files[:1])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        pytest.param(np.zeros((5, 96, 96), np.uint8), r"ndarray of shape \(5, 96, 96\).*fps", id="an array"),
        pytest.param({"frames": np.zeros((5, 96, 96), np.uint8)}, 'no "fps"', id="no rate"),
        pytest.param({"clip": "a.mp4"}, 'clip.*"video"', id="a row of another kind"),
        pytest.param(3, "a int", id="a number"),
        pytest.param([3], "Input 0: .*a int", id="a number in a list"),
    ],
)
def test_a_wrong_input_is_told_what_is_expected(speak, item, message):
    with pytest.raises(Lip2SpeechError, match=message):
        speak(item, cropped=True)


class SeenFrom:
    """A detector that finds one face from a frame on."""

    def __init__(self, first: int):
        self.first = first

    def reset(self):
        self.index = -1

    def __call__(self, frame):
        self.index += 1
        points = np.random.default_rng(0).uniform(20, 100, (468, 2)).astype(np.float32)
        return [Face(np.array([20, 20, 100, 100]), 1.0, points)] if self.index >= self.first else []


def test_where_no_face_is_seen_the_speech_is_silent_in_every_batch(speak):
    frames = np.random.default_rng(0).integers(0, 256, (60, 120, 120, 3), dtype=np.uint8)
    videos = [{"frames": frames, "fps": 25.0}, {"frames": frames[:45], "fps": 25.0}]
    for batch_size in (1, 2):
        for first in (0, 30):
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                spoken = speak(videos, detector=SeenFrom(first), return_face_mask=True, batch_size=batch_size)
            for speech in spoken:
                assert np.flatnonzero(~speech["face_mask"]).tolist() == list(range(first))
                assert not speech["audio"][: 640 * first].any() and speech["audio"][640 * first :].any()
            said = [str(one.message) for one in warned]
            assert [one for one in said if "no face from 0:00.0 to 0:01.2" in one] == said
            assert len(said) == (2 if first else 0)


class Two:
    """A detector that sees two faces beside each other."""

    def reset(self):
        pass

    def __call__(self, frame):
        points = np.random.default_rng(0).uniform(20, 100, (468, 2)).astype(np.float32)
        return [
            Face(np.array([20 + x, 20, 100 + x, 100]), 1.0, points + np.float32([x, 0])) for x in (120, 0)
        ]


def test_a_face_is_chosen_by_its_number_for_a_call_or_for_all(speak):
    frames = np.zeros((8, 120, 240, 3), dtype=np.uint8)
    frames[:, :, 120:] = 200
    video = {"frames": frames, "fps": 25.0}
    brightness = [
        speak([video, video], detector=Two(), face=face, return_mouth=True, batch_size=2)[1]["mouth"].mean()
        for face in (0, 1)
    ]
    assert brightness[0] < 60 < 140 < brightness[1]
    always = LipToSpeechPipeline(speak.model, speak.feature_extractor, detector=Two(), face=1)
    assert always(video, return_mouth=True)["mouth"].mean() == brightness[1]
    with pytest.raises(NoFaceError, match="face=2, but .* shows 2 faces"):
        speak(video, detector=Two(), face=2)
    with pytest.raises(Lip2SpeechError, match="face='left': expected 'talking', 'largest'"):
        speak(video, face="left")


def test_wrong_arguments_are_told_what_there_is(speak, mouths):
    with pytest.raises(TypeError, match="no argument crop;.*cropped"):
        speak(mouths[0], crop=True)
    with pytest.raises(Lip2SpeechError, match="cropped must be True or False, got 'yes'"):
        speak(mouths[0], cropped="yes")
    with pytest.raises(Lip2SpeechError, match="needs a Lip2SpeechWithVocoder, got a Lip2SpeechModel"):
        LipToSpeechPipeline(model=speak.model.lip2speech)


def test_raw_video_of_a_face_becomes_speech_alone_in_a_batch_and_in_workers(speak, grid_dir):
    paths = [str(path) for path in sorted((grid_dir / "s1").glob("*.mp4"))[:2]]
    stages = []
    alone = [
        speak(path, return_mouth=True, progress=lambda stage, done, total: stages.append(stage))
        for path in paths
    ]
    assert list(dict.fromkeys(stages)) == ["landmarks", "crops", "reading lips", "speaking"]
    for speech in alone:
        assert speech["audio"].shape == (640 * 75,)
        assert speech["mouth"].shape == (75, 96, 96)
        # a mouth is in the middle: pixels move there more than at the edge
        movement = speech["mouth"].astype(float).std(axis=0)
        assert movement[40:64, 30:66].mean() > 1.3 * movement[:10].mean()
    assert_same_speech(speak(paths, batch_size=2, num_workers=2), alone)


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"batch_size": 2, "num_workers": 2}])
def test_the_error_of_one_input_stands_in_its_place_on_request(speak, files, tmp_path, options):
    (tmp_path / "text.mp4").write_text("no video")
    bad = [str(tmp_path / "text.mp4"), str(tmp_path / "none.mp4")]
    inputs = [files[0], bad[0], files[1], files[2], bad[1]]
    results = speak(inputs, cropped=True, on_error="return", **options)
    assert_same_speech([results[0], *results[2:4]], speak(files[:3], cropped=True))
    assert isinstance(results[1], UnreadableVideoError) and str(results[1]).startswith(
        f"cannot open {bad[0]!r}"
    )
    assert isinstance(results[4], MissingVideoError) and "Input" not in str(results[4])
    assert isinstance(speak(bad[0], on_error="return"), UnreadableVideoError)
    with pytest.raises(UnreadableVideoError, match="Input 1: cannot open"):
        speak(inputs, cropped=True, **options)
    with pytest.raises(Lip2SpeechError, match='on_error is "raise" or "return"'):
        speak(inputs, on_error="skip")


def test_a_part_of_a_video_is_spoken_alone(speak, mouths):
    part = speak(mouths[2], cropped=True, start=0.12, end=0.4, return_mouth=True)
    assert part["audio"].shape == (7 * 640,)
    np.testing.assert_array_equal(part["mouth"], mouths[2]["frames"][3:10])
    with pytest.raises(Lip2SpeechError, match="ends at 1 s, before its start at 2 s"):
        speak(mouths[2], cropped=True, start=2, end=1)
