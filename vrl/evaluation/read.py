"""The questions of a benchmark, and the rows that cannot be asked. Nothing is left out in silence."""

from pathlib import Path

from vrl.data.dataset import sound
from vrl.data.rows import BadRow, Row, RowError, read_rows
from vrl.errors import DataError
from vrl.evaluation.config import BAD_ROWS, EvalConfig
from vrl.evaluation.item import Benchmark, Item
from vrl.evaluation.record import Scored
