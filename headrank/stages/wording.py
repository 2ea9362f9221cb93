"""A system's prompt on one benchmark: instructions can differ between benchmarks."""

from dataclasses import replace

from headrank.experiment import SystemSettings
from headrank.heads import HeadsFile


def worded(heads: HeadsFile, system: SystemSettings, benchmark: str) -> HeadsFile:
    """The heads with the instruction that the system has for the benchmark of that name, or as they are."""
    instruction = system.instructions.get(benchmark)
    return heads if instruction is None else replace(heads, prompt=replace(heads.prompt, instruction=instruction))
