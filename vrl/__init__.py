"""vrl: rollouts on vLLM, rewards, a DeepSpeed learner and exact video evidence, orchestrated by Ray.

Kept import-light on purpose: `import torch` loads this package through the torch.backends entry point.
"""

__version__ = "0.1.0"
