"""From a model id or folder to checked weights."""
