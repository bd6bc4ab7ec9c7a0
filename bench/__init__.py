"""Compare pretraining strategies and models on medical image classification, under one protocol.

The names in `__init__.pyi` are public: for users of the Python API (`Study`, `plan`, `run`, `load_results`,
`tables`) and for authors of plugins (everything else). `bench.testing` is public too; nothing else is.
A name is loaded when it is first used, so that `import bench` stays light.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
