"""Reads YAML from anywhere: nothing in it can run code, and a name that is given twice is refused."""

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1 << 20  # of a file


class YamlMapping(dict):
    """Names and values, as texts and plain values.

    Attributes:
        line: of the text, from 1, on which it begins.
        lines: of each name.
    """

    line: int
    lines: dict[str, int]


def read_yaml(path: Path) -> YamlMapping:
    """The names and values of a YAML file; none for an empty one.

    Raises:
        OSError: where it cannot be opened.
        ValueError: for a file that is larger than 1 MiB, is not YAML, or holds something else.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path}: has {size} bytes; expected YAML of at most {MOST_BYTES}")
    values = parse_yaml(path.read_bytes(), str(path))
    if values is None:
        return YamlMapping()
    if not isinstance(values, YamlMapping):
        raise ValueError(f"{path}: holds a {type(values).__name__}; expected lines of name: value")
    return values


def parse_yaml(text: str | bytes, where: str) -> Any:
    """The value that a YAML text stands for; its mappings are `YamlMapping`s.

    Raises:
        ValueError: says `where` it is not YAML, or gives a name twice.
    """
    try:
        return yaml.load(text, _Loader)
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: bytes that are not text, a 31st of June
        raise ValueError(f"{where}: is not YAML ({' '.join(str(error).split())})") from None


class _Loader(yaml.SafeLoader):
    """Remembers lines, and refuses a name that is given twice; YAML itself keeps the last one."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> YamlMapping:
    mapping = YamlMapping()
    mapping.line, mapping.lines = node.start_mark.line + 1, {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key in mapping:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
        mapping.lines[key] = key_node.start_mark.line + 1
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
