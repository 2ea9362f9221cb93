"""Benchmark profiles: a model's shape, numbers of passages and numbers of rounds."""

from dataclasses import dataclass, field, replace
from typing import Any

from experiments.full_size.make_model import QWEN3_0_6B, QWEN3_4B
from headrank.model import Head

MINILM: dict[str, Any] = {  # config.json of cross-encoder/ms-marco-MiniLM-L6-v2 with another vocabulary
    "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12,
    "vocab_size": 50000, "max_position_embeddings": 512,  # the embedded model's tokenizer replaces its own
}  # fmt: skip

PASSAGE_TOKENS = 100


@dataclass(frozen=True)
class Profile:
    """The measurements of `make bench`."""

    name: str
    shape_name: str
    shape: dict[str, Any]
    dtype: str
    device: str
    depth: int  # number of layers that contain the heads
    lists: int  # lists per batch
    passages: dict[int, int]  # passages per list -> number of rounds
    full_depth: tuple[int, ...]  # numbers of passages at which this system is measured; likewise below
    eager: tuple[int, ...]
    eager_again: tuple[int, ...]  # the eager recipe that computes the passages again for the null query
    pointwise: tuple[int, ...]
    generative: tuple[int, ...]
    switches: int  # passages per list for the ablation of optimisations
    switch_rounds: int
    apart: tuple[int, ...]  # passages per list for the profile by operators
    growth_depth: int  # number of layers
    growth_rounds: int
    growth: tuple[int, ...] = (1024, 2048, 4096, 8192, 16384)  # tokens
    batching: tuple[int, int] = (16, 2)  # lists, rounds
    real: dict[int, int] = field(default_factory=lambda: {20: 3, 40: 1, 100: 1})  # candidates -> lists

    def heads(self, depth: int | None = None) -> tuple[Head, ...]:
        """Return eight heads within `depth` layers, two of them in the deepest. Runs select eight heads, too.

        depth: the number of layers; None: the depth of the profile.
        """
        depth, count = depth or self.depth, self.shape["num_attention_heads"]
        layers = [depth - 1, depth - 1, depth - 2, *(max(0, depth - 3 - 2 * i) for i in range(5))]
        return tuple(Head(layer, (3 + 5 * i) % count) for i, layer in enumerate(layers))


CPU = Profile(
    name="cpu", shape_name="Qwen3-0.6B", shape=QWEN3_0_6B, dtype="float32", device="cpu", depth=17, lists=1,
    passages={10: 1, 20: 1, 40: 1, 100: 1}, full_depth=(10, 20, 40), eager=(10, 20, 40), eager_again=(10,),
    pointwise=(20,), generative=(20,), switches=20, switch_rounds=2, apart=(10, 40), growth_depth=3, growth_rounds=1,
)  # fmt: skip
PROFILES = {
    "cpu": CPU,
    "large": Profile(
        name="large", shape_name="Qwen3-4B", shape=QWEN3_4B, dtype="bfloat16", device="cuda", depth=22, lists=8,
        passages={10: 3, 20: 3, 40: 3, 100: 3}, full_depth=(10, 20, 40, 100), eager=(10, 20, 40, 100),
        eager_again=(10, 20), pointwise=(10, 20, 40), generative=(20,), switches=40, switch_rounds=5, apart=(10, 40),
        growth_depth=22, growth_rounds=3,
    ),
}  # fmt: skip


def quick(profile: Profile) -> Profile:
    """Return a quick version of a profile: short lists, fewer rounds and systems."""
    return replace(
        profile,
        passages={10: 1},
        pointwise=(),
        generative=(),
        eager_again=(),
        switches=5,
        switch_rounds=1,
        apart=(5,),
        growth=(1024, 2048),
        batching=(8, 1),
        real={20: 1},
    )
