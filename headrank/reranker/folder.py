"""Write the files of a reranker's folder that are not the model's: heads, model card and guard files.

The model has no classification head. sentence-transformers would add a random one and return meaningless scores, so
`modules.json` names a class that it refuses to load, or that raises an error if it may run code (`trust_remote_code`).
"""

import json
from pathlib import Path
from typing import Any

from headrank.errors import ModelError
from headrank.heads import HeadsFile
from headrank.io.files import atomic_write
from headrank.reranker.heads import HEADS_FILE

_CARD = """---
library_name: headrank
---
# An attention reranker

The first layers of a language model, and the attention heads ([heads.json](heads.json)) whose attention from the query
to each passage is the passage's score.

```python
from headrank import Reranker

reranker = Reranker.from_pretrained("FOLDER")
reranker.rank("why is the sky blue", ["The sky scatters blue light most.", "Cats sleep a lot."])
```

`AutoModel.from_pretrained` of transformers opens the layers. The model has no classification or language-model head:
`CrossEncoder` of sentence-transformers 6 refuses it. `AutoModelForSequenceClassification`, `AutoModelForCausalLM` and
earlier versions of sentence-transformers add a head of random weights (transformers reports it as MISSING), whose
scores mean nothing.
"""


class NotACrossEncoder:
    """The class that `modules.json` names, so that sentence-transformers cannot load the folder."""

    @classmethod
    def load(cls, model: str, *args: Any, **options: Any) -> None:
        """Raise `ModelError`. sentence-transformers calls it with the folder."""
        raise ModelError(
            f"expected a cross-encoder, found {model}, an attention reranker without classification head; open it with "
            "headrank's Reranker.from_pretrained"
        )


def complete_folder(folder: Path, heads: HeadsFile) -> None:
    """Write the heads, the model card and guard files into the folder of a saved model.

    `CrossEncoder` of sentence-transformers would add a classification head of random weights. With the guard files it
    raises the error of `NotACrossEncoder` instead.

    Args:
        folder: holds the model's weights, configuration and tokenizer.
        heads: the heads to save.
    """
    kind = f"{NotACrossEncoder.__module__}.{NotACrossEncoder.__qualname__}"
    texts = {
        "README.md": _CARD,
        "modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}], indent=1),
        # Of another type, CrossEncoder would ignore the modules.
        "config_sentence_transformers.json": json.dumps({"model_type": "CrossEncoder"}),
    }
    heads.save(folder / HEADS_FILE)
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text)
