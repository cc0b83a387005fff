import json

import pytest

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.media.transcripts import Cue, subtitle_cues, write_transcript


def words(text: str, start: float = 0.0, each: float = 0.3, pause: float = 0.1) -> list[dict]:
    return [
        {"word": word, "start": start + index * (each + pause), "end": start + index * (each + pause) + each}
        for index, word in enumerate(text.split())
    ]


def test_a_sentence_is_a_cue_and_a_pause_begins_another():
    first, second = subtitle_cues([*words("bin blue at f"), *words("lay red", start=4.0)])
    assert first == Cue(0.0, pytest.approx(1.5), "bin blue at f") and second.text == "lay red"
    assert second.start == 4.0


def test_long_speech_is_divided_into_lines_that_can_be_read():
    said = words(" ".join(["abcdef"] * 60))
    cues = subtitle_cues(said)
    assert " ".join(cue.text for cue in cues) == " ".join(word["word"] for word in said)
    assert all(len(cue.text) <= 42 and cue.end - cue.start <= 5.0 for cue in cues)
    assert all(a.end <= b.start for a, b in zip(cues, cues[1:], strict=False))


def test_a_short_word_stays_until_it_can_be_read_or_the_next_line_comes():
    (alone,) = subtitle_cues([{"word": "a", "start": 1.0, "end": 1.04}])
    assert alone == Cue(1.0, 1.7, "a")
    long = "a" * 42
    cues = subtitle_cues([{"word": "a", "start": 1.0, "end": 1.04}, {"word": long, "start": 1.1, "end": 3.0}])
    assert cues == [Cue(1.0, 1.1, "a"), Cue(1.1, 3.0, long)]


def test_each_ending_has_its_format(tmp_path):
    said = {"text": "a <b> &", "words": words("a <b> &", start=3599.9)}
    for suffix in (".srt", ".VTT", ".txt", ".json"):
        write_transcript(tmp_path / f"x{suffix}", said)
    assert (tmp_path / "x.srt").read_text() == "1\n00:59:59,900 --> 01:00:01,000\na <b> &\n"
    vtt = "WEBVTT\n\n00:59:59.900 --> 01:00:01.000\na &lt;b&gt; &amp;\n"
    assert (tmp_path / "x.VTT").read_text() == vtt
    assert (tmp_path / "x.txt").read_text() == "a <b> &\n"
    assert json.loads((tmp_path / "x.json").read_text()) == said


def test_nothing_said_is_an_empty_transcript(tmp_path):
    for suffix, content in {".srt": "", ".vtt": "WEBVTT\n", ".txt": "\n"}.items():
        write_transcript(tmp_path / f"x{suffix}", {"text": "", "words": []})
        assert (tmp_path / f"x{suffix}").read_text() == content


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(Lip2SpeechError, match=r"\.srt, \.vtt, \.txt, \.json, got 'x\.doc'"):
        write_transcript(tmp_path / "x.doc", {"text": "", "words": []})
    assert not list(tmp_path.iterdir())
