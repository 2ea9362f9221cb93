"""Tracking: what a run tells a dashboard. The pipeline knows `Tracker` alone; `run.py` chooses one.

Nothing of Weights & Biases (extra `wandb`) is imported before a run is tracked there, and nowhere outside this package.
"""

from headrank.tracking.base import NoTracker, Tracker
from headrank.tracking.wandb_run import WandbSettings, make_tracker

__all__ = ["NoTracker", "Tracker", "WandbSettings", "make_tracker"]
