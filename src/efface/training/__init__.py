"""The one training loop: data by step, precision, checkpoints, budget. `settings` is free of torch."""
