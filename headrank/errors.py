"""Define the errors that this package raises for wrong configurations, files, models and artifacts.

Each message names the key or the file (with its line), what was found, what is expected, and how to fix it. All derive
from `HeadRankError`, and each also from the matching built-in error.
"""


class HeadRankError(Exception):
    """Base class of the errors below."""


class ConfigError(HeadRankError, ValueError):
    """A setting has a value of the wrong type or out of range, or contradicts another setting."""


class FormatError(HeadRankError, ValueError):
    """The content of an input file is not in the expected format."""


class MissingFileError(FormatError, FileNotFoundError):
    """An input file or folder does not exist."""


class ModelError(HeadRankError, ValueError):
    """A model, its tokenizer or its heads cannot be used: weights are missing, shapes differ, a part is unsupported."""


class MissingModelError(ModelError, FileNotFoundError):
    """A model or one of its files is neither in a local folder, nor in the hub's cache, nor on the hub."""


class ArtifactError(HeadRankError, RuntimeError):
    """A file that this package wrote was edited or is damaged."""


class InUseError(HeadRankError, RuntimeError):
    """Another process works in the same folder."""


class DiskError(HeadRankError, OSError):
    """A file cannot be written: no space, the quota is used up, or the file system is read-only."""
