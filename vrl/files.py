"""The files of a run: replaced atomically, or appended line by line and read up to a line that a kill tore."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` at the end: readers see the old file or the new."""
    tmp = path.with_name(f"{path.name}.tmp")
    yield tmp
    os.replace(tmp, path)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that readers see complete or not at all."""
    with replacing(path) as tmp:
        tmp.write_text(text, encoding="utf-8")


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of a file with one JSON value per line, up to a torn line; none if there is no file."""
    values = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            values.append(json.loads(line))
        except ValueError:
            break
    return values
