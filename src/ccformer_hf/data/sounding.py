"""Which classes sound in a clip: what decides whose sound another clip may be given as a wrong one."""

import numpy as np
from datasets import Dataset

from .avsbench import FOLDER
from .reading import IGNORE_LABEL

TABLE, LABEL_MAPS, UNKNOWN = "the official table", "the label maps", "unknown"
NOT_TOLD = (
    "which classes sound in a clip is not known: the label maps of s4 and ms3 do not tell, nor does ms3's own table. "
    "Put AVSBench's "
    "metadata.csv into the folder that holds Multi-sources/, and convert again what was converted without it"
)


class SoundingClasses:
    """Of each clip the names of the classes that sound in it; none where that is not known.

    As the official table tells; of clips of one's own as their label maps show, which are read when they are first
    asked for. A clip with nothing in its label maps is not known: what sounds in it, if anything, is off screen.

    Args:
        clips: rows of `load_avsbench`.

    Attributes:
        told_by: `TABLE`, `LABEL_MAPS` or `UNKNOWN`.
    """

    def __init__(self, clips: Dataset):
        table = clips.select_columns(["setting", "classes"])[:]
        self._known = {number: frozenset(classes) for number, classes in enumerate(table["classes"]) if classes}
        self._labels = clips.select_columns(["labels"])
        self._names = clips.features["labels"].names
        if self._known:
            self.told_by = TABLE
        else:
            self.told_by = LABEL_MAPS if table["setting"][0] == FOLDER else UNKNOWN

    def of(self, index: int) -> frozenset[str]:
        """The classes of the clip at `index`."""
        if index not in self._known and self.told_by == LABEL_MAPS:
            ids = set(np.unique(self._labels[index]["labels"]).tolist()) - {0, IGNORE_LABEL}
            self._known[index] = frozenset(self._names[number] for number in ids)
        return self._known.get(index, frozenset())
