"""Finds misspelt names of arguments: transformers keeps, or passes over, any argument that a class does not know."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

# A letter wrong, missing, or changed for its neighbour, even in a name as short as `fps`.
LIKENESS = 0.66


def unknown_names(given: Iterable[str], known: Collection[str]) -> str:
    """The names given that are not known, each with the known one most like it; "" where all are known.

    For an error message: "'colour', 'num_querys' (did you mean 'num_queries'?)".
    """
    unknown = []
    for name in given:
        if name not in known:
            similar = get_close_matches(str(name), sorted(known), n=1)
            unknown.append(f"{name!r} (did you mean {similar[0]!r}?)" if similar else repr(name))
    return ", ".join(unknown)


def refuse_misspelt(given: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Raises where a name given is unknown and close to a known one. Any other unknown name may be for another class.

    Args:
        given: names of the arguments given.
        known: names of the settings of `owner`.
        owner: the class they were given to.

    Raises:
        TypeError: names the argument and the setting that was probably meant.
    """
    known = set(known)
    for name in set(given) - known:
        # Of nearly the same length only, so that `image_std_of_others` is not taken for `image_std`.
        similar = [other for other in known if abs(len(other) - len(name)) <= 1]
        for meant in get_close_matches(name, similar, n=1, cutoff=LIKENESS):
            raise TypeError(f"{owner} has no setting {name!r}; did you mean {meant!r}?")
