"""The jobs on classifiers. Entered through `jobs.training`, `jobs.unlearning`, `jobs.evaluation` and `jobs.planning`."""
