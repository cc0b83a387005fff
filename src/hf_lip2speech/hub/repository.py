"""What a repository of the Hub holds for a checkpoint.

It loads by two ways. Who has imported hf_lip2speech needs no flag. Who only has it installed passes
trust_remote_code=True, and the repository's own code, one import of the package, registers everything. What
transformers calls `custom_pipelines` is left out: with it, the flag would be needed always.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, PreTrainedModel

from ..audio.io import write_audio
from ..data.layout import UNIT_EXTRACTOR
from ..errors import PublishError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..pipeline import LipToSpeechPipeline
from .cards import HERE, KINDS, model_card, read_facts, samples_section

SHIM = "hf_lip2speech_classes"  # the module in a repository that imports this package
FACTS, RESULTS, CARD = "card.yaml", "results.json", "README.md"
DRAWN_TALKER = Path(__file__).parent / "sample" / "talker.mp4"  # no person's face
READS_VIDEO = ("lip2speech", "lip2speech_with_vocoder")


def make_repository(
    checkpoint: str | Path,
    out: Path,
    repo_id: str = HERE,
    *,
    facts: str | Path | None = None,
    evaluation: str | Path | None = None,
    sample: str | Path | None = None,
) -> ModelCard:
    """Fill a folder with what a repository holds.

    Weights and configurations are copied as they are, bit for bit, after they were loaded once. Further:
    the feature extractor, the code that imports this package, the unit extractor where there is one, a
    sample (of the composite, by its default voice), results.json and .eval_results, and the card.

    Args:
        checkpoint: Folder of a Lip2SpeechWithVocoder, Lip2SpeechModel, UnitVocoderModel or
            SpeechUnitExtractor, in safetensors.
        out: An empty folder.
        repo_id: "owner/name", for the card.
        facts: YAML file of what the card says, see `cards`; default: card.yaml in the checkpoint, else its
            README.md as it is, else only what the checkpoint itself shows.
        evaluation: Folder that `hf-lip2speech evaluate` wrote; default: results.json in the checkpoint, if
            it is there.
        sample: Video of a face that the composite speaks for; only the speech is published. Default: samples/
            in the checkpoint, else a drawn talker.

    Returns:
        The card.

    Raises:
        PublishError, Lip2SpeechError: see the messages.
    """
    checkpoint = Path(checkpoint)
    if not (checkpoint / "config.json").is_file():
        raise PublishError(
            f"{checkpoint} holds no config.json: expected a model's folder, such as `hf-lip2speech compose` "
            "and `convert` write, or best/ and last/ of a training."
        )
    model = _loaded(checkpoint)
    kind = model.config.model_type
    _copy_weights(checkpoint, out)
    names = [type(model).__name__, type(model.config).__name__]
    _write_json(out / "config.json", _published_config(checkpoint, *names))
    if kind in READS_VIDEO:
        extractor = _feature_extractor(checkpoint, model)
        extractor.save_pretrained(out)
        settings = json.loads((out / "preprocessor_config.json").read_text(encoding="utf-8"))
        settings["auto_map"] = {"AutoFeatureExtractor": f"{SHIM}.{type(extractor).__name__}"}
        _write_json(out / "preprocessor_config.json", settings)
        names.append(type(extractor).__name__)
    (out / f"{SHIM}.py").write_text(_shim(names), encoding="utf-8")
    if kind != "speech_unit_extractor" and (checkpoint / UNIT_EXTRACTOR).is_dir():
        _loaded(checkpoint / UNIT_EXTRACTOR)
        (out / UNIT_EXTRACTOR).mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(checkpoint / UNIT_EXTRACTOR / name, out / UNIT_EXTRACTOR / name)
    for name in ("LICENSE", "NOTICE"):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, out / name)
    results = _copy_results(checkpoint, evaluation, out)
    samples = _samples(checkpoint, model, sample, out)
    card = _card(checkpoint, kind, facts, results, repo_id, samples)
    card.save(out / CARD)
    return card


def _loaded(folder: Path) -> PreTrainedModel:
    """The model in a folder, all of whose weights are there, fit and are numbers."""
    try:
        config = AutoConfig.from_pretrained(folder)
    except (ValueError, KeyError) as error:
        raise PublishError(f"{folder} holds no model of this package: {one_line(error)}") from error
    if config.model_type not in KINDS:
        raise PublishError(
            f"{folder} holds a model of the kind {config.model_type!r}; what is published is one of {KINDS}."
        )
    if not [*folder.glob("model*.safetensors")]:
        raise PublishError(f"{folder} holds no model.safetensors; weights are published in no other format.")
    try:
        model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    except (RuntimeError, SafetensorError) as error:  # of another shape; cut off
        raise PublishError(f"The weights in {folder} do not load: {one_line(error)}") from error
    for what, said in (("missing_keys", "lack"), ("unexpected_keys", "have too many")):
        if report[what]:
            raise PublishError(
                f"The weights in {folder} {said}: {', '.join(map(str, sorted(report[what])[:5]))}."
            )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise PublishError(f"{name} in {folder} holds numbers that are not finite: the model is broken.")
    if isinstance(model, SpeechUnitExtractor) and not model.config.fitted:
        raise PublishError(f"The unit extractor in {folder} is not fitted: it has no clusters to publish.")
    return model.eval()


def _copy_weights(checkpoint: Path, out: Path) -> None:
    index = checkpoint / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        names = [index.name, *set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())]
    for name in names:
        shutil.copyfile(checkpoint / name, out / name)


def _published_config(checkpoint: Path, model_class: str, config_class: str) -> dict[str, Any]:
    """config.json with the way to the classes, and without what only belongs to this machine."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    for name in ("custom_pipelines", "_name_or_path"):
        config.pop(name, None)
    auto_map = {"AutoConfig": f"{SHIM}.{config_class}", "AutoModel": f"{SHIM}.{model_class}"}
    return config | {"auto_map": auto_map}


def _shim(names: Sequence[str]) -> str:
    return (
        '"""Where transformers finds this model: in the installed package (pip install hf-lip2speech)."""\n\n'
        f"from hf_lip2speech import {', '.join(sorted(names))}  # noqa: F401\n"
    )


def _feature_extractor(checkpoint: Path, model: PreTrainedModel) -> Lip2SpeechFeatureExtractor:
    if (checkpoint / "preprocessor_config.json").is_file():
        return Lip2SpeechFeatureExtractor.from_pretrained(checkpoint)
    reads = model.lip2speech if isinstance(model, Lip2SpeechWithVocoder) else model
    return Lip2SpeechFeatureExtractor(crop_size=reads.config.crop_size)


def _copy_results(checkpoint: Path, evaluation: str | Path | None, out: Path) -> Mapping[str, Any] | None:
    source = checkpoint if evaluation is None else Path(evaluation)
    if not (source / RESULTS).is_file():
        if evaluation is None:
            return None
        raise PublishError(
            f"{source} holds no {RESULTS}: give the OUT of `hf-lip2speech evaluate --out OUT`."
        )
    shutil.copyfile(source / RESULTS, out / RESULTS)
    for folder in (source / ".eval_results", source / "card" / ".eval_results"):
        if folder.is_dir():
            shutil.copytree(folder, out / folder.name)
            break
    return json.loads((out / RESULTS).read_text(encoding="utf-8"))


def _samples(checkpoint: Path, model: PreTrainedModel, video: str | Path | None, out: Path) -> list[str]:
    """Names of the repository's sound files: those of the checkpoint, else one that the model speaks now."""
    ready = sorted((checkpoint / "samples").glob("*.wav")) + sorted((checkpoint / "samples").glob("*.flac"))
    if not isinstance(model, Lip2SpeechWithVocoder):
        if video is not None:
            raise PublishError("A sample is spoken by the composite (hf-lip2speech compose); this is a part.")
        if not ready:
            return []
    (out / "samples").mkdir()
    if video is None and ready:
        for path in ready:
            shutil.copyfile(path, out / "samples" / path.name)
    elif isinstance(model, Lip2SpeechWithVocoder):
        if model.config.default_voice is None:
            (out / "samples").rmdir()
            if video is None:
                return []
            raise PublishError(
                "The model has no default voice to speak the sample with: compose it with one."
            )
        video = DRAWN_TALKER if video is None else Path(video)
        speech = LipToSpeechPipeline(model=model, device="cpu")(str(video))
        write_audio(out / "samples" / f"{video.stem}.wav", speech["audio"], speech["sampling_rate"])
    return [f"samples/{path.name}" for path in sorted((out / "samples").iterdir())]


def _card(
    checkpoint: Path,
    kind: str,
    facts: str | Path | None,
    results: Mapping[str, Any] | None,
    repo_id: str,
    samples: Sequence[str],
) -> ModelCard:
    if facts is None and (checkpoint / FACTS).is_file():
        facts = checkpoint / FACTS
    if facts is None and (checkpoint / CARD).is_file():
        return _existing_card(checkpoint / CARD, kind, results, repo_id, samples)
    stated = {"title": repo_id.rsplit("/", 1)[-1]} if facts is None else read_facts(facts)
    return model_card(kind, stated, results, repo_id=repo_id, samples=samples)


def _existing_card(
    path: Path, kind: str, results: Mapping[str, Any] | None, repo_id: str, samples: Sequence[str]
) -> ModelCard:
    """A card that lies beside the weights, for its new place; with samples and results where it has none."""
    card = ModelCard(path.read_text(encoding="utf-8").replace(HERE, repo_id))
    if not card.data.to_dict().get("license"):
        raise PublishError(
            f"{path} states no license in its header. Add it, or write {FACTS} beside it and remove the card."
        )
    sections = {title.lower() for title in re.findall(r"^## (\w+)", card.text, flags=re.MULTILINE)}
    if samples and "samples" not in sections:
        card.text = f"{card.text.rstrip()}\n\n{samples_section(repo_id, samples)}"
    if results is None or "evaluation" in sections:
        return ModelCard(str(card))
    from ..evaluation.card import card_section, eval_results

    card.text = f"{card.text.rstrip()}\n\n{card_section(results)}"
    if kind == KINDS[0]:
        name = repo_id.rsplit("/", 1)[-1]
        card.data = ModelCardData(
            **card.data.to_dict() | {"model_name": name, "eval_results": eval_results(results)}
        )
    return ModelCard(str(card))


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _write_json(path: Path, contents: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
