"""Which images, which views, which metrics, which reference. `settings` is free of torch."""
