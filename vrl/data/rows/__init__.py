"""The one door for annotation files: our own schema, published datasets and benchmarks are all read through it."""

from vrl.data.rows.reading import BAD_ROWS, BadRow, Reading, read_rows
from vrl.data.rows.row import Row, RowError
from vrl.data.rows.source import Source, read_json, shards

__all__ = ["BAD_ROWS", "BadRow", "Reading", "Row", "RowError", "Source", "read_json", "read_rows", "shards"]
