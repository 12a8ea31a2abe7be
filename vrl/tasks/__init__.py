"""The tasks by name: one per module of this package that defines `TASK`, so a new task is a new file."""

import importlib
import pkgutil

from vrl.tasks.task import Task


def _find() -> dict[str, Task]:
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {module.TASK.name: module.TASK for module in modules if hasattr(module, "TASK")}


TASKS: dict[str, Task] = _find()
