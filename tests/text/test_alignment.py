import itertools

import pytest
import torch

from hf_lip2speech.text.alignment import align_text


def spelled(path):
    return [index for index, _ in itertools.groupby(path) if index]


@pytest.mark.parametrize("text", [[1, 2], [2, 2], [1], [2, 1, 2]])
def test_the_path_is_the_most_likely_of_all_that_spell_the_text(text):
    torch.manual_seed(len(text))
    logits = 2 * torch.randn(1, 6, 3)
    log_probs = logits.log_softmax(-1)[0]
    paths = [path for path in itertools.product(range(3), repeat=6) if spelled(path) == text]
    scores = [sum(log_probs[t, index] for t, index in enumerate(path)).item() for path in paths]
    alignment = align_text(logits, torch.tensor([text]))
    classes = [text[state // 2] if state % 2 else 0 for state in alignment.states[0].tolist()]
    assert tuple(classes) == paths[scores.index(max(scores))]
    assert alignment.score.item() == pytest.approx(max(scores), abs=1e-5)


def test_a_padded_clip_with_a_shorter_text_is_aligned_as_alone():
    torch.manual_seed(0)
    logits = torch.randn(3, 9, 5)
    ids = torch.tensor([[1, 2, 3, 4], [3, 3, -100, -100], [-100] * 4])
    both = align_text(logits, ids, torch.tensor([9, 6, 4]))
    alone = align_text(logits[1:2, :6], ids[1:2, :2])
    assert both.states[1, :6].tolist() == alone.states[0].tolist()
    torch.testing.assert_close(both.score[1:2], alone.score)
    assert not both.states[2].any(), "nothing is said"
    assert both.begun[0, -1] == 4 and both.begun[0].diff().min() >= 0


def test_a_text_that_does_not_fit_has_no_probability():
    logits = torch.zeros(2, 3, 3)
    assert align_text(logits, torch.tensor([[1, 2, 1], [1, 1, 2]])).score.isfinite().tolist() == [True, False]
