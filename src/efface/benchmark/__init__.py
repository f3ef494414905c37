"""What benchmarks of unlearning stand on: engines that carry out many runs."""
