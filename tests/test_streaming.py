"""Speech frame by frame: the same samples however the frames arrive, with a stated latency."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_lip2speech import Lip2SpeechWithVocoder
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.pipeline import LipToSpeechPipeline
from hf_lip2speech.streaming import LipToSpeechStream
from hf_lip2speech.video.crops import INNER_LIPS, MEAN_FACE, OUTER_LIPS, STABLE_POINTS
from hf_lip2speech.video.landmarks import Face

from .models.small import ENCODER
from .tiny_model import pitched_vocoder, spelling_model, tiny_model, tiny_pipeline, unit_vector

FRAMES = np.random.default_rng(0).integers(0, 256, (60, 160, 160, 3), dtype=np.uint8)


class StillFace:
    """One face at one place in every frame that is not black."""

    def __call__(self, frame: np.ndarray) -> list[Face]:
        points = np.zeros((468, 2), dtype=np.float32)
        points[STABLE_POINTS] = MEAN_FACE - 48
        points[OUTER_LIPS + INNER_LIPS] = [80, 110]
        return [Face(np.float32([30, 20, 130, 140]), 1.0, points)] if frame.any() else []

    def reset(self) -> None:
        pass


@pytest.fixture(scope="module")
def pipe():
    light = Lip2SpeechFeatureExtractor(clip_mean=0.579, clip_std=0.111)
    return pipeline("lip-to-speech", model=tiny_model(), feature_extractor=light)


@pytest.fixture(scope="module")
def pitched():
    """With a vocoder whose phases depend on all that was spoken."""
    torch.manual_seed(0)
    vocoder = pitched_vocoder()
    torch.nn.init.normal_(vocoder.generator.pitch_predictor.head.weight)
    model = Lip2SpeechWithVocoder.from_parts(tiny_model().lip2speech, vocoder, {"ann": unit_vector(1)})
    return LipToSpeechPipeline(model=model)


def test_the_voice_of_a_vocoder_with_pitch_goes_on_from_chunk_to_chunk(pitched):
    short, whole = stream(pitched, look_ahead=30, context=60), stream(pitched, look_ahead=60, chunk=60)
    parts = [np.concatenate([live.push(FRAMES), live.flush()]) for live in (short, whole)]
    assert np.corrcoef(*parts)[0, 1] > 0.98
    split = stream(pitched, look_ahead=30, context=60)
    again = [*(split.push(frame) for frame in FRAMES), split.flush()]
    np.testing.assert_array_equal(np.concatenate(again), parts[0])


def stream(pipe, **options) -> LipToSpeechStream:
    return LipToSpeechStream(pipe, detector=StillFace(), **options)


@pytest.fixture(scope="module")
def at_once(pipe) -> np.ndarray:
    live = stream(pipe)
    return np.concatenate([live.push(FRAMES), live.flush()])


@pytest.mark.parametrize("split", [1, 3, 17])
def test_any_split_of_the_frames_gives_the_same_samples(pipe, at_once, split):
    live = stream(pipe)
    parts = [live.push(FRAMES[start : start + split]) for start in range(0, 60, split)]
    np.testing.assert_array_equal(np.concatenate([*parts, live.flush()]), at_once)
    assert at_once.shape == (60 * 640,) and at_once.dtype == np.float32 and at_once.std() > 1e-3


def test_after_reset_and_flush_a_stream_begins_anew(pipe, at_once):
    live = stream(pipe)
    live.push(FRAMES[:30])
    live.reset()
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([live.push(FRAMES), live.flush()]), at_once)


@pytest.mark.parametrize(("look_ahead", "chunk"), [(8, 4), (0, 1), (2, 5)])
def test_a_chunk_is_spoken_when_its_look_ahead_is_there_and_depends_on_nothing_later(pipe, look_ahead, chunk):
    live, other = (stream(pipe, look_ahead=look_ahead, chunk=chunk) for _ in range(2))
    assert live.latency == (look_ahead + chunk) / 25
    sizes = [len(live.push(frame)) for frame in FRAMES[:30]]
    first = look_ahead + chunk - 1
    assert sizes == [640 * chunk * (n >= first and (n - first) % chunk == 0) for n in range(30)]
    changed = FRAMES[:20].copy()
    changed[first + 1 :] = 255 - changed[first + 1 :]
    live.reset()
    assert np.array_equal(live.push(FRAMES[: first + 1]), other.push(changed)[: 640 * chunk])


def test_as_much_look_ahead_and_context_as_there_is_video_gives_the_offline_speech(pipe):
    live = stream(pipe, look_ahead=100, chunk=100, context=100)
    live.extractor = Lip2SpeechFeatureExtractor()  # whose light does not run
    live.push(FRAMES)
    crops = [(live._pixels[index][0].numpy() * 0.165 + 0.421) * 255 for index in range(60)]
    expected = pipe.model.generate_speech(
        Lip2SpeechFeatureExtractor()([np.round(crops).astype(np.uint8)], return_tensors="pt")[
            "pixel_values_videos"
        ],
        voice="ann",
    ).waveform[0]
    np.testing.assert_allclose(live.flush()[640:], expected[640:], atol=1e-4)  # it fades in


@pytest.mark.parametrize("fps", [15, 25, 30, 60])
def test_any_frame_rate_gives_sound_of_the_videos_duration(pipe, fps):
    live = stream(pipe, fps=fps)
    speech = np.concatenate([live.push(FRAMES), live.flush()])
    assert abs(len(speech) / 16000 - 60 / fps) <= 1.5 / 25  # how long the last frame lasts is not known


def test_late_missing_and_doubled_frames_keep_the_sound_in_time(pipe):
    live, random = stream(pipe), np.random.default_rng(0)
    times = np.arange(60) / 25 + random.uniform(-0.015, 0.015, 60) + 1000.0
    kept = [index for index in range(60) if index not in (10, 11, 12, 30)]
    parts = [live.push(FRAMES[index], timestamp=times[index]) for index in kept]
    assert len(live.push(FRAMES[0], timestamp=times[40])) == 0 and live.dropped == 1
    assert abs(sum(map(len, parts)) + len(live.flush()) - 60 * 640) <= 640


def test_a_camera_that_stops_for_an_hour_is_five_seconds_of_sound(pipe):
    live = stream(pipe)
    parts = [live.push(frame, timestamp=n / 25) for n, frame in enumerate(FRAMES[:20])]
    parts += [live.push(frame, timestamp=3600 + n / 25) for n, frame in enumerate(FRAMES[20:40])]
    assert abs(sum(map(len, parts)) + len(live.flush()) - (40 + 125) * 640) <= 2 * 640


def test_a_face_that_goes_away_gives_silence_until_it_is_back(pipe):
    away = FRAMES.copy()
    away[15:40] = 0
    live = stream(pipe)
    speech = np.concatenate([live.push(away), live.flush()]).reshape(60, 640)
    assert not speech[21:40].any()
    assert speech[5:15].any() and speech[41:].any()
    none = stream(pipe)
    assert not np.concatenate([none.push(np.zeros_like(FRAMES)), none.flush()]).any()


def test_the_state_does_not_grow(pipe):
    live, sizes = stream(pipe, context=10), []
    for _ in range(4):
        live.push(FRAMES)
        sizes.append([len(value) for value in vars(live).values() if isinstance(value, list)])
    assert sizes[1:] == sizes[:-1] and max(map(max, sizes)) < 30


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (FRAMES[0].astype(np.float32), "float32"),
        (FRAMES[:2, :, :, 0], "expected RGB"),
        ("frame.png", "expected RGB"),
    ],
)
def test_what_is_no_frame_is_refused(pipe, given, message):
    with pytest.raises(Lip2SpeechError, match=message):
        stream(pipe).push(given)


def test_numbers_and_models_that_cannot_work_are_refused(pipe):
    for wrong in ({"chunk": 0}, {"look_ahead": -1}, {"fps": 0}, {"speaker": "nobody"}):
        with pytest.raises(Lip2SpeechError):
            stream(pipe, **wrong)
    with pytest.raises(Lip2SpeechError, match="one by one"):
        stream(pipe).push(FRAMES, timestamp=0.0)
    with pytest.raises(Lip2SpeechError, match="front end"):
        stream(LipToSpeechPipeline(model=tiny_model(encoder=ENCODER)))


def test_the_text_comes_in_pieces_that_join_to_that_of_all_frames_at_once():
    light = Lip2SpeechFeatureExtractor(clip_mean=0.579, clip_std=0.111)
    pipe = LipToSpeechPipeline(model=spelling_model(), feature_extractor=light)
    live, pieces = stream(pipe, look_ahead=60, context=60), []
    for frame in FRAMES:
        live.push(frame)
        pieces.append(live.take_text())
    live.flush()
    pieces.append(live.take_text())
    assert live.take_text() == ""
    whole = stream(pipe, look_ahead=60, chunk=60)
    whole.push(FRAMES)
    whole.flush()
    text = whole.take_text()
    assert "".join(pieces) == text and len(text) > 2
    short = stream(pipe, look_ahead=4)
    taken = [short.take_text() for frame in FRAMES if len(short.push(frame))]
    assert any(taken), "before the end"
    short.reset()
    assert short.take_text() == ""


def test_nothing_is_read_where_no_face_is_seen_and_without_text_head_asking_is_an_error(pipe):
    live = stream(tiny_pipeline(spelling_model()))
    live.push(np.zeros_like(FRAMES))
    live.flush()
    assert live.take_text() == ""
    with pytest.raises(Lip2SpeechError, match=r"take_text\(\) needs a model with a text head"):
        stream(pipe).take_text()
