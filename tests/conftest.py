"""How tests share the machine: two workers, all that starts Ray, vLLM or DeepSpeed in one of them.

Tests of whole fleets look for processes and shared memory left behind, so they run one after the other; unit tests run
beside them.
"""

from pathlib import Path

import pytest

_INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.is_relative_to(_INTEGRATION))  # the long queue starts first
    for item in items:
        if item.path.is_relative_to(_INTEGRATION):
            item.add_marker(pytest.mark.xdist_group("fleets"))
