"""A model of Qwen3-0.6B's size, weights random, through the real job: time, memory, exactness. See README.md."""
