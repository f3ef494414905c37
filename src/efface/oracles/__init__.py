"""Many small models whose history is known: what unlearning is measured against."""
