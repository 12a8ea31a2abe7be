from dataclasses import asdict
from pathlib import Path

import pytest

from vrl.checkpoint import Checkpoint
from vrl.driver import Progress
from vrl.errors import CheckpointError
from vrl.session import stored_state


def checkpoint(**changes):
    driver = {
        "stream": {},
        "progress": asdict(Progress(step=3)),
        "bad": [],
        "vals": {},
        "wall_s": 1.0,
        "media_work": {},
    } | changes
    return Checkpoint(path=Path("runs/x/step_000003"), step=3, driver=driver)


def test_a_run_goes_on_from_its_checkpoint_or_starts_at_zero():
    assert stored_state(None)["progress"]["step"] == 0
    assert stored_state(checkpoint())["progress"]["step"] == 3


def test_a_checkpoint_of_another_version_says_what_differs():
    old = asdict(Progress(step=3))
    del old["earlier"]["dropped"]
    with pytest.raises(CheckpointError, match=r"lacks \['progress\.earlier\.dropped'\], and has \['cursor'\] beside"):
        stored_state(checkpoint(progress=old, cursor=1))
    with pytest.raises(CheckpointError, match="another version of vrl"):
        stored_state(Checkpoint(path=Path("x"), step=1, driver={}))
