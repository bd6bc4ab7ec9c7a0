"""The works of the networks, as BibTeX. Fields that could not be checked are left out."""

from __future__ import annotations

TIMM = """
@misc{wightman2019timm,
  author = {Wightman, Ross},
  title = {{PyTorch} Image Models},
  year = {2019},
  howpublished = {\\url{https://github.com/huggingface/pytorch-image-models}},
  doi = {10.5281/zenodo.4414861}
}
"""

CMT = """
@inproceedings{guo2022cmt,
  author = {Guo, Jianyuan and Han, Kai and Wu, Han and Tang, Yehui and Chen, Xinghao and Wang, Yunhe and Xu, Chang},
  title = {{CMT}: Convolutional Neural Networks Meet Vision Transformers},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2022},
  eprint = {2107.06263},
  archiveprefix = {arXiv}
}
"""  # noqa: E501

SMT = """
@inproceedings{lin2023smt,
  author = {Lin, Weifeng and Wu, Ziheng and Chen, Jiayu and Huang, Jun and Jin, Lianwen},
  title = {Scale-Aware Modulation Meet Transformer},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year = {2023},
  eprint = {2307.08579},
  archiveprefix = {arXiv}
}
"""

PERVIT = """
@inproceedings{min2022pervit,
  author = {Min, Juhong and Zhao, Yucheng and Luo, Chong and Cho, Minsu},
  title = {Peripheral Vision Transformer},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {35},
  year = {2022},
  eprint = {2206.06801},
  archiveprefix = {arXiv}
}
"""

SGFORMER = """
@inproceedings{ren2023sgformer,
  author = {Ren, Sucheng and Yang, Xingyi and Liu, Songhua and Wang, Xinchao},
  title = {{SG-Former}: Self-guided Transformer with Evolving Token Reallocation},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  pages = {6003--6014},
  year = {2023},
  eprint = {2308.12216},
  archiveprefix = {arXiv}
}
"""

SPA = """
@article{huo2024spa,
  author = {Huo, Xiangzuo and Tian, Shengwei and Yang, Yongxu and Yu, Long and Zhang, Wendong and Li, Aolun},
  title = {{SPA}: Self-Peripheral-Attention for central-peripheral interactions in endoscopic image classification and segmentation},
  journal = {Expert Systems with Applications},
  volume = {245},
  pages = {123053},
  year = {2024},
  doi = {10.1016/j.eswa.2023.123053}
}
"""  # noqa: E501

CPVT = """
@article{lu2026cpvt,
  author = {Lu and others},
  title = {Biologically inspired vision fusion: central-peripheral synergy for medical image classification},
  journal = {Engineering Applications of Artificial Intelligence},
  year = {2026},
  note = {The network used here is a reconstruction from its title and cost, not the authors' own}
}
"""

SWIN = """
@inproceedings{liu2021swin,
  author = {Liu, Ze and Lin, Yutong and Cao, Yue and Hu, Han and Wei, Yixuan and Zhang, Zheng and Lin, Stephen and Guo, Baining},
  title = {{Swin} Transformer: Hierarchical Vision Transformer using Shifted Windows},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year = {2021},
  eprint = {2103.14030},
  archiveprefix = {arXiv}
}
"""  # noqa: E501

CONVNEXT = """
@inproceedings{liu2022convnext,
  author = {Liu, Zhuang and Mao, Hanzi and Wu, Chao-Yuan and Feichtenhofer, Christoph and Darrell, Trevor and Xie, Saining},
  title = {A {ConvNet} for the 2020s},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2022},
  eprint = {2201.03545},
  archiveprefix = {arXiv}
}
"""  # noqa: E501

FOCALNET = """
@inproceedings{yang2022focalnet,
  author = {Yang, Jianwei and Li, Chunyuan and Dai, Xiyang and Yuan, Lu and Gao, Jianfeng},
  title = {Focal Modulation Networks},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022},
  eprint = {2203.11926},
  archiveprefix = {arXiv}
}
"""
