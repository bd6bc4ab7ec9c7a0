"""Entropy-guided masked autoencoding: noise where the image is rich (paper, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Context, Encoder, Strategy
from bench_strategies.params import NoiseParams, check_patch

if TYPE_CHECKING:
    from torch import Tensor, nn


def objective(encoder: Encoder, params: NoiseParams, context: Context) -> nn.Module:
    """The reconstruction objective under noise whose variance is each patch's entropy."""
    from bench_strategies.corruption import EntropyNoise
    from bench_strategies.reconstruction import Reconstruction

    return Reconstruction(encoder, context, params, EntropyNoise(params, context, guided=True))


def guide(images: Tensor, params: NoiseParams) -> Tensor:
    """The entropy of each patch: the variance of the noise that it gets."""
    from bench_strategies.corruption import entropy_of

    return entropy_of(images, params)


REFERENCE = """
@misc{florindo2026entropy,
  author = {Florindo, Joao and Moura, Viviane},
  title = {Entropy-Guided Self-Supervised Learning for Medical Image Classification},
  year = {2026},
  eprint = {2605.21970},
  archiveprefix = {arXiv}
}
"""

STRATEGY = Strategy(
    name="egmae",
    revision=2,  # noise is drawn in another order
    about="entropy-guided MAE: Gaussian noise per patch, variance = the patch's Shannon entropy",
    params=NoiseParams,
    needs=frozenset({"dense"}),
    objective=objective,
    check=check_patch,
    guide=guide,
    guided_by="patch entropy",
    citation="Florindo and Moura, Entropy-Guided Self-Supervised Learning for Medical Image Classification, "
    "arXiv:2605.21970, 2026",
    bibtex=REFERENCE,
)
