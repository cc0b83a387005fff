"""The files of a repository on the Hub for a checkpoint.

It loads in two ways: after `import hf_lip2speech` without a flag; where the package is only installed, with
trust_remote_code=True, and the repository's own code, one import of the package, registers everything. What
transformers calls `custom_pipelines` is left out: with it, the flag would always be needed.
"""

import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, PreTrainedModel

from ..cards import HERE, KINDS, existing_card, model_card, read_facts
from ..composite import copy_unit_extractor, feature_extractor_for
from ..constants import UNIT_EXTRACTOR
from ..errors import MetricError, PublishError
from ..evaluation.results import read_results
from ..evaluation.systems import fingerprint
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..files import write_json
from ..loading import json_object, one_line
from ..media.audio import write_audio
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..models.modeling_unit_vocoder import UnitVocoderModel
from ..models.voices import VOICES
from ..pipeline import LipToSpeechPipeline

SHIM = "hf_lip2speech_classes"  # the module in a repository that imports this package
FACTS, RESULTS, CARD = "card.yaml", "results*.json", "README.md"
RENDERED_SPEAKER = Path(__file__).parent / "sample" / "talker.mp4"  # no person's face
CLASSES = (Lip2SpeechWithVocoder, Lip2SpeechModel, UnitVocoderModel, SpeechUnitExtractor)  # as cards.KINDS
# Files that publishing again replaces or removes; everything else that the owner added stays.
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
    """Fill a folder with the files of a repository; returns the card.

    Weights and configurations are copied bit for bit, after they were loaded once. Added are the feature
    extractor, the code that imports this package, the unit extractor where there is one, a sample (of the
    composite, in its default voice), results and .eval_results, and the card.

    Args:
        checkpoint: Folder of a Lip2SpeechWithVocoder, Lip2SpeechModel, UnitVocoderModel or
            SpeechUnitExtractor, in safetensors.
        out: An empty or new folder.
        repo_id: "owner/name", for the card.
        facts: YAML file of what the card states, see `cards`; default: card.yaml in the checkpoint, else its
            README.md as it is, else only what the checkpoint itself shows.
        evaluation: Folder that `hf-lip2speech evaluate` wrote; default: results*.json in the checkpoint, if
            there are any.
        sample: Video of a face that the composite speaks for; only the speech is published. Default: samples/
            in the checkpoint, else the rendered speaker.

    Raises:
        PublishError, Lip2SpeechError: the checkpoint is incomplete, or facts, results or sample do not fit.
    """
    checkpoint = Path(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    model = load_complete(checkpoint)
    extractor = None
    for name in _weight_files(checkpoint):
        shutil.copyfile(checkpoint / name, out / name)
    names = [type(model).__name__, type(model.config).__name__]
    write_json(out / "config.json", _published_config(checkpoint, *names))
    if isinstance(model, (Lip2SpeechModel, Lip2SpeechWithVocoder)):
        extractor = feature_extractor_for(checkpoint, model)
        extractor.save_pretrained(out)
        settings = json_object(out / "preprocessor_config.json")
        settings["auto_map"] = {"AutoFeatureExtractor": f"{SHIM}.{type(extractor).__name__}"}
        write_json(out / "preprocessor_config.json", settings)
        names.append(type(extractor).__name__)
    code = f"from hf_lip2speech import {', '.join(sorted(names))}  # noqa: F401\n"
    about = '"""The classes of this model, from the installed package (hf-lip2speech)."""'
    (out / f"{SHIM}.py").write_text(f"{about}\n\n{code}", encoding="utf-8")
    if not isinstance(model, SpeechUnitExtractor) and (checkpoint / UNIT_EXTRACTOR).is_dir():
        load_complete(checkpoint / UNIT_EXTRACTOR)
        copy_unit_extractor(checkpoint, out)
    for name in ("LICENSE", "NOTICE", VOICES):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, out / name)
    results = _copy_results(checkpoint, model, evaluation, out)
    samples = _samples(checkpoint, model, extractor, sample, out)
    kind = next(kind for kind, of in zip(KINDS, CLASSES, strict=True) if isinstance(model, of))
    if facts is None and (checkpoint / FACTS).is_file():
        facts = checkpoint / FACTS
    if facts is None and (checkpoint / CARD).is_file():
        card = existing_card(checkpoint / CARD, kind, results, repo_id, samples)
    else:
        stated = {"title": repo_id.rsplit("/", 1)[-1]} if facts is None else read_facts(facts)
        card = model_card(kind, stated, results, repo_id=repo_id, samples=samples)
    card.save(out / CARD)
    return card


def load_complete(folder: Path) -> PreTrainedModel:
    """The model in a folder, in eval mode, after a check that all its weights are there, fit and are finite;
    else a PublishError, also for a kind of model that is not published."""
    if not (folder / "config.json").is_file():
        raise PublishError(
            f"{folder} holds no config.json: expected the folder of a model or of a training's best/."
        )
    try:
        config = AutoConfig.from_pretrained(folder)
        if type(config) not in [of.config_class for of in CLASSES]:
            raise PublishError(f"{folder} holds a {config.model_type!r} model; expected one of {KINDS}.")
        if not _weight_files(folder):
            raise PublishError(f"{folder} holds no model.safetensors, the only format that is published.")
        model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    except PublishError:
        raise
    except (OSError, RecursionError, StrictDataclassError, TypeError, ValueError) as error:
        raise PublishError(f"{folder} cannot be loaded. {one_line(error)}") from error
    for what, said in (("missing_keys", "lack"), ("unexpected_keys", "have too many")):
        if report[what]:
            names = ", ".join(map(str, sorted(report[what])[:5]))
            raise PublishError(f"The weights in {folder} {said}: {names}.")
    if isinstance(model, SpeechUnitExtractor):
        if not model.config.fitted:
            raise PublishError(
                f"The unit extractor in {folder} is not fitted: it has no clusters to publish."
            )
        features = model.config.features
        if features != "mfcc" and (Path(features).is_absolute() or Path(features).exists()):
            raise PublishError(
                f"The unit extractor in {folder} takes its features from the local folder {features}. Write "
                f"the model's name on the Hub into `features` of {folder / 'config.json'}."
            )
    return model.eval()


def is_ours(path: str) -> bool:
    """Whether publishing again replaces or removes this file of a repository."""
    return any(fnmatch(path, pattern) for pattern in OURS)


def _weight_files(folder: Path) -> list[str]:
    """The names of the files that hold the weights: one, or an index and its shards; none where there are
    none."""
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    places = json_object(index).get("weight_map")
    shards = set(places.values()) if isinstance(places, dict) else {places}
    if not all(isinstance(name, str) and name == Path(name).name for name in shards):
        raise PublishError(f"{index} does not name files in {folder} alone, which nobody can load.")
    return [index.name, *sorted(shards)]


def _published_config(checkpoint: Path, model_class: str, config_class: str) -> dict[str, Any]:
    """config.json with the `auto_map` to the classes, and without local paths."""
    config = json_object(checkpoint / "config.json")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name in ("custom_pipelines", "_name_or_path", "auto_map"):
            part.pop(name, None)
    auto_map = {"AutoConfig": f"{SHIM}.{config_class}", "AutoModel": f"{SHIM}.{model_class}"}
    return config | {"auto_map": auto_map}


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
            results.append(read_results(path))
        except MetricError as error:
            raise PublishError(f"{error} Remove it, or give the folder that it wrote.") from error
        measured = results[-1]["facts"].get("weights_sha256")
        if isinstance(model, Lip2SpeechWithVocoder) and measured not in (None, fingerprint(model)):
            raise PublishError(
                f"{path} was measured with other weights than those in {checkpoint}: evaluate these."
            )
        shutil.copyfile(path, out / path.name)
    for folder in (source / ".eval_results", source / "card" / ".eval_results"):
        if folder.is_dir():
            shutil.copytree(folder, out / folder.name)
            break
    return results


def _samples(
    checkpoint: Path,
    model: PreTrainedModel,
    extractor: Lip2SpeechFeatureExtractor | None,
    video: str | Path | None,
    out: Path,
) -> list[str]:
    """Names of the repository's sound files: those of the checkpoint, else one that the model speaks now."""
    samples = checkpoint / "samples"
    ready = [*sorted(samples.glob("*.wav")), *sorted(samples.glob("*.flac"))]
    folder = out / "samples"
    if video is not None and not isinstance(model, Lip2SpeechWithVocoder):
        raise PublishError("A sample is spoken by the composite (hf-lip2speech compose); this is a part.")
    if video is None and ready:
        folder.mkdir()
        for path in ready:
            shutil.copyfile(path, folder / path.name)
        return [f"samples/{path.name}" for path in ready]
    if not isinstance(model, Lip2SpeechWithVocoder) or (video is None and model.config.default_voice is None):
        return []
    if model.config.default_voice is None:
        raise PublishError("The model has no default voice for the sample: compose it with one.")
    folder.mkdir()
    video = RENDERED_SPEAKER if video is None else Path(video)
    speech = LipToSpeechPipeline(model, extractor, device="cpu")(str(video))
    name = re.sub(r"[^\w.-]+", "-", video.stem)  # it is part of an address
    write_audio(folder / f"{name}.wav", speech["audio"], speech["sampling_rate"])
    return [f"samples/{name}.wav"]
