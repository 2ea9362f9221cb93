"""The doctor reports what an experiment needs and what is missing: `python -m headrank.doctor +experiment=qwen3_4b`.

It downloads, loads, builds and writes nothing. `examine.examine` returns the findings, `__main__.py` is the command
line. This file imports nothing, because the doctor checks the installed packages first.
"""
