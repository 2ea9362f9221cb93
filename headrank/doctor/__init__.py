"""What an experiment needs, and what of it is there: `python -m headrank.doctor +experiment=qwen3_4b`.

Nothing is downloaded, loaded, built or written. `examine` gives the findings, `__main__.py` is the command line.
"""

from headrank.doctor.examine import examine
from headrank.doctor.findings import Finding, State

__all__ = ["Finding", "State", "examine"]
