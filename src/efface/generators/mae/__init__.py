"""The family `mae`: masked autoencoders (He et al., CVPR 2022) on transformers' ViTMAEForPreTraining."""

from efface.generators.mae.generator import MaeGenerator, MaeView

__all__ = ["MaeGenerator", "MaeView"]
