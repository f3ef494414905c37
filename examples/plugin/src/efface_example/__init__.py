"""A method, a metric, a probe and a corruption for efface; each file says where it comes from."""
