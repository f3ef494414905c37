"""The family `mae`: masked autoencoders (He et al., CVPR 2022) on transformers' ViTMAEForPreTraining."""
