"""Send runs to a dashboard. The pipeline depends on `Tracker` only; `run.py` chooses the implementation.

Only this package imports Weights & Biases (W&B, extra `wandb`), and only when a run is tracked there.
"""

from headrank.tracking.base import NoTracker, Tracker
from headrank.tracking.wandb_run import WandbSettings, make_tracker

__all__ = ["NoTracker", "Tracker", "WandbSettings", "make_tracker"]
