"""The corpora as builders of the `datasets` library, for whoever wants rows of paths, texts and word times.

Nothing is copied or decoded: a row names the clip's files, since `datasets` would decode videos with
torchcodec only. `hf_lip2speech.data.prepare` takes `builder.corpus`.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

try:
    import datasets
    from datasets.builder import Key
except ModuleNotFoundError as error:
    if error.name != "datasets":
        raise
    raise ImportError(
        "datasets is not installed. It comes with an extra: pip install 'hf-lip2speech[train]'"
    ) from error

from ..errors import DatasetError
from . import corpora
from .corpora.clip import Clip, ListedCorpus, some
from .corpora.grid import SETTINGS
from .corpora.lrs2 import CONFIGURATIONS as LRS2_CONFIGURATIONS
from .corpora.lrs3 import CONFIGURATIONS as LRS3_CONFIGURATIONS

VERSION = "1.0.0"
SHARD = 100  # clips that go to one process or loader worker together
FEATURES = {
    "id": datasets.Value("string"),
    "video": datasets.Value("string"),
    "audio": datasets.Value("string"),
    "speaker": datasets.Value("string"),
    "text": datasets.Value("string"),
    "words": [
        {
            "word": datasets.Value("string"),
            "start": datasets.Value("float64"),
            "end": datasets.Value("float64"),
        }
    ],
}
SPLITS = {"train": datasets.Split.TRAIN, "val": datasets.Split.VALIDATION, "test": datasets.Split.TEST}


def _configurations(names: Iterable[str]) -> list[datasets.BuilderConfig]:
    return [datasets.BuilderConfig(name=name, version=VERSION) for name in names]


class CorpusBuilder(datasets.GeneratorBasedBuilder):
    """Rows of a corpus: `download_and_prepare()` and `as_dataset()`, or streamed, `as_streaming_dataset()`.

    A row is {"id", "video": path, "audio": path or None where the sound is in the video, "speaker": name or
    None where the corpus names none, "text", "words": [{"word", "start", "end"}] in seconds}. The splits are
    train, validation and test. Clips whose video is missing have no row; a warning counts them.

    The cache knows the corpus by its files' sizes and times, so changed files make new tables.

    Attributes:
        corpus: The same as an iterable of `Clip`s, for `prepare`.
    """

    corpus: ListedCorpus
    DEFAULT_WRITER_BATCH_SIZE = 1000

    def __init__(self, corpus: ListedCorpus, **kwargs: Any):
        self.corpus = corpus
        kwargs.setdefault("hash", _fingerprint(corpus))
        super().__init__(dataset_name=corpus.name, data_dir=str(corpus.data_dir.resolve()), **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description=self.__doc__ or "", features=datasets.Features(FEATURES))

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        generators = []
        for split, name in SPLITS.items():
            ids = [clip for clip, of in self.corpus.splits.items() if of == split]
            # A list in gen_kwargs is what `datasets` shares out to processes and loader workers.
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
    """LRS3-TED; see `hf_lip2speech.data.corpora.LRS3` for the folder and the splits.

    Args:
        config_name: "433h" (default), "30h" or "pretrain".
        data_dir: The folder that holds pretrain/, trainval/ and test/.
        valid_ids: The validation clips, a list file or IDs; None: 1,200 clips of trainval drawn with `seed`.
        seed: Of that draw.
        kwargs: As for any builder, such as `cache_dir`.

    Raises:
        DatasetError: No `data_dir`, or it is not laid out as LRS3 is.
    """

    BUILDER_CONFIGS = _configurations(LRS3_CONFIGURATIONS)

    def __init__(
        self,
        *,
        config_name: str = "433h",
        data_dir: str | Path | None = None,
        valid_ids: str | Path | Iterable[str] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        corpus = corpora.LRS3(data_dir, configuration=config_name, valid_ids=valid_ids, seed=seed)
        super().__init__(corpus, config_name=config_name, **kwargs)


class LRS2(CorpusBuilder):
    """LRS2-BBC; see `hf_lip2speech.data.corpora.LRS2` for the folder and the splits.

    Args:
        config_name: "224h" (default), "29h" or "pretrain".
        data_dir: The folder that holds mvlrs_v1/ and the lists.
        kwargs: As for any builder, such as `cache_dir`.

    Raises:
        DatasetError: No `data_dir`, or it is not laid out as LRS2 is.
    """

    BUILDER_CONFIGS = _configurations(LRS2_CONFIGURATIONS)

    def __init__(self, *, config_name: str = "224h", data_dir: str | Path | None = None, **kwargs: Any):
        super().__init__(corpora.LRS2(data_dir, configuration=config_name), config_name=config_name, **kwargs)


class GRID(CorpusBuilder):
    """GRID; see `hf_lip2speech.data.corpora.GRID` for the folder and the splits.

    Args:
        config_name: "speaker-dependent" (default), "33-speaker" or "unseen-speaker".
        data_dir: The folder that holds s1/, s2/, ...
        speakers: Only these.
        split_dir: The folder of split lists.
        seed: Of the split where there are no lists.
        kwargs: As for any builder, such as `cache_dir`.

    Raises:
        DatasetError: No `data_dir`, or it is not laid out as GRID is.
    """

    BUILDER_CONFIGS = _configurations(SETTINGS)

    def __init__(
        self,
        *,
        config_name: str = "speaker-dependent",
        data_dir: str | Path | None = None,
        speakers: Iterable[str] | None = None,
        split_dir: str | Path | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        corpus = corpora.GRID(
            data_dir, setting=config_name, speakers=speakers, split_dir=split_dir, seed=seed
        )
        super().__init__(corpus, config_name=config_name, **kwargs)


def _fingerprint(corpus: ListedCorpus) -> str:
    digest = hashlib.sha256()
    for clip, split in corpus.splits.items():
        digest.update(repr((clip, split)).encode())
        for path in corpus.files(clip):
            try:
                stat = path.stat()
                digest.update(repr((path.name, stat.st_size, stat.st_mtime_ns)).encode())
            except FileNotFoundError:
                digest.update(b"missing")
            except OSError as error:
                raise DatasetError(f"{path} cannot be looked at: {error}.") from error
    return digest.hexdigest()[:32]
