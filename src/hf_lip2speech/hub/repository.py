"""What a repository of the Hub holds for a checkpoint.

It loads by two ways. Who has imported hf_lip2speech needs no flag. Who only has it installed passes
trust_remote_code=True, and the repository's own code, one import of the package, registers everything. What
transformers calls `custom_pipelines` is left out: with it, the flag would be needed always.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers import PreTrainedModel

from ..composite import feature_extractor_for
from ..data.layout import UNIT_EXTRACTOR
from ..errors import PublishError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..media.audio import write_audio
from ..models.configuration_speech_units import SpeechUnitExtractorConfig
from ..models.modeling_lip2speech_with_vocoder import VOICES, Lip2SpeechWithVocoder
from ..pipeline import LipToSpeechPipeline
from .cards import HERE, model_card, read_facts
from .checkpoint import weight_files, whole_model
from .existing_card import existing_card

SHIM = "hf_lip2speech_classes"  # the module in a repository that imports this package
FACTS, RESULTS, CARD = "card.yaml", "results*.json", "README.md"
DRAWN_TALKER = Path(__file__).parent / "sample" / "talker.mp4"  # no person's face
READS_VIDEO = ("lip2speech", "lip2speech_with_vocoder")
# What a version of a model has and the next may have no more; what its owner added otherwise stays.
OURS = ("*.safetensors", "*.safetensors.index.json", "preprocessor_config.json", f"{UNIT_EXTRACTOR}/*")
OURS += (RESULTS, "samples/*", ".eval_results/*")


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
    sample (of the composite, by its default voice), results and .eval_results, and the card.

    Args:
        checkpoint: Folder of a Lip2SpeechWithVocoder, Lip2SpeechModel, UnitVocoderModel or
            SpeechUnitExtractor, in safetensors.
        out: An empty folder.
        repo_id: "owner/name", for the card.
        facts: YAML file of what the card says, see `cards`; default: card.yaml in the checkpoint, else its
            README.md as it is, else only what the checkpoint itself shows.
        evaluation: Folder that `hf-lip2speech evaluate` wrote; default: results*.json in the checkpoint, if
            there are any.
        sample: Video of a face that the composite speaks for; only the speech is published. Default: samples/
            in the checkpoint, else a drawn talker.

    Returns:
        The card.

    Raises:
        PublishError, Lip2SpeechError: see the messages.
    """
    checkpoint = Path(checkpoint)
    model = whole_model(checkpoint)
    kind, extractor = model.config.model_type, None
    for name in weight_files(checkpoint):
        shutil.copyfile(checkpoint / name, out / name)
    names = [type(model).__name__, type(model.config).__name__]
    _write_json(out / "config.json", _published_config(checkpoint, *names))
    if kind in READS_VIDEO:
        extractor = feature_extractor_for(checkpoint, model)
        extractor.save_pretrained(out)
        settings = json.loads((out / "preprocessor_config.json").read_text(encoding="utf-8"))
        settings["auto_map"] = {"AutoFeatureExtractor": f"{SHIM}.{type(extractor).__name__}"}
        _write_json(out / "preprocessor_config.json", settings)
        names.append(type(extractor).__name__)
    (out / f"{SHIM}.py").write_text(_shim(names), encoding="utf-8")
    if kind != SpeechUnitExtractorConfig.model_type and (checkpoint / UNIT_EXTRACTOR).is_dir():
        whole_model(checkpoint / UNIT_EXTRACTOR)
        (out / UNIT_EXTRACTOR).mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(checkpoint / UNIT_EXTRACTOR / name, out / UNIT_EXTRACTOR / name)
    for name in ("LICENSE", "NOTICE", VOICES):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, out / name)
    results = _copy_results(checkpoint, model, evaluation, out)
    samples = _samples(checkpoint, model, extractor, sample, out)
    card = _card(checkpoint, kind, facts, results, repo_id, samples)
    card.save(out / CARD)
    return card


def _published_config(checkpoint: Path, model_class: str, config_class: str) -> dict[str, Any]:
    """config.json with the way to the classes, and without what only belongs to this machine."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name in ("custom_pipelines", "_name_or_path", "auto_map"):
            part.pop(name, None)
    auto_map = {"AutoConfig": f"{SHIM}.{config_class}", "AutoModel": f"{SHIM}.{model_class}"}
    return config | {"auto_map": auto_map}


def _shim(names: Sequence[str]) -> str:
    return (
        '"""Where transformers finds this model: in the installed package (pip install hf-lip2speech)."""\n\n'
        f"from hf_lip2speech import {', '.join(sorted(names))}  # noqa: F401\n"
    )


def _copy_results(
    checkpoint: Path, model: PreTrainedModel, evaluation: str | Path | None, out: Path
) -> list[dict[str, Any]]:
    source = checkpoint if evaluation is None else Path(evaluation)
    files = sorted(source.glob(RESULTS))
    if evaluation is not None and not files:
        raise PublishError(
            f"{source} holds no results.json: give the OUT of `hf-lip2speech evaluate --out OUT`."
        )
    results = []
    for path in files:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if not isinstance(found, dict) or not {"facts", "measures", "rows", "skipped"} <= set(found):
            raise PublishError(
                f"{path} is not what `hf-lip2speech evaluate` writes: remove it, or name the folder that it "
                "wrote."
            )
        if isinstance(model, Lip2SpeechWithVocoder):
            _check_belongs(found, path, model, checkpoint)
        results.append(found)
        shutil.copyfile(path, out / path.name)
    for folder in (source / ".eval_results", source / "card" / ".eval_results"):
        if folder.is_dir():
            shutil.copytree(folder, out / folder.name)
            break
    return results


def _check_belongs(
    results: Mapping[str, Any], path: Path, model: Lip2SpeechWithVocoder, checkpoint: Path
) -> None:
    from ..evaluation.systems import fingerprint

    measured = results["facts"].get("weights_sha256")
    if measured is not None and measured != fingerprint(model):
        raise PublishError(
            f"{path} was measured with other weights than those in {checkpoint}: evaluate these, or give the "
            "folder of their evaluation."
        )


def _samples(
    checkpoint: Path,
    model: PreTrainedModel,
    extractor: Lip2SpeechFeatureExtractor | None,
    video: str | Path | None,
    out: Path,
) -> list[str]:
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
        speech = LipToSpeechPipeline(model, extractor, device="cpu")(str(video))
        name = re.sub(r"[^\w.-]+", "-", video.stem)  # it stands in an address
        write_audio(out / "samples" / f"{name}.wav", speech["audio"], speech["sampling_rate"])
    return [f"samples/{path.name}" for path in sorted((out / "samples").iterdir())]


def _card(
    checkpoint: Path,
    kind: str,
    facts: str | Path | None,
    results: Sequence[Mapping[str, Any]],
    repo_id: str,
    samples: Sequence[str],
) -> ModelCard:
    if facts is None and (checkpoint / FACTS).is_file():
        facts = checkpoint / FACTS
    if facts is None and (checkpoint / CARD).is_file():
        return existing_card(checkpoint / CARD, kind, results, repo_id, samples)
    stated = {"title": repo_id.rsplit("/", 1)[-1]} if facts is None else read_facts(facts)
    return model_card(kind, stated, results, repo_id=repo_id, samples=samples)


def _write_json(path: Path, contents: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_ours(path: str) -> bool:
    """Whether publishing anew replaces or removes this file of a repository."""
    return any(fnmatch(path, pattern) for pattern in OURS)
