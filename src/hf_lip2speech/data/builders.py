"""The corpora as builders of the `datasets` library: tables of paths, texts and word times.

Nothing is copied or decoded: a row names the clip's files, since `datasets` would decode videos with
torchcodec only. `hf_lip2speech.data.prepare` takes `builder.corpus`.
"""

import hashlib
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_lip2speech_extras import require_extra

from . import corpora
from .corpora.clip import Clip, ListedCorpus, file_signature, some
from .corpora.grid import SETTINGS
from .corpora.lrs import LRS2_CONFIGURATIONS, LRS3_CONFIGURATIONS

require_extra("datasets", "train")

import datasets  # noqa: E402
from datasets.builder import Key  # noqa: E402

SHARD = 100  # clips that go to one process or loader worker together
_TEXT, _SECONDS = datasets.Value("string"), datasets.Value("float64")
FEATURES: dict[str, Any] = dict.fromkeys(("id", "video", "audio", "speaker", "text"), _TEXT)
FEATURES["words"] = [{"word": _TEXT, "start": _SECONDS, "end": _SECONDS}]
SPLITS = {"train": datasets.Split.TRAIN, "val": datasets.Split.VALIDATION, "test": datasets.Split.TEST}


class CorpusBuilder(datasets.GeneratorBasedBuilder):
    """Rows of a corpus: `download_and_prepare()` and `as_dataset()`, or streamed, `as_streaming_dataset()`.

    A row is {"id", "video": path, "audio": path or None where the sound is in the video, "speaker": name or
    None where the corpus does not name speakers, "text", "words": [{"word", "start", "end"}] in seconds}. The
    splits are train, validation and test. Clips whose video is missing have no row; a warning counts them.

    The cache depends on the sizes and times of the corpus's files: changed files make new tables.

    Args:
        config_name: The corpus's configuration; by default its first.
        data_dir: The corpus's folder.
        options: Those of the corpus's class, and of any builder, such as `cache_dir`.

    Raises:
        DatasetError: No `data_dir`, an unknown configuration, or another layout than the corpus's.

    Attributes:
        corpus: The same as an iterable of `Clip`s, for `prepare`.
    """

    corpus: ListedCorpus
    corpus_class: Any  # a class of .corpora
    option = "configuration"  # the corpus's argument that `config_name` is
    configurations: tuple[str, ...] = ()
    DEFAULT_WRITER_BATCH_SIZE = 1000

    def __init_subclass__(cls) -> None:
        cls.BUILDER_CONFIGS = [
            datasets.BuilderConfig(name=name, version="1.0.0") for name in cls.configurations
        ]

    def __init__(self, *, config_name: str | None = None, data_dir: str | Path | None = None, **options: Any):
        config_name = config_name or self.configurations[0]
        known = set(inspect.signature(self.corpus_class).parameters) & set(options)
        arguments = {name: options.pop(name) for name in known} | {self.option: config_name}
        self.corpus = corpus = self.corpus_class(data_dir, **arguments)
        options.setdefault("hash", _fingerprint(corpus))
        super().__init__(
            dataset_name=corpus.name,
            data_dir=str(corpus.data_dir.resolve()),
            config_name=config_name,
            **options,
        )

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description=self.__doc__ or "", features=datasets.Features(FEATURES))

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        generators = []
        for split, name in SPLITS.items():
            ids = [clip for clip, of in self.corpus.splits.items() if of == split]
            # `datasets` distributes a list in gen_kwargs over processes and loader workers.
            shards = [tuple(ids[start : start + SHARD]) for start in range(0, len(ids), SHARD)]
            if shards:
                generators.append(datasets.SplitGenerator(name=str(name), gen_kwargs={"shards": shards}))
        return generators

    def _generate_examples(self, shards: list[tuple[str, ...]]) -> Iterator[tuple[Key, dict[str, Any]]]:  # ty: ignore[incompatible-method-override]
        missing = []
        for shard, ids in enumerate(shards):
            for number, clip in enumerate(map(self.corpus.clip, ids)):
                if clip.video.is_file():
                    yield Key(shard, number), self._row(clip)
                else:
                    missing.append(clip.id)
        if missing:
            warnings.warn(
                f"{len(missing)} clips have no video and are left out: {some(missing)}.", stacklevel=2
            )

    def _row(self, clip: Clip) -> dict[str, Any]:
        return {
            "id": clip.id,
            "video": str(clip.video),
            "audio": None if clip.audio is None else str(clip.audio),
            "speaker": clip.speaker if self.corpus.names_speakers else None,
            "text": clip.text,
            "words": [asdict(word) for word in clip.words],
        }


class LRS3(CorpusBuilder):
    """LRS3-TED, "433h" (default), "30h" or "pretrain", with the options of `corpora.LRS3`."""

    corpus_class = corpora.LRS3
    configurations = tuple(LRS3_CONFIGURATIONS)


class LRS2(CorpusBuilder):
    """LRS2-BBC, "224h" (default), "29h" or "pretrain"."""

    corpus_class = corpora.LRS2
    configurations = tuple(LRS2_CONFIGURATIONS)


class GRID(CorpusBuilder):
    """GRID, "speaker-dependent" (default), "33-speaker" or "unseen-speaker", with the options of
    `corpora.GRID`."""

    corpus_class = corpora.GRID
    option = "setting"
    configurations = SETTINGS


def _fingerprint(corpus: ListedCorpus) -> str:
    digest = hashlib.sha256()
    for clip, split in corpus.splits.items():
        paths = corpus.files(clip)
        digest.update(repr((clip, split, [path.name for path in paths], file_signature(paths))).encode())
    return digest.hexdigest()[:32]
