import pytest
import torch

from hf_lip2speech.text.characters import ENGLISH
from hf_lip2speech.text.transcripts import align_transcript, transcribe, word_graph

from .posteriors import spoken


def test_words_have_the_times_of_their_characters_and_their_probability():
    said = transcribe(spoken("bin  blue"), ENGLISH, return_characters=True)
    assert said["text"] == "bin blue"
    assert [(word["word"], word["start"], word["end"]) for word in said["words"]] == [
        ("bin", 0.04, 0.24),
        ("blue", 0.36, 0.64),
    ]
    assert [word["confidence"] for word in said["words"]] == pytest.approx([0.9, 0.9], abs=1e-5)
    assert "".join(character["character"] for character in said["characters"]) == "bin blue"
    assert said["characters"][4] == {
        "character": "b",
        "start": 0.36,
        "end": 0.4,
        "confidence": pytest.approx(0.9, abs=1e-5),
    }


def test_a_word_is_as_sure_as_its_characters():
    logits = spoken("ab c", confidence=0.9)
    logits[6:8] = (
        torch.full((len(ENGLISH) + 1,), 0.6 / len(ENGLISH)).index_fill(0, torch.tensor(4), 0.4).log()
    )
    words = transcribe(logits, ENGLISH)["words"]
    assert words[0]["word"] == "ab"
    assert words[0]["confidence"] == pytest.approx((0.9 * 0.4) ** 0.5, abs=1e-4)
    assert words[1]["confidence"] == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("text", ["", "a", "aa b", "hello  wood"])
def test_the_greedy_text_is_found_again_by_alignment_with_the_same_times(text):
    logits = spoken(text)
    read = transcribe(logits, ENGLISH, return_characters=True)
    assert read["text"] == " ".join(text.split())
    assert align_transcript(logits, text, ENGLISH, return_characters=True) == read


def test_silence_and_spaces_alone_are_no_text():
    for text in ("", " "):
        assert transcribe(spoken(text), ENGLISH) == {"text": "", "words": []}
    logits = spoken("a")
    logits[:, 1] = 5.0  # the space everywhere
    assert transcribe(logits, ENGLISH, return_characters=True) == {"text": "", "words": [], "characters": []}


def test_hypotheses_differ_and_the_first_is_the_text():
    logits = spoken("bin", confidence=0.5)
    said = transcribe(logits, ENGLISH, num_hypotheses=5)
    texts = [hypothesis["text"] for hypothesis in said["hypotheses"]]
    assert texts[0] == said["text"] == "bin" and len(set(texts)) == len(texts) == 5
    assert said["hypotheses"][0]["words"] == said["words"]
    both = transcribe(logits, ENGLISH, num_hypotheses=5, graph=word_graph([["bin", "lay"]], ENGLISH))
    assert [hypothesis["text"] for hypothesis in both["hypotheses"]] == ["bin", "lay"]


def test_a_text_that_does_not_fit_is_none():
    assert align_transcript(spoken("a"), "a long sentence", ENGLISH) == {"text": "", "words": []}
    graph = word_graph([["incomprehensible"]], ENGLISH)
    empty = {"text": "", "words": []}
    assert transcribe(spoken("a"), ENGLISH, graph=graph, num_hypotheses=2) == empty | {"hypotheses": [empty]}


def test_without_a_space_each_character_is_a_word():
    said = transcribe(spoken("abc", "abc"), "abc")
    assert said["text"] == "abc" and [word["word"] for word in said["words"]] == ["a", "b", "c"]
