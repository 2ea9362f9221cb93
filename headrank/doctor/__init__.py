"""What an experiment needs, and what of it is there: `python -m headrank.doctor +experiment=qwen3_4b`.

Nothing is downloaded, loaded, built or written. `examine.examine` gives the findings, `__main__.py` is the command
line. Nothing is imported here: packages are what it looks for first.
"""
