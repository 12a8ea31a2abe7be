"""Tiny checkpoints of the three families."""

from pathlib import Path

import pytest

from vrl.data.toymodel import FAMILIES, build_family


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES:
        build_family(folder / family, family, sharp=False)
    return {family: folder / family for family in FAMILIES}
