"""Let one thread at a time use a model, whichever reranker it uses.

A forward pass uses the memory of its device, and some models and the stored passage states change while they are read.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn


@dataclass(frozen=True, slots=True)
class Turns:
    """A lock that a thread holds while it uses the model, and a worker thread that runs asynchronous calls in order."""

    lock: AbstractContextManager[Any] = field(default_factory=threading.RLock)
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="rerank"))


_TURNS: "WeakKeyDictionary[nn.Module, Turns]" = WeakKeyDictionary()  # kept apart: locks cannot be copied or pickled
_GUARD = threading.Lock()


def turns(model: nn.Module) -> Turns:
    """Return the lock and the worker thread of a model, the same objects for every caller."""
    with _GUARD:
        return _TURNS.setdefault(model, Turns())
