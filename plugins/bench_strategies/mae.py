"""Plain masked autoencoding, the control: patches replaced by a learnt token, dense as in SimMIM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Context, Encoder, Strategy
from bench_strategies.params import MaskParams, check_patch

if TYPE_CHECKING:
    from torch import nn


def objective(encoder: Encoder, params: MaskParams, context: Context) -> nn.Module:
    """The reconstruction objective under random masking."""
    from bench_strategies.corruption import PatchMask
    from bench_strategies.reconstruction import Reconstruction

    return Reconstruction(encoder, context, params, PatchMask(params))


REFERENCES = """
@inproceedings{he2022mae,
  author = {He, Kaiming and Chen, Xinlei and Xie, Saining and Li, Yanghao and Doll{\\'a}r, Piotr and Girshick, Ross},
  title = {Masked Autoencoders Are Scalable Vision Learners},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2022},
  eprint = {2111.06377},
  archiveprefix = {arXiv}
}

@inproceedings{xie2022simmim,
  author = {Xie, Zhenda and Zhang, Zheng and Cao, Yue and Lin, Yutong and Bao, Jianmin and Yao, Zhuliang and Dai, Qi and Hu, Han},
  title = {{SimMIM}: A Simple Framework for Masked Image Modeling},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2022},
  eprint = {2111.09886},
  archiveprefix = {arXiv}
}
"""  # noqa: E501

STRATEGY = Strategy(
    name="mae",
    about="plain MAE: 60 % of 32x32 patches replaced by a learnt token, loss on those",
    params=MaskParams,
    needs=frozenset({"dense"}),
    objective=objective,
    check=check_patch,
    citation="He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022; "
    "Xie et al., SimMIM: A Simple Framework for Masked Image Modeling, CVPR 2022",
    bibtex=REFERENCES,
)
