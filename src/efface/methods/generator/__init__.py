"""Methods for image-to-image generators."""
