"""The nine networks that medical image classification papers compare with, under their usual names.

Three are timm's; five are written here from the papers' formulas, with the names and shapes of the authors'
parameters; one (cpvt) is a reconstruction. Importing this module loads neither torch nor timm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from bench import Context, LocalWeights, Model, Weights
from bench_models import references, sizes, timm_family, timm_networks

if TYPE_CHECKING:
    from torch import Tensor, nn

TRAITS = frozenset({"dense", "baseline"})


@dataclass(frozen=True)
class BaselineParams(LocalWeights):
    """Parameters of every baseline.

    Attributes:
        drop_path: rate of stochastic depth in training, the probability that the last block is skipped;
            earlier blocks have less, rising linearly. Nothing is the rate that the authors trained this
            network with.
    """

    drop_path: Annotated[float, Interval(ge=0, lt=1)] | None = None


# --- written here ------------------------------------------------------------------------------------


def _build_cmt(params: BaselineParams, context: Context) -> nn.Module:
    from bench_models.cmt import CMT

    return CMT(len(context.classes), context.size, _rate(params, 0.1))


def _build_smt(params: BaselineParams, context: Context) -> nn.Module:
    from bench_models.smt import SMT

    return SMT(len(context.classes), context.size, _rate(params, 0.2))


def _build_pervit(params: BaselineParams, context: Context) -> nn.Module:
    from bench_models.pervit import PerViT

    return PerViT(len(context.classes), context.size, _rate(params, 0.1))


def _build_sgformer(params: BaselineParams, context: Context) -> nn.Module:
    from bench_models.sgformer import SGFormer

    return SGFormer(len(context.classes), context.size, _rate(params, 0.1))


def _build_spa(params: BaselineParams, context: Context) -> nn.Module:
    from bench_models.spa import SPANet

    return SPANet(len(context.classes), context.size, _rate(params, 0.1))


def _build_cpvt(params: BaselineParams, context: Context) -> nn.Module:
    from bench_models.cpvt import CPVT

    return CPVT(len(context.classes), context.size, _rate(params, 0.1))


def _rate(params: BaselineParams, authors_rate: float) -> float:
    return authors_rate if params.drop_path is None else params.drop_path


def _fit_cmt(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    from bench_models.cmt import fit_tables

    return fit_tables(net, state)


def _fit_sgformer(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    from bench_models.sgformer import fit_positions

    return fit_positions(net, state)


def _features(net: Any, images: Tensor) -> Tensor:
    """Images (B, 3, S, S) to the map (B, C, h, w) that is pooled for the classifier."""
    feature_map: Tensor = net.forward_features(images)
    return feature_map


def _own(allowed: sizes.Sizes, **about: Any) -> Model[BaselineParams]:
    """A network written here, for images of the allowed sizes."""
    common: dict[str, Any] = {"classifier": lambda net: ("head.",), "traits": TRAITS}
    return Model(
        name=allowed.model,
        params=BaselineParams,
        features=_features,
        check_size=lambda params, size: allowed.check(size),
        **(common | about),
    )


CMT = _own(
    sizes.CMT,
    published_as="CMT",
    about="CMT-S: convolution and attention in every block",
    citation="J. Guo et al., CVPR 2022, arXiv:2107.06263",
    bibtex=references.CMT,
    licence=(
        "checkpoint: https://github.com/ggjy/CMT.pytorch/releases/download/release-v1/cmt_small.pth "
        "(MIT by its README alone)"
    ),
    build=_build_cmt,
    translate=_fit_cmt,
)
SMT = _own(
    sizes.SMT,
    published_as="SMT",
    about="SMT-S: scale-aware modulation early, attention late",
    citation="W. Lin et al., ICCV 2023, arXiv:2307.08579",
    bibtex=references.SMT,
    licence="checkpoint: https://github.com/AFeng-x/SMT/releases/download/v1.0.0/smt_small.pth (MIT)",
    build=_build_smt,
)
PERVIT = _own(
    sizes.PERVIT,
    published_as="PerViT",
    about="PerViT-S: attention weighed by peripheral regions, which a network learns from distances",
    citation="J. Min et al., NeurIPS 2022, arXiv:2206.06801",
    bibtex=references.PERVIT,
    licence="checkpoint: linked from https://github.com/juhongm999/pervit (Apache-2.0)",
    build=_build_pervit,
)
SGFORMER = _own(
    sizes.SGFORMER,
    published_as="SG-Former",
    about="SG-Former-S: attention guided by token significance; sizes are multiples of 112",
    citation="S. Ren et al., ICCV 2023, arXiv:2308.12216",
    bibtex=references.SGFORMER,
    licence="checkpoint: linked from https://github.com/OliverRensu/SG-Former (no licence stated)",
    build=_build_sgformer,
    translate=_fit_sgformer,
)
SPA = _own(
    sizes.SPA,
    published_as="SPA",
    about="SPA-Net small: self-peripheral attention by dilated convolutions",
    citation="X. Huo et al., Expert Systems with Applications 245 (2024) 123053",
    bibtex=references.SPA,
    licence="no checkpoint is published; the authors' code, https://github.com/huoxiangzuo/SPA, is MIT",
    build=_build_spa,
)
CPVT = _own(
    sizes.CPVT,
    published_as="CPVT",
    about=(
        "RECONSTRUCTION of a central-peripheral vision transformer: its code and text are not public; "
        "PerViT with a convolutional fovea, sized to the published cost (15.64 G, 22.76 M)"
    ),
    citation="after the title and cost row of Lu et al., Eng. Applications of Artificial Intelligence, 2026",
    bibtex=references.CPVT,
    licence="no code or checkpoint of the authors is known",
    build=_build_cpvt,
    classifier=lambda net: ("periphery.head.",),
    caution="a reconstruction from its description, not the authors' network",
    replaceable=True,
    revision=0,  # a plugin with the authors' network begins at 1: its results have other keys than these
    traits=TRAITS | {"reconstruction"},
)


# --- from timm ---------------------------------------------------------------------------------------


def _build_timm(name: str, authors_rate: float, params: BaselineParams, context: Context) -> nn.Module:
    return timm_family.build(name, timm_family.TimmParams(drop_path=_rate(params, authors_rate)), context)


def _pretrained_timm(name: str, net: nn.Module, params: BaselineParams, source: str) -> Weights:
    return timm_family.pretrained(name, net, source)


def _translate_timm(module: str, net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    from bench_models.authors_names import translate

    return translate(module, net, state)


def _timm(timm_name: str, module: str, drop_path: float, **about: Any) -> Model[BaselineParams]:
    """A network of timm with the ImageNet-1k weights of its authors. `module` of `timm.models` defines it."""
    return Model(
        params=BaselineParams,
        build=partial(_build_timm, timm_name, drop_path),
        check_size=lambda params, size: timm_networks.check_size(timm_name, size),
        features=timm_networks.features,
        classifier=timm_networks.classifier,
        normalization=lambda params: timm_networks.described(timm_name).normalization,
        pretrained_source=lambda params: timm_family.pretrained_source(timm_name),
        pretrained=partial(_pretrained_timm, timm_name),
        translate=partial(_translate_timm, module),
        traits=TRAITS,
        **about,
    )


SWIN = _timm(
    "swin_base_patch4_window7_224.ms_in1k",
    "swin_transformer",
    0.5,
    name="swin",
    published_as="SWIN",
    about="Swin-B with 4x4 patches and 7x7 windows",
    citation="Z. Liu et al., ICCV 2021, arXiv:2103.14030",
    bibtex=references.SWIN + references.TIMM,
    licence=(
        "timm: Apache-2.0; authors' checkpoint (MIT): https://github.com/SwinTransformer/storage/releases/"
        "download/v1.0.0/swin_base_patch4_window7_224.pth"
    ),
)
CONVNEXT = _timm(
    "convnext_small.fb_in1k",
    "convnext",
    0.4,
    name="convnext_small",
    published_as="ConvNeXt",
    about="ConvNeXt-S, with the authors' ImageNet-1k weights",
    citation="Z. Liu et al., CVPR 2022, arXiv:2201.03545",
    bibtex=references.CONVNEXT + references.TIMM,
    licence=(
        "timm: Apache-2.0; authors' checkpoint (MIT): "
        "https://dl.fbaipublicfiles.com/convnext/convnext_small_1k_224_ema.pth"
    ),
)
FOCALNET = _timm(
    "focalnet_small_srf.ms_in1k",
    "focalnet",
    0.3,
    name="focalnet",
    published_as="FocalNet",
    about="FocalNet-S with small receptive field",
    citation="J. Yang et al., NeurIPS 2022, arXiv:2203.11926",
    bibtex=references.FOCALNET + references.TIMM,
    licence=(
        "timm: Apache-2.0; authors' checkpoint (MIT): "
        "https://github.com/microsoft/FocalNet/releases/download/v1.0.0/focalnet_small_srf.pth"
    ),
)

BASELINES = (SWIN, CONVNEXT, CMT, SMT, FOCALNET, PERVIT, SGFORMER, SPA, CPVT)
