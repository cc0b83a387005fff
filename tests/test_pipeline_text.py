from functools import partial

import numpy as np
import pytest

from hf_lip2speech import Lip2SpeechFeatureExtractor, LipToSpeechPipeline
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.pipeline_text import read_text
from hf_lip2speech.text.transcripts import word_graph

from .text.posteriors import spoken
from .tiny_model import noise_videos, spelling_model, tiny_pipeline

LENGTHS = (19, 14, 23)  # frames


@pytest.fixture(scope="module")
def reader() -> LipToSpeechPipeline:
    return tiny_pipeline(spelling_model())


@pytest.fixture(scope="module")
def deaf() -> LipToSpeechPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def mouths() -> list[dict]:
    return noise_videos(*LENGTHS)


def test_text_and_words_come_beside_the_same_speech(reader, mouths):
    plain = reader(mouths[0], cropped=True)
    said = reader(mouths[0], cropped=True, return_text=True)
    assert "text" not in plain and set(said) - set(plain) == {"text", "words"}
    np.testing.assert_array_equal(plain["audio"], said["audio"])
    assert said["text"] == " ".join(word["word"] for word in said["words"]) and len(said["text"]) > 5
    times = [time for word in said["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= LENGTHS[0] / 25
    assert all(0 < word["confidence"] <= 1 for word in said["words"])
    spelled = reader(mouths[0], cropped=True, return_text="char")["characters"]
    assert "".join(one["character"] for one in spelled) == said["text"]


def test_a_batch_says_the_same_text_as_each_clip_alone(reader, mouths):
    wanted = {"cropped": True, "return_text": True}
    alone = [reader(mouth, **wanted) for mouth in mouths]
    for batch_size in (1, 3):
        both = reader(mouths, batch_size=batch_size, **wanted)
        assert [one["text"] for one in both] == [one["text"] for one in alone]
        for one, other in zip(both, alone, strict=True):
            assert [word["start"] for word in one["words"]] == [word["start"] for word in other["words"]]


def test_a_long_clip_is_read_in_windows(reader, mouths, monkeypatch):
    clip = {"frames": np.concatenate([mouth["frames"] for mouth in mouths]), "fps": 25.0}
    whole = reader(clip, cropped=True, return_text=True)
    speak = reader.model.generate_speech

    def in_windows(*args, **kwargs):
        return speak(*args, **kwargs, window_frames=20, context_frames=40)

    monkeypatch.setattr(reader.model, "generate_speech", in_windows)
    said = reader(clip, cropped=True, return_text="char")
    assert len(said["characters"]) > 9 and said["text"] == whole["text"]
    assert [word["end"] for word in said["words"]] == [word["end"] for word in whole["words"]]


def test_words_a_grammar_and_several_hypotheses(reader, mouths):
    said = reader(mouths[0], cropped=True, return_text=True, vocabulary=["ab", "cd"])
    assert {word["word"] for word in said["words"]} <= {"ab", "cd"}
    grammar = [["bin", "lay"], ["red", "blue"]]
    said = reader(mouths[0], cropped=True, return_text=True, vocabulary=grammar, num_hypotheses=4)
    texts = {hypothesis["text"] for hypothesis in said["hypotheses"]}
    assert texts == {"bin red", "bin blue", "lay red", "lay blue"} and said["text"] in texts


def test_the_words_that_a_model_knows_are_those_that_are_read(reader, mouths):
    config = reader.model.config.lip2speech
    free = reader(mouths[0], cropped=True, return_text=True)["text"]
    try:
        config.vocabulary = ["ab", "cd"]
        knows = LipToSpeechPipeline(model=reader.model, feature_extractor=reader.feature_extractor)
    finally:
        config.vocabulary = None
    read = partial(knows, mouths[0], cropped=True, return_text=True)
    assert set(read()["text"].split()) <= {"ab", "cd"}
    assert read(vocabulary="any")["text"] == free
    assert set(read(vocabulary=["ef"])["text"].split()) == {"ef"}


def test_the_text_alone_is_the_same_and_needs_no_voice(reader, mouths):
    with_speech = reader(mouths, cropped=True, return_text=True, batch_size=3)
    reader.model.config.default_voice, voice = None, reader.model.config.default_voice
    try:
        alone = reader(mouths, cropped=True, return_text=True, return_audio=False, batch_size=3)
    finally:
        reader.model.config.default_voice = voice
    assert [set(one) for one in alone] == 3 * [{"confidence", "text", "words"}]
    assert [one["text"] for one in alone] == [one["text"] for one in with_speech]


def test_arguments_of_the_pipeline_are_defaults_of_calls(mouths):
    pipe = LipToSpeechPipeline(
        model=spelling_model(),
        feature_extractor=Lip2SpeechFeatureExtractor(),
        return_text=True,
    )
    said = pipe(mouths[0], cropped=True, num_hypotheses=2)
    assert "text" in said and "hypotheses" in said
    assert "text" not in pipe(mouths[0], cropped=True, return_text=False)


def test_nothing_is_read_where_nobody_is_seen(reader):
    logits = spoken("bin blue").numpy()
    seen = np.ones(len(logits) // 2, dtype=bool)
    config = reader.model.config.lip2speech
    assert read_text(logits.copy(), seen, config, True)["text"] == "bin blue"
    seen[9:] = False  # from 0.36 s on
    assert read_text(logits.copy(), seen, config, True)["text"] == "bin"


def test_words_on_both_sides_of_a_gap_are_two(reader):
    before, after = spoken("bin").numpy(), spoken("lay").numpy()
    config, gap = reader.model.config.lip2speech, 30
    logits = np.concatenate([before, np.tile(before[:1], (2 * gap, 1)), after])
    seen = np.ones(len(logits) // 2, dtype=bool)
    assert read_text(logits.copy(), seen, config, True)["text"] == "binlay"
    seen[len(before) // 2 :][:gap] = False
    for graph in (None, word_graph(["bin", "lay", "binlay"], config.text_vocabulary)):
        assert read_text(logits.copy(), seen, config, True, graph=graph)["text"] == "bin lay"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"return_text": "words"}, 'True, False or "char"'),
        ({"num_hypotheses": 2}, "give return_text=True"),
        ({"vocabulary": ["a"]}, "give return_text=True"),
        ({"return_text": True, "num_hypotheses": 0}, "from 1 to 64"),
        ({"return_text": True, "num_hypotheses": True}, "from 1 to 64"),
        ({"return_text": True, "num_hypotheses": 1.5}, "from 1 to 64"),
        ({"return_audio": False}, "give return_text=True"),
        ({"return_audio": False, "return_text": True, "return_units": True}, "leave out return_units"),
        ({"return_audio": 0, "return_text": True}, "return_audio must be True or False"),
        ({"return_text": True, "vocabulary": "words.txt"}, "expected a list of words"),
    ],
)
def test_wrong_arguments_are_named_before_any_video_is_read(reader, asked, message):
    with pytest.raises(Lip2SpeechError, match=message):
        reader("no such file", **asked)


def test_a_model_without_text_head_says_so(deaf, mouths):
    assert set(deaf(mouths[0], cropped=True, return_text=False)) == {"audio", "sampling_rate"}
    for asked in ({"return_text": True}, {"return_text": "char"}):
        with pytest.raises(Lip2SpeechError, match="needs a model with a text head"):
            deaf("no such file", **asked)
