"""`ccformer data compose`: training clips of class-labelled pictures and sounds."""

import argparse

from .arguments import add_command, at_least, needs_extra


def add_compose(actions) -> None:
    """Adds the command to the actions of `ccformer data`."""
    compose = add_command(
        actions,
        "compose",
        help="make clips of labelled pictures and sounds",
        description="Composes clips of class-labelled pictures and sounds: objects move in and on photographs, some "
        "of them sound, and the masks follow who sounds in each second. SOURCES names data sets of pictures (COCO, "
        "LVIS, VOC, cut-outs, a folder, a table) and of sounds (ESC-50, VGGSound, FSD, folders, a table) and says "
        "which of their names are which class; examples/sources/compose-*.yaml are such files, "
        "`ccformer_hf/data/composing/sources.py` describes them.",
        epilog="examples:\n  ccformer data compose sources.yaml                  read every picture and sound, and "
        "count them\n"
        "  ccformer data compose sources.yaml -o mine --clips 2000 --seed 1\n\n"
        "To train without writing anything, name the file as the data: every clip is then composed as it is needed:\n"
        "  ccformer train --config composed-resnet50 --data sources.yaml --output runs/mine",
    )
    add = compose.add_argument
    add("sources", metavar="SOURCES", help="YAML file that names pictures and sounds")
    add(
        "-o",
        "--output",
        metavar="DIR",
        help="folder to make, as of your own clips (default: only check the sources)",
    )
    add(
        "--clips",
        type=at_least(3),
        default=1000,
        help="how many to write: 80 %% train, 10 %% validation, 10 %% test (default: %(default)s)",
    )
    add("--seed", type=at_least(0), default=0, help="the same seed writes the same clips (default: %(default)s)")
    add("--workers", type=at_least(1), help="processes (default: one per core)")
    compose.set_defaults(run=_compose)


def _compose(options: argparse.Namespace) -> int:
    needs_extra("train", "ccformer data compose", "datasets")
    from ..data.composing.rows import write_composed_set

    if options.output is None:
        return _check_sources(options.sources)
    counts = write_composed_set(options.sources, options.output, options.clips, options.seed, options.workers)
    per_split = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{sum(counts.values())} clips ({per_split}; seed {options.seed}) are in {options.output}")
    return 0


def _check_sources(path: str) -> int:
    from ..data.composing.material import read_material, unusable_files

    found = read_material(path)
    names = found["train"].sources.class_names
    width = max(map(len, names)) + 2
    print(f"{'':{width}}" + "".join(f"{split + ' pictures':>22}{'sounds':>8}" for split in found))
    for number, name in enumerate(names):
        counts = [
            (len(material.cutouts[number]), len(material.sounds[number]))
            if number
            else (len(material.backgrounds), sum(len(material.sounds[key]) for key in ("other", "bed")))
            for material in found.values()
        ]
        print(f"{name:{width}}" + "".join(f"{pictures:22}{sounds:8}" for pictures, sounds in counts))
    wrong = unusable_files(found)
    for line in wrong[:20]:
        print(line)
    print(f"{len(wrong)} files cannot be used; leave them out, or fix them" if wrong else "All files can be used.")
    return 1 if wrong else 0
