"""Exports for ONNX Runtime and what else reads ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.kept.load import Network
from bench.kept.torch_file import exported

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def require_extra() -> None:
    """Raise ConfigError where the packages that write and run ONNX are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'--to onnx needs onnx, onnxscript and onnxruntime ({error}): pip install "medbench[export]"'
        ) from None


def write(network: Network, path: Path, about: Mapping[str, str], card: str) -> None:
    """Write an .onnx file with its weights in it, and the facts as its metadata."""
    import onnx
    import torch

    require_extra()
    example = torch.zeros(2, 3, network.context.size, network.context.size)
    program = torch.onnx.export(
        exported(network),
        (example,),
        input_names=["images"],
        output_names=["logits"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # with dynamo=True
    program.save(str(path), external_data=False)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(about))
    onnx.save(model, str(path))


def run(path: Path, images: torch.Tensor) -> NDArray[np.float32]:
    """Logits of normalised images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(["logits"], {"images": images.numpy()})[0]
    return logits
