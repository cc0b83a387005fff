"""Copy a prepared GRID folder with other voices: the same lips, the same words at the same times.

    python scripts/revoice.py PREPARED OUT [--split train]

A model that has heard each face in one voice only learns the voice from the face and ignores the speaker
embedding. Here every clip's sentence is spoken by one of flite's voices, drawn at random, and stretched to
the recording's timing (hf_lip2speech.synthetic.revoicing; needs the extra pitch). Mel, units and speaker
embedding are made as in `hf-lip2speech prepare`; the mouth crops are links to the recording's, so PREPARED
must stay where it is. Train on both: data: [PREPARED, OUT].
Only GRID's sentences with word times are supported.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hf_lip2speech.extras import needs_extra

with needs_extra("train"):
    import pyarrow
    import pyarrow.parquet

    from hf_lip2speech.audio.mel import log_mel_spectrogram
    from hf_lip2speech.data.corpora import Word
    from hf_lip2speech.data.layout import PreparedFolder
    from hf_lip2speech.data.prepared import PreparedDataset
    from hf_lip2speech.errors import Lip2SpeechError
    from hf_lip2speech.evaluation.recognisers import is_grid_sentence
    from hf_lip2speech.files import new_folder
    from hf_lip2speech.media.audio import write_audio
    from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder
    from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor
    from hf_lip2speech.synthetic.revoicing import revoiced
    from hf_lip2speech.synthetic.speech import VOICES, flite_version


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--limit", type=int, help="only the first clips")
    parser.add_argument("--seed", type=int, default=0, help="of who speaks what")
    arguments = parser.parse_args()
    try:
        flite_version()
        clips = PreparedDataset(arguments.prepared, arguments.split, fields=("waveform",))
    except Lip2SpeechError as error:
        parser.exit(1, f"{error}\n")
    for row in clips.rows:
        if not is_grid_sentence(row["text"]) or len(row["words"]) != len(row["text"].split()):
            parser.exit(
                1, f"{row['id']}: {row['text']!r} is not a GRID sentence with a time for each word.\n"
            )
    source = PreparedFolder(arguments.prepared)
    extractor = SpeechUnitExtractor.from_pretrained(source.unit_extractor).eval()
    encoder = SpeakerEncoder.bundled()
    rng = np.random.default_rng(arguments.seed)
    with new_folder(arguments.out) as unfinished:
        folder, rows = PreparedFolder(unfinished), []
        for index in tqdm(range(min(len(clips), arguments.limit or len(clips))), "clips"):
            row, true = clips.rows[index], np.asarray(clips[index]["waveform"])
            voice = str(rng.choice(sorted(VOICES)))
            words = [Word(**word) for word in row["words"]]
            sound = revoiced(true, words, row["text"], voice, rng)
            clip_id = f"{voice}/{row['id'].replace('/', '_')}"
            paths = {name: folder.path(name, clip_id) for name in ("video", "audio", "mel", "units")}
            paths["speaker_embedding"] = folder.path("speaker_embedding", clip_id)
            for path in paths.values():
                path.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(source.path("video", row["id"]).resolve(), paths["video"])
            write_audio(paths["audio"], sound)
            np.save(paths["mel"], log_mel_spectrogram(torch.from_numpy(sound)).numpy()[: 4 * row["frames"]])
            np.save(paths["units"], extractor.encode(sound)[: 2 * row["frames"]].astype(np.int16))
            np.save(paths["speaker_embedding"], encoder.embed(sound))
            names = {name: folder.relative(name, clip_id) for name in paths}
            changed = {"id": clip_id, "speaker": voice, "words": json.dumps(row["words"])}
            rows.append(row | names | changed)
        shutil.copytree(source.unit_extractor, folder.unit_extractor)
        schema = pyarrow.parquet.read_schema(source.manifest)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), folder.manifest)


if __name__ == "__main__":
    main()
