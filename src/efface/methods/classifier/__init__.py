"""Methods for classifiers, one file each. No torch at import."""
