"""The family `latent-inpainting`: latent diffusion models of diffusers, for inpainting or shown a whole picture."""
