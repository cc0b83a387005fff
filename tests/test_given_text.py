"""A text that is given says what the lips are to say: in the composite, the pipeline and the command line."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import hf_lip2speech_cli as cli
from hf_lip2speech import LipToSpeechPipeline
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.media.video import write_video
from hf_lip2speech.pipeline_text import read_text
from hf_lip2speech.text.alignment import word_scores
from hf_lip2speech.text.characters import ENGLISH, encode_text

from .text.posteriors import spoken
from .tiny_model import noise_videos, spelling_model, tiny_pipeline

LENGTHS = (30, 22)  # frames
TEXTS = ["bin blue at f", "lay red"]


@pytest.fixture(scope="module")
def pipe() -> LipToSpeechPipeline:
    return tiny_pipeline(spelling_model(text_conditioner_size=16, unlikely_word_score=-1000.0))


@pytest.fixture(scope="module")
def mouths() -> list[dict]:
    return noise_videos(*LENGTHS)


def test_a_text_changes_what_is_said_and_has_times(pipe, mouths):
    read = pipe(mouths[0], cropped=True)
    told = pipe(mouths[0], cropped=True, text="Bin blue, at F!", return_text="char", return_units=True)
    other = pipe(mouths[0], cropped=True, text="lay red in b")
    assert np.abs(told["audio"] - read["audio"]).max() > 1e-3
    assert np.abs(told["audio"] - other["audio"]).max() > 1e-3
    assert told["audio"].shape == (640 * LENGTHS[0],) and told["unit_ids"].shape == (2 * LENGTHS[0],)
    assert told["text"] == "bin blue at f" and "text" not in other
    times = [time for word in told["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times) and times[-1] <= LENGTHS[0] / 25


def test_a_batch_with_a_text_for_each_says_what_each_says_alone(pipe, mouths):
    alone = [pipe(mouth, cropped=True, text=text) for mouth, text in zip(mouths, TEXTS, strict=True)]
    both = pipe(mouths, cropped=True, text=TEXTS, batch_size=2, return_text=True)
    for one, other, text in zip(both, alone, TEXTS, strict=True):
        np.testing.assert_allclose(one["audio"], other["audio"], atol=1e-4)
        assert one["text"] == text
    same = pipe(mouths, cropped=True, text=TEXTS[1], batch_size=2)
    np.testing.assert_allclose(same[1]["audio"], alone[1]["audio"], atol=1e-4)
    assert np.abs(same[0]["audio"] - alone[0]["audio"]).max() > 1e-3


def test_in_windows_a_text_is_said_as_at_once(pipe):
    torch.manual_seed(0)
    videos = torch.randn(2, 40, 1, 88, 88)
    mask = (torch.arange(40) < torch.tensor([[40], [25]])).long()
    ids = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(encode_text(text, ENGLISH)) for text in TEXTS], batch_first=True
    )
    whole = pipe.model.generate_speech(videos, mask, text_ids=ids)
    windows = pipe.model.generate_speech(videos, mask, text_ids=ids, window_frames=15, context_frames=40)
    torch.testing.assert_close(windows.unit_logits, whole.unit_logits, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(windows.spectrogram, whole.spectrogram, atol=1e-3, rtol=1e-3)
    assert not whole.spectrogram[1, 100:].any() and not whole.unit_ids[1, 50:].any()


def test_the_words_that_are_not_on_the_lips_score_low():
    scores = dict(word_scores(spoken("place white in j"), "place white by j", ENGLISH))
    assert scores["place"] == scores["white"] == scores["j"] == 0
    assert scores["by"] < -3
    assert word_scores(spoken("a"), "too long", ENGLISH) == [("too", -torch.inf), ("long", -torch.inf)]


def test_one_warning_names_the_words_that_are_not_on_the_lips(pipe):
    config = spelling_model(text_conditioner_size=16).config.lip2speech
    logits = spoken("place white in j").numpy()
    seen = np.ones(len(logits) // 2, dtype=bool)
    with pytest.warns(UserWarning, match="do not seem to say 'soon', 'b' of the text") as warned:
        read_text(logits.copy(), seen, config, text_ids=encode_text("soon white in b", ENGLISH))
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = read_text(logits.copy(), seen, config, text_ids=encode_text("place white in j", ENGLISH))
    assert set(said) == {"confidence"}


@pytest.mark.parametrize(
    ("inputs", "text", "message"),
    [
        ("a.mp4", 3, "text is a int: expected what is to be said"),
        ("a.mp4", [], "expected what is to be said"),
        ("a.mp4", ["a"], "1 texts were given for a str"),
        (["a.mp4", "b.mp4"], ["a"], "1 texts were given for 2 inputs"),
        (iter(["a.mp4"]), ["a"], "give one text"),
        ("a.mp4", "...", "holds nothing that can be said"),
        ("a.mp4", "bin 2", "numbers as words"),
    ],
)
def test_wrong_texts_are_named_before_any_video_is_read(pipe, inputs, text, message):
    with pytest.raises(Lip2SpeechError, match=message):
        pipe(inputs, text=text)


def test_a_text_that_cannot_be_said_in_the_time_is_an_error(pipe, mouths):
    long = "a" * 31  # with a blank between each two
    with pytest.raises(Lip2SpeechError, match=r"31 characters, more than can be said in 1\.2 s"):
        pipe(mouths[0], cropped=True, text=long)
    first, second = pipe(mouths, cropped=True, text=["bin", long], on_error="return", batch_size=2)
    assert "audio" in first and isinstance(second, Lip2SpeechError)


def test_a_model_that_cannot_be_told_says_so(mouths):
    pipe = tiny_pipeline(spelling_model())
    with pytest.raises(Lip2SpeechError, match="cannot \\(text_conditioner_size of its config"):
        pipe("no such file", text="bin")
    with pytest.raises(Lip2SpeechError, match="leave vocabulary out"):
        spelled = spelling_model(text_conditioner_size=16)
        pipe = tiny_pipeline(spelled)
        pipe("no such file", text="bin", return_text=True, vocabulary=["bin"])


def test_the_command_line_says_a_text(pipe, mouths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipe.save_pretrained("model")
    write_video("a.mp4", mouths[0]["frames"])
    line = "speak a.mp4 --cropped -m model --device cpu --transcript a.json --text"
    assert cli.main([*line.split(), "bin blue"]) == 0
    assert json.loads(Path("a.json").read_text())["text"] == "bin blue"
