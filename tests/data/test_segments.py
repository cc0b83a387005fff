from types import SimpleNamespace

import pytest

from hf_lip2speech.data.corpora import Word
from hf_lip2speech.data.corpora.clip import Segment, cuts, segments_of, words_of


def spoken(count: int, length: float = 0.3, pause: float = 0.2, first: float = 0.2) -> tuple[Word, ...]:
    starts = [first + number * (length + pause) for number in range(count)]
    return tuple(Word(f"w{number}", start, start + length) for number, start in enumerate(starts))


def a_clip(words, text="all of it"):
    return SimpleNamespace(id="talk/00001", words=words, text=text)


class TestCuts:
    @pytest.mark.parametrize(
        ("seconds", "parts", "spread"),
        [(24.1, 2, 25), (30, 2, 25), (47.9, 3, 300), (100, 5, 25), (333, 14, 50)],
    )
    def test_parts_are_within_the_limit_about_equal_and_cut_in_pauses(self, seconds, parts, spread):
        frames = int(25 * seconds)
        words = spoken(int(seconds / 0.5) - 1)
        edges = [0, *cuts(words, frames, 600), frames]
        lengths = [end - start for start, end in zip(edges, edges[1:], strict=False)]
        assert max(lengths) <= 600 and max(lengths) - min(lengths) <= spread and len(lengths) == parts
        for edge in edges[1:-1]:
            assert not any(word.start + 0.04 < edge / 25 < word.end - 0.04 for word in words)

    def test_a_clip_within_the_limit_stays_whole(self):
        assert cuts(spoken(40), 600, 600) == []

    def test_without_word_times_a_clip_stays_whole(self):
        assert cuts((), 5000, 600) == []

    def test_a_long_silence_is_cut_at_the_limit(self):
        words = (*spoken(3), Word("late", 70.0, 70.5))
        edges = [0, *cuts(words, 1800, 600), 1800]
        assert all(end - start <= 600 for start, end in zip(edges, edges[1:], strict=False))
        assert not any(70.0 <= edge / 25 <= 70.5 for edge in edges)

    def test_overlapping_words_are_cut_between_their_middles(self):
        words = tuple(Word(str(n), 0.4 * n, 0.4 * n + 0.5) for n in range(100))
        assert all(0 < cut < 1000 for cut in cuts(words, 1000, 300))


class TestSegments:
    def test_parts_cover_the_clip_and_have_numbered_names(self):
        parts = segments_of(a_clip(spoken(119)), 1500, 600)
        assert [part.id for part in parts] == [f"talk/00001_{n:02d}" for n in range(3)]
        assert parts[0].start == 0 and parts[-1].start + parts[-1].frames == 1500
        assert all(a.start + a.frames == b.start for a, b in zip(parts, parts[1:], strict=False))

    def test_each_word_is_in_one_part_with_times_from_its_start(self):
        clip = a_clip(spoken(119))
        told = [words_of(clip, part) for part in segments_of(clip, 1500, 600)]
        assert [word.word for _, words in told for word in words] == [word.word for word in clip.words]
        for (text, words), part in zip(told, segments_of(clip, 1500, 600), strict=True):
            assert text == " ".join(word.word for word in words)
            assert words[0].start < 0.5 and all(0 <= w.start < w.end <= part.frames / 25 for w in words)

    def test_a_whole_clip_keeps_its_text(self):
        clip = a_clip(spoken(4))
        assert segments_of(clip, 60, 600) == [Segment("talk/00001", 0, 60)]
        assert words_of(clip, Segment("talk/00001", 0, 60)) == ("all of it", list(clip.words))
