"""What people do with requests: take them in, locate images, decide, run, answer, hand out evidence, verify."""
