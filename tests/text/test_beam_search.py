import itertools
import math
from collections import defaultdict

import pytest
import torch

from hf_lip2speech.data.corpora.grid import GRID_SENTENCE
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.text.characters import ENGLISH, UnknownCharacterError, decode_text
from hf_lip2speech.text.transcripts import beam_search, word_graph

from .posteriors import spoken

GRAMMAR = [list(slot.values()) for slot in GRID_SENTENCE]


def all_texts(logits):
    """The log probability of every text, by summing over every path."""
    log_probs = logits.log_softmax(-1)
    total = defaultdict(float)
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        text = tuple(index for index, _ in itertools.groupby(path) if index)
        total[text] += math.exp(sum(log_probs[t, index].item() for t, index in enumerate(path)))
    return {text: math.log(value) for text, value in total.items()}


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_most_probable_texts_and_their_probabilities(seed):
    torch.manual_seed(seed)
    logits = 2 * torch.randn(5, 3)
    expected = sorted(all_texts(logits).items(), key=lambda item: -item[1])
    found = beam_search(logits, beam_size=1000)
    assert [tuple(text) for text, _ in found[:10]] == [text for text, _ in expected[:10]]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-4)


def test_what_no_greedy_reading_finds_several_paths_together_make_most_probable():
    probabilities = torch.tensor([[0.6, 0.4], [0.6, 0.4]])  # blank blank 0.36, but three paths say "a"
    (best, score), *_ = beam_search(probabilities.log())
    assert best == [1] and math.exp(score) == pytest.approx(0.64)


@pytest.mark.parametrize("seed", range(3))
def test_with_words_or_a_grammar_the_best_text_that_is_allowed_is_found(seed):
    torch.manual_seed(seed)
    logits = torch.randn(6, 4)  # a, b, space
    allowed = {
        ("a", "ab"): {
            (1,),
            (1, 2),
            (1, 3, 1),
            (1, 3, 1, 2),
            (1, 2, 3, 1),
            (1, 2, 3, 1, 2),
            (1, 3, 1, 3, 1),
            (),
        },
        (("a", "b"), ("ab",)): {(1, 3, 1, 2), (2, 3, 1, 2)},
    }
    scores = all_texts(logits)
    for vocabulary, texts in allowed.items():
        found = beam_search(logits, word_graph(vocabulary, "ab "), beam_size=1000)
        found = {tuple(text): score for text, score in found}
        for text in texts:
            assert found[text] == pytest.approx(scores[text], abs=1e-4)
        assert max(found, key=found.get) == max(found.keys() & scores, key=scores.get)
        assert vocabulary[0] == "a" or found.keys() == texts


def test_words_of_a_list_come_in_any_number_and_a_grammar_has_one_for_each_place():
    logits = spoken("bin blue at f two now", confidence=0.5)
    said = [decode_text(text, ENGLISH) for text, _ in beam_search(logits, word_graph(GRAMMAR, ENGLISH))]
    assert said[0] == "bin blue at f two now" and len(set(said)) == len(said)
    assert all(len(text.split()) == 6 and text.split()[1] in GRAMMAR[1] for text in said)
    words = [word for slot in GRAMMAR for word in slot]
    (best, _), *_ = beam_search(spoken("two two blue", confidence=0.5), word_graph(words, ENGLISH))
    assert decode_text(best, ENGLISH) == "two two blue"


def test_what_is_close_to_a_sentence_becomes_one():
    (best, _), *_ = beam_search(spoken("bim blu at ef two no"), word_graph(GRAMMAR, ENGLISH))
    assert decode_text(best, ENGLISH).split()[:3] == ["bin", "blue", "at"]


def test_a_grammar_finds_a_sentence_where_the_head_is_all_but_sure_that_nothing_is_said():
    logits = torch.full((150, len(ENGLISH) + 1), -14.0)
    logits[:, 0] = 0.0
    found = beam_search(logits, word_graph(GRAMMAR, ENGLISH), beam_size=8)
    assert found and len(decode_text(found[0][0], ENGLISH).split()) == 6
    assert beam_search(logits, word_graph(["one", "two"], ENGLISH))[0][0] == []
    assert beam_search(logits[:9], word_graph(GRAMMAR, ENGLISH)) == [], "no room for one"


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ("words.txt", "expected a list of words"),
        ([], "expected a list of words"),
        ([["a"], []], "expected a list of words"),
        ([["a"], "b"], "expected a list of words"),
        ([["a"], 1], "expected a list of words"),
        (3, "expected a list of words"),
        (["a", "new york"], "each entry must be one word"),
        (["..."], "each entry must be one word"),
    ],
)
def test_an_impossible_vocabulary_is_refused(vocabulary, message):
    with pytest.raises(Lip2SpeechError, match=message):
        word_graph(vocabulary, ENGLISH)


def test_a_word_that_cannot_be_spelled_is_refused():
    with pytest.raises(UnknownCharacterError, match="route66"):
        word_graph(["route66"], ENGLISH)
    with pytest.raises(Lip2SpeechError, match="space"):
        word_graph(["a"], "abc")
