"""Find a model's files, and check the files, the device and the kernel before the model is loaded."""
