import pytest

from hf_lip2speech.text.characters import ENGLISH, UnknownCharacterError, decode_text, encode_text


@pytest.mark.parametrize(
    ("text", "vocabulary", "spelled"),
    [
        ("place blue at f two now", ENGLISH, "place blue at f two now"),
        ("  Don\u2019t -- STOP,\nnow! ", ENGLISH, "don't stop now"),
        ("don't stop", " abcdefghijklmnopqrstuvwxyz", "dont stop"),
        ("don't stop", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "DONTSTOP"),
        ("Straße 7", [*" abcdefghijklmnopqrstuvwxyzß7"], "straße 7"),
        ("...", ENGLISH, ""),
    ],
)
def test_a_text_is_spelled_with_the_characters_of_the_vocabulary(text, vocabulary, spelled):
    ids = encode_text(text, vocabulary)
    assert 0 not in ids, "which is the blank"
    assert decode_text(ids, vocabulary) == spelled


def test_a_digit_that_cannot_be_spelled_is_refused():
    with pytest.raises(UnknownCharacterError, match="'bin 2' has '2'.*numbers as words"):
        encode_text("bin 2", ENGLISH)
