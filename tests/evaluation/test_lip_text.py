import pytest

from hf_lip2speech.data.corpora.grid import GRID_SENTENCE
from hf_lip2speech.evaluation import results, run
from hf_lip2speech.evaluation.clips import open_evaluation_set
from hf_lip2speech.evaluation.measures import MEASURES
from hf_lip2speech.evaluation.metrics import cer, wer
from hf_lip2speech.evaluation.systems import END_TO_END, GIVEN_TEXT, SHUFFLED, RowSpeaker
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.pipeline import LipToSpeechPipeline

from ..tiny_model import spelling_model
from .small_set import TEXTS


@pytest.fixture(scope="module")
def systems(prepared_set) -> RowSpeaker:
    pipe = LipToSpeechPipeline(spelling_model(), Lip2SpeechFeatureExtractor())
    return RowSpeaker(pipe, open_evaluation_set(prepared_set))


@pytest.mark.filterwarnings("ignore:the model is not sure")
def test_the_text_of_the_lips_is_that_of_the_pipeline_and_is_scored_without_a_recogniser(
    systems, monkeypatch, tmp_path
):
    keys = ("estoi", "lip_wer", "lip_cer", "lip_grammar_wer")
    kept = tuple(measure for measure in MEASURES if measure.key in keys)
    for module in (run, results):
        monkeypatch.setattr(module, "MEASURES", kept)
    found = run.evaluate(systems, tmp_path / "out", progress=False)
    greedy, grammar = [], []
    slots = [list(words.values()) for words in GRID_SENTENCE]
    for clip in systems.clips.clips:
        options = {"cropped": True, "return_text": True, "return_audio": False}
        greedy.append(systems.speak(str(clip.video), **options)["text"])
        grammar.append(systems.speak(str(clip.video), vocabulary=slots, **options)["text"])
    texts = list(TEXTS[:3])
    assert all(len(text.split()) == 6 for text in grammar)
    rows = {row["row"]: row["scores"] for row in found["rows"]}
    scores = {key: rows[END_TO_END][key]["value"] for key in keys[1:]}
    expected = {"lip_wer": wer(texts, greedy), "lip_cer": cer(texts, greedy)}
    expected["lip_grammar_wer"] = wer(texts, grammar)
    assert scores == pytest.approx(expected)
    assert rows[SHUFFLED]["lip_wer"]["value"] > 0, "which is chance"
    assert all(rows["ground_truth"][key] is None for key in expected), "which has no lips to read"


def test_a_model_without_text_head_reads_nothing(untrained, prepared_set):
    systems = RowSpeaker(untrained, open_evaluation_set(prepared_set), speaker="own")
    assert systems(systems.clips.clips[0]).read == {}


@pytest.mark.filterwarnings("ignore:the model is not sure")
def test_a_model_that_takes_text_is_evaluated_with_the_words_that_are_said(prepared_set):
    model = spelling_model(text_conditioner_size=16, unlikely_word_score=-1000.0)
    systems = RowSpeaker(
        LipToSpeechPipeline(model, Lip2SpeechFeatureExtractor()), open_evaluation_set(prepared_set)
    )
    clip = systems.clips.clips[0]
    waveforms = systems(clip).waveforms
    said = systems.speak(str(clip.video), cropped=True, speaker=None, text=clip.text)["audio"]
    assert list(waveforms).index(GIVEN_TEXT) == list(waveforms).index(END_TO_END) + 1
    assert abs(waveforms[GIVEN_TEXT] - said).max() < 1e-4
    assert abs(waveforms[GIVEN_TEXT] - waveforms[END_TO_END]).max() > 1e-3
