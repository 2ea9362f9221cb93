"""Time, memory and exactness with a random model of Qwen3-0.6B's size. See README.md."""
