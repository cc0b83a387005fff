"""Commands that make training data: `prepare`, `render`, `reface`."""

import argparse
import os
import sys
from typing import Any

from hf_lip2speech_extras import require_installed, require_needed

from .options import CommandError, add_face, check_folder, natural, positive
from .terminal import print_report

OPTIONS_OF = {  # of `prepare`, by corpus
    "grid": ("speaker", "configuration"),
    "lrs2": ("configuration",),
    "lrs3": ("configuration", "valid_ids"),
    "rendered": ("speaker",),
    "folder": ("speaker",),
}


def prepare_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("corpus", metavar="CORPUS", choices=tuple(OPTIONS_OF), help="one of " + ", ".join(OPTIONS_OF))
    add("data_dir", metavar="DATA_DIR", help="the corpus; for folder: any talking-face videos with sound")
    add("out", metavar="OUT", help="folder to write")
    add("--dry-run", action="store_true", help="write nothing; estimate time and disk space from a sample")
    add("--num-proc", type=positive, default=1, metavar="N", help="number of processes (default: 1)")
    add(
        "--shard",
        type=shard,
        metavar="i/n",
        help="only the i-th of n parts, 1/n to n/n, as in a job array; after all of them, the same command "
        "without --shard writes manifest and report",
    )
    engines = "processes of this machine, or the running Ray cluster (default: local)"
    add("--engine", choices=("local", "ray"), default="local", help=engines)
    add(
        "--max-seconds",
        type=positive,
        metavar="S",
        help="cut longer clips between words, if the corpus has word times (default: 24)",
    )
    add(
        "--configuration",
        metavar="NAME",
        help="lrs3: 433h (default), 30h or pretrain; lrs2: 224h (default), 29h or pretrain; grid: "
        "speaker-dependent (default), 33-speaker or unseen-speaker",
    )
    add("--valid-ids", metavar="FILE", help="lrs3: the validation clips, one per line (default: 1,200 drawn)")
    add("--splits", nargs="+", metavar="SPLIT", help="only these splits, such as train val (default: all)")
    add("--speaker", metavar="NAME", help="only this speaker (default: all)")
    add("--limit", type=positive, metavar="N", help="only the first N clips of each split (default: all)")
    add_face(parser)
    add(
        "--units",
        metavar="SOURCE",
        help="mfcc, bundled, the folder of a fitted unit extractor, or the Hub name of a self-supervised "
        "speech model (default: facebook/hubert-base-ls960)",
    )
    add("--num-units", type=positive, metavar="N", help="number of speech units to fit (default: 200)")
    add(
        "--visual-units",
        metavar="SOURCE",
        help="store visual units, too, from which a model can be trained without video: an AV-HuBERT or "
        "lip-to-speech model (bundled, a folder or a Hub name), whose features are clustered, or the folder "
        "of a fitted visual unit extractor",
    )
    add("--visual-layer", type=natural, metavar="N", help="layer of that model (default: the last)")
    add("--num-visual-units", type=positive, metavar="N", help="visual units to fit (default: 1000)")


def prepare(args: argparse.Namespace) -> int:
    """Prepare a corpus of videos as training data.

    Makes mouth crops, sound, mel spectrograms, speech units and speaker embeddings. An interrupted run
    resumes. OUT/report.json lists every skipped clip with the reason; OUT/contact_sheet.png shows mouth
    crops.
    """
    options = {name: getattr(args, name) for name in ("speaker", "configuration", "valid_ids")}
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in OPTIONS_OF[args.corpus]:
            corpora = ", ".join(corpus for corpus, names in OPTIONS_OF.items() if name in names)
            option = f"--{name.replace('_', '-')}"
            raise CommandError(f"{option} is for {corpora}, not for {args.corpus}: leave it out.")
    check_folder(args.data_dir, f"the corpus ({args.corpus})")
    if args.valid_ids is not None and not os.path.isfile(args.valid_ids):
        raise CommandError(f"--valid-ids {args.valid_ids}: there is no such file.")
    if args.engine == "ray":
        require_installed("ray")
    require_needed("prepare")

    from hf_lip2speech.constants import NUM_UNITS
    from hf_lip2speech.data.dry_run import estimate
    from hf_lip2speech.data.prepare import DEFAULT_UNITS, MAX_SECONDS, prepare
    from hf_lip2speech.data.prepared import is_published_layout

    if is_published_layout(args.data_dir):
        needless = "is in the published layout and needs no preparation"
        raise CommandError(f"{args.data_dir} {needless}: train with data={args.data_dir}.")
    corpus = open_corpus(args.corpus, args.data_dir, given)
    arguments: dict[str, Any] = {
        "num_proc": args.num_proc,
        "unit_extractor": args.units or DEFAULT_UNITS,
        "num_units": args.num_units or NUM_UNITS,
        "splits": args.splits,
        "limit": args.limit,
        "face": args.face,
        "max_seconds": args.max_seconds or MAX_SECONDS,
    }
    if args.dry_run:
        _print_cost(estimate(corpus, **arguments), args.num_proc)
    else:
        visual = {
            "visual_units": args.visual_units,
            "visual_layer": -1 if args.visual_layer is None else args.visual_layer,
            "num_visual_units": args.num_visual_units or 1000,
        }
        made = prepare(corpus, args.out, engine=args.engine, shard=args.shard, **arguments, **visual)
        print_report(made, args.out)
    return 0


def _print_cost(cost: dict[str, Any], num_proc: int) -> None:
    def span(name: str) -> str:
        hours = cost[name]
        return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"

    print(
        f"From {cost['sample']} of {cost['clips']} clips:\n"
        f"  sound and video   {span('hours')}\n"
        f"  crops and targets {span('crop_hours')} of one process, +- {span('crop_error')}\n"
        f"  units             {span('unit_hours')} of one process on {cost['device']}, after "
        f"{span('fit_hours')} to fit them\n"
        f"  in all            {span('wall_hours')} with --num-proc {num_proc} on this machine; on n such "
        "machines (--shard i/n) all but the fitting is divided by n\n"
        f"  disk              {cost['gigabytes']:.3g} GB in {cost['files']} files"
    )
    if cost["skipped"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in cost["skipped"].items())
        print(f"  skipped           {reasons}, of the {cost['sample']}")


def render_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", help="folder to write")
    clips = "number of clips of 3 s; the four speakers take turns"
    add("--clips", type=positive, required=True, metavar="N", help=clips)
    add("--seed", type=int, default=0, help="seed of sentences, looks and movements (default: 0)")
    size = "frame size in pixels (default: 360 288)"
    add("--size", type=positive, nargs=2, default=(360, 288), metavar=("W", "H"), help=size)
    add("--num-proc", type=positive, default=1, metavar="N", help="number of processes (default: 1)")


def render(args: argparse.Namespace) -> int:
    """Render talking faces: a corpus without recorded people.

    They are drawn, and speak GRID's sentences with the voices of flite, which must be installed. The corpus
    is what `prepare rendered` reads. An interrupted run resumes.
    """
    require_needed("render")

    from hf_lip2speech.synthetic.render import render

    render(args.out, args.clips, seed=args.seed, size=tuple(args.size), num_proc=args.num_proc)
    print(f"{args.clips} clips in {args.out}", file=sys.stderr)
    return 0


def reface_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("corpus", metavar="CORPUS", choices=tuple(OPTIONS_OF), help="one of " + ", ".join(OPTIONS_OF))
    add("data_dir", metavar="DATA_DIR", help="the corpus from which PREPARED was made")
    add("prepared", metavar="PREPARED", help="the prepared folder")
    head = "folder FaceXModel of a clone of ICT-FaceKit, or one with its arrays, shapes.npz and topology.npz"
    add("head", metavar="HEAD", help=head)
    add("out", metavar="OUT", help="prepared folder to write")
    add("--people", type=positive, default=1, metavar="N", help="drawn people per clip (default: 1)")
    add("--split", default="train", help="the split to draw (default: train)")
    add("--seed", type=int, default=0, help="seed of the people (default: 0)")
    add("--num-proc", type=positive, default=1, metavar="N", help="number of processes (default: 1)")
    parts = "only the i-th of n parts; afterwards the same command without --shard writes the manifest"
    add("--shard", type=shard, metavar="i/n", help=parts)


def reface(args: argparse.Namespace) -> int:
    """Draw prepared clips on other faces: more people for the training of a lip reader.

    Lips and jaw of the filmed speakers move a scanned head (ICT-FaceKit), drawn as random people. Sound, mel
    and units stay those of the clip. An interrupted run resumes. Train on both: data: [PREPARED, OUT].
    """
    check_folder(args.data_dir, f"the corpus ({args.corpus})")
    check_folder(args.head, "the scanned head")
    require_needed("reface")

    from hf_lip2speech.synthetic.reface import reface

    options = {name: getattr(args, name) for name in ("people", "split", "shard", "seed", "num_proc")}
    corpus = open_corpus(args.corpus, args.data_dir, {})
    result = reface(corpus, args.prepared, args.head, args.out, **options)
    print_report(result, args.out)
    return 0


def shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected i/n with i from 1 to n, such as 1/8, got {text!r}")
    return int(index), int(count)


def open_corpus(name: str, data_dir: str, given: dict[str, Any]) -> Any:
    from hf_lip2speech.data.corpora import GRID, LRS2, LRS3, FaceVideoFolder
    from hf_lip2speech.synthetic import RenderedTalker

    if name in ("folder", "lrs2", "lrs3"):
        return {"folder": FaceVideoFolder, "lrs2": LRS2, "lrs3": LRS3}[name](data_dir, **given)
    speakers = [given["speaker"]] if "speaker" in given else None
    if name == "rendered":
        return RenderedTalker(data_dir, speakers=speakers)
    setting: dict[str, Any] = {"setting": given["configuration"]} if "configuration" in given else {}
    return GRID(data_dir, speakers=speakers, **setting)
