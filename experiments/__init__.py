"""Scripts that reproduce the measured results; each folder contains its result tables."""
