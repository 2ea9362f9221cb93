"""Suppresses messages of transformers about intended effects while a model is loaded."""

import logging


class QuietLoading:
    """Loading a cut model leaves the weights of later layers unused on purpose: no report of them."""

    _LOGGERS = (
        "transformers.modeling_utils",
        "transformers.utils.loading_report",
        "transformers.distributed.tensor_parallel",  # lists the layers that it does not shard, even on one device
    )

    def __enter__(self) -> None:
        self._levels = [logging.getLogger(name).level for name in self._LOGGERS]
        for name in self._LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for name, level in zip(self._LOGGERS, self._levels, strict=True):
            logging.getLogger(name).setLevel(level)
