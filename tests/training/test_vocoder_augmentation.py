"""Blur and noise on the mel input of the vocoder."""

import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.training.vocoder_augmentation import MelAugmentation, blur


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_generator_state_gives_the_same_mel_and_another_gives_another():
    mel = torch.randn(56, 80, generator=generator(0))
    augment = MelAugmentation()
    assert torch.equal(augment(mel, generator(1)), augment(mel, generator(1)))
    assert not torch.equal(augment(mel, generator(1)), augment(mel, generator(2)))


def test_the_noise_has_the_asked_for_deviation_and_the_input_is_left_alone():
    mel = torch.zeros(400, 80)
    for deviation in (1.0, 0.25):
        augmented = MelAugmentation(noise_std=deviation)(mel, generator(0))
        assert float(augmented.std()) == pytest.approx(deviation, rel=0.02)
    assert torch.equal(mel, torch.zeros(400, 80))


def test_the_blur_keeps_a_constant_and_spreads_a_point_as_a_gaussian():
    torch.testing.assert_close(blur(torch.full((20, 80), -4.0), sigma=0.7), torch.full((20, 80), -4.0))
    point = torch.zeros(21, 80)
    point[10, 40] = 1
    spread = blur(point, sigma=1.0)
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    ratio = float(spread[10, 41] / spread[10, 40])
    assert ratio == pytest.approx(2.718281828**-0.5, rel=1e-4)
    assert float(spread[11, 40]) == pytest.approx(float(spread[10, 41]), rel=1e-4)
    assert spread[10, 45] == 0  # beyond the window of nine


def test_a_stronger_sigma_smooths_more():
    mel = torch.randn(56, 80, generator=generator(0))
    weak = MelAugmentation(sigma_min=0.1, sigma_max=0.1, noise_std=0)(mel)
    strong = MelAugmentation(sigma_min=1.0, sigma_max=1.0, noise_std=0)(mel)
    assert (weak - mel).abs().max() < 1e-5
    assert strong.std() < 0.5 * mel.std()


def test_a_clip_shorter_than_the_window_is_augmented_too():
    assert MelAugmentation()(torch.zeros(2, 80), generator(0)).shape == (2, 80)


def test_the_probability_is_the_share_of_clips_changed():
    mel = torch.zeros(4, 80)
    augment = MelAugmentation(probability=0.3)
    shared = generator(0)
    changed = sum(not torch.equal(augment(mel, shared), mel) for _ in range(1000))
    assert changed == pytest.approx(300, abs=50)


@pytest.mark.parametrize(
    "arguments",
    [{"kernel_size": 8}, {"sigma_min": 0.0}, {"sigma_min": 2.0}, {"noise_std": -1.0}, {"probability": 1.5}],
)
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(Lip2SpeechError, match="MelAugmentation"):
        MelAugmentation(**arguments)


def test_a_batch_is_refused():
    with pytest.raises(Lip2SpeechError, match=r"\(frames, bins\)"):
        MelAugmentation()(torch.zeros(2, 10, 80))
