"""The benchmarks, by name. Every module of this package that defines `BENCHMARK` is one: a new one is a new file."""

import importlib
import pkgutil

from vrl.evaluation.item import Benchmark


def _find() -> dict[str, Benchmark]:
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {module.BENCHMARK.name: module.BENCHMARK for module in modules}


BENCHMARKS: dict[str, Benchmark] = _find()
