"""The errors that this package raises for what it is given: configuration, files, models, artifacts.

Each message names the key or the file (with its line), what was found, what is expected, and how to fix it. Catch
`HeadRankError` to catch them all; each is also the built-in error that fits it.
"""


class HeadRankError(Exception):
    """Base class of the errors below."""


class ConfigError(HeadRankError, ValueError):
    """A setting has a value of the wrong type, an impossible value, or contradicts another setting."""


class FormatError(HeadRankError, ValueError):
    """The content of an input file is not in the expected format."""


class MissingFileError(FormatError, FileNotFoundError):
    """An input file or folder does not exist."""


class ModelError(HeadRankError, ValueError):
    """A model, its tokenizer or its heads cannot be used: weights are missing, shapes differ, a part is unsupported."""


class MissingModelError(ModelError, FileNotFoundError):
    """A model or a file of it cannot be had: it is neither in a local folder nor in the hub's cache nor on the hub."""


class ArtifactError(HeadRankError, RuntimeError):
    """A file that this package wrote earlier is damaged or was changed since."""


class InUseError(HeadRankError, RuntimeError):
    """Another process works in the same folder."""


class DiskError(HeadRankError, OSError):
    """A file cannot be written: no space, the quota is used up, or the file system is read-only."""
