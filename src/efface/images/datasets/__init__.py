"""Labelled data sets with a forget set, as benchmarks are run on. Nothing here knows a model.

| data | what lies in `path` |
|---|---|
| `digits` | nothing: 1,797 grey digits of 8x8 px that come with scikit-learn |
| `faces-age` | `faces-age64-train.npz` and `-test.npz`, or face images and a table of their ages |
| `casia-surf` | CASIA-SURF with ages: `Age_Gender.txt` and `WBackground/` |
| `cifar10` | the official batches, binary or pickled; or `cifar10-train.npz` and `-test.npz`; or folders by class |
| `folder` | one folder for each class, perhaps inside `train/`, `val/` and `test/` |
| `packed` | with `DIR/NAME`: `NAME-train.npz`, and `NAME-test.npz` or `NAME-val.npz`, in `DIR` |
| `tiles` | nothing: squares cut from the bundled photos, each photo a class |

Nothing of these data comes with efface; other packages add data sets (`readers`). Importing this package does not
import torch.
"""

from efface.images.datasets.opening import Dataset, open_dataset
from efface.images.datasets.settings import DatasetSettings, Purpose

__all__ = ["Dataset", "DatasetSettings", "Purpose", "open_dataset"]
