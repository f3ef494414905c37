"""How good a restored image is, and how far two sets of images are apart.

| module | what it holds |
|---|---|
| `base` | what a metric is: its traits, and how it is computed |
| `catalogue` | all metrics by name |
| `intervals` | intervals by resampling source photos, and Student's |
| `frechet`, `kernel`, `inception_score` | figures of whole sets, on NumPy arrays |
| `image_error` | errors and similarities of one image against another, on tensors |
| `extractors` | what turns images into feature vectors |

Metrics of classifiers lie in `forgetting`. Nothing here imports torch before something is computed.
"""
