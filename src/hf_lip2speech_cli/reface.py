"""Draw prepared clips on other faces: more people for the training of a lip reader.

Lips and jaw of the filmed speakers move a scanned head (ICT-FaceKit), drawn as random people. Sound, mel and
units stay those of the clip. An interrupted run resumes. Train on both: data: [PREPARED, OUT].
"""

import argparse

from hf_lip2speech_extras import require_needed

from .options import OPTIONS_OF, check_folder, open_corpus, positive, shard
from .terminal import print_report


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("corpus", metavar="CORPUS", choices=tuple(OPTIONS_OF), help="one of " + ", ".join(OPTIONS_OF))
    add("data_dir", metavar="DATA_DIR", help="the corpus from which PREPARED was made")
    add("prepared", metavar="PREPARED", help="the prepared folder")
    head = "folder FaceXModel of a clone of ICT-FaceKit"
    add("head", metavar="HEAD", help=head)
    add("out", metavar="OUT", help="prepared folder to write")
    add("--people", type=positive, default=1, metavar="N", help="drawn people per clip (default: 1)")
    add("--split", default="train", help="the split to draw (default: train)")
    add("--seed", type=int, default=0, help="seed of the people (default: 0)")
    add("--num-proc", type=positive, default=1, metavar="N", help="number of processes (default: 1)")
    parts = "only the i-th of n parts; afterwards the same command without --shard writes the manifest"
    add("--shard", type=shard, metavar="i/n", help=parts)


def run(args: argparse.Namespace) -> int:
    check_folder(args.data_dir, f"the corpus ({args.corpus})")
    check_folder(args.head, "the scanned head")
    require_needed("reface")

    from hf_lip2speech.synthetic.reface import reface

    options = {name: getattr(args, name) for name in ("people", "split", "shard", "seed", "num_proc")}
    corpus = open_corpus(args.corpus, args.data_dir, {})
    result = reface(corpus, args.prepared, args.head, args.out, **options)
    print_report(result, args.out)
    return 0
