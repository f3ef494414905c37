"""The family `palette`: diffusion models that restore pixels (Saharia et al., SIGGRAPH 2022)."""
