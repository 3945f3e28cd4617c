"""A misspelt setting is an error (ours): transformers keeps, or passes over, any argument that a class does not know."""

from collections.abc import Iterable
from difflib import get_close_matches

# A letter wrong, missing, or changed for its neighbour, even in a name as short as `fps`.
LIKENESS = 0.66


def refuse_misspelt(given: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Raises where a name given is unknown and close to a known one. Any other unknown name may be meant for another class.

    Args:
        given: names of the arguments given.
        known: names of the settings of `owner`.
        owner: the class they were given to.

    Raises:
        TypeError: names the argument and the setting that was probably meant.
    """
    known = set(known)
    for name in set(given) - known:
        alike = [other for other in known if abs(len(other) - len(name)) <= 1]
        for meant in get_close_matches(name, alike, n=1, cutoff=LIKENESS):
            raise TypeError(f"{owner} has no setting {name!r}; did you mean {meant!r}?")
