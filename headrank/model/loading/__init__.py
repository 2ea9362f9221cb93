"""Finds a model's files, and checks the files, the device and the kernel before the model is loaded."""
