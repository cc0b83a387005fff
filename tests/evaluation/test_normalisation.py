import pytest

from hf_lip2speech.evaluation.normalisation import normalise_text


@pytest.mark.parametrize(
    "written, words",
    [
        ("Place blue at F2, now!", "place blue at f two now"),
        ("place blue at f two now", "place blue at f two now"),
        ("It’s a well-known   'fact'.", "it's a well known fact"),
        ("19 U.S. men", "one nine u s men"),
        ("Élan_vital", "élan vital"),
        ("... !", ""),
        ("", ""),
    ],
)
def test_a_sentence_is_written_as_its_words(written, words):
    assert normalise_text(written) == words
    assert normalise_text(words) == words
