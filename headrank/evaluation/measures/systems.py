"""The names of systems that mean something to the program: those in runs, metrics and reports."""

MAIN_SYSTEM = "headrank"
FIRST_STAGE_SYSTEM = "first stage"
UNALIGNED_SYSTEM = "zero-shot"
"""The main system's heads before alignment, where it is aligned: the same prompt and scorer on the start model."""
