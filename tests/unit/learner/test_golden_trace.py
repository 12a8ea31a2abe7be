import json

import pytest
import torch
from support import golden_trace


def test_the_learner_reproduces_the_golden_trace(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = golden_trace.trace(tmp_path)
    finally:
        torch.set_num_threads(threads)
    wanted = json.loads(golden_trace.FILE.read_text())
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        for update, (ours, theirs) in enumerate(zip(found[name], rows, strict=True)):
            assert ours == pytest.approx(theirs, rel=golden_trace.TOLERANCE, abs=1e-6), (name, update)
    assert all(rows[-1]["loss/clip_frac"] > 0 for name, rows in wanted.items() if name != "reinforce")
