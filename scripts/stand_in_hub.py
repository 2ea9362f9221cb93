"""Serve tiny random models on the loopback address like the Hugging Face hub, under the ids in `conf/`.

    python scripts/stand_in_hub.py /tmp/hub --port 8901 &
    export HF_ENDPOINT=http://127.0.0.1:8901 HF_HOME=/tmp/hub-cache

Use a new HF_HOME, because a cache with the real models would be used instead. Random weights show that an experiment
runs; its results are meaningless.
"""

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tiny tokenizer of the tests


def main() -> None:
    """Make the models, print the endpoint, and serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the models")
    parser.add_argument("--port", type=int, default=0, help="0 (default): any free one")
    options = parser.parse_args()
    from stand_ins.hub import StandInHub
    from stand_ins.models import make_models

    models = make_models(options.folder)
    with StandInHub(models, options.port) as hub:
        for model_id, model in models.items():
            print(f"{model_id} at {model.commit}: {model.folder}")
        print(f"HF_ENDPOINT={hub.endpoint}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            hub.serve_forever()


if __name__ == "__main__":
    main()
