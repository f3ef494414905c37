"""The family `mage`: masked image tokens (Li et al., CVPR 2023), also called VQ-GAN in the unlearning literature."""
