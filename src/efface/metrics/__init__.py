"""How good a restored image is, and how far two sets of images are apart.

| module | what it holds | imports torch |
|---|---|---|
| `catalogue` | the names, units and directions of all metrics | no |
| `intervals` | bootstrap intervals over source photos | no |
| `frechet`, `kernel` | distances between two sets of feature vectors, on NumPy arrays | no |
| `image_error` | errors and similarities of one image against another, on tensors | yes |
| `streaming` | the same, fed batch by batch and merged across processes | yes |
| `extractors` | what turns images into feature vectors | yes |

This package imports nothing here, so that `efface --help` stays fast.
"""
