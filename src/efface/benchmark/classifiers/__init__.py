"""The benchmark of classifier methods: what a task is, how its runs are carried out, and what is read of them."""
