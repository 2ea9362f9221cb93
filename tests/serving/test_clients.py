"""The clients that others use, from PyPI, against a running server. Each in its own process: some warn at import."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from headrank.serving.scores import bounded
from tests.serving.conftest import QUERY, TEXTS

COHERE = """
client = getattr(cohere, name)("a key", base_url=url)
answer = client.rerank(model="any", query=query, documents=texts, top_n=3)
found = [(one.index, one.relevance_score) for one in answer.results]
"""
LANGCHAIN = """
from langchain_core.documents import Document
documents = [Document(page_content=text, metadata={"index": n}) for n, text in enumerate(texts)]
ranked = langchain_cohere.CohereRerank(model="any", base_url=url, cohere_api_key="a key", top_n=3).compress_documents(
    documents, query
)
found = [(one.metadata["index"], one.metadata["relevance_score"]) for one in ranked]
"""
LITELLM = """
answer = litellm.rerank(
    model=f"{name}/any", query=query, documents=texts, top_n=3, api_base=url, api_key="a key",
    return_documents=name != "infinity",  # Infinity's own answers have documents as texts
)
found = [(one["index"], one["relevance_score"]) for one in answer.results]
assert name == "infinity" or all(one["document"]["text"] == texts[one["index"]] for one in answer.results)
"""
CLIENTS = [("cohere", COHERE, name) for name in ("Client", "ClientV2")]
CLIENTS += [("langchain_cohere", LANGCHAIN, "")]
CLIENTS += [("litellm", LITELLM, name) for name in ("cohere", "jina_ai", "infinity", "hosted_vllm", "huggingface")]


@pytest.mark.parametrize("package", sorted({package for package, *_ in CLIENTS}))
def test_client(served, reranker, package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed (`make install` installs it)")
    calls = [(code, name) for name_of, code, name in CLIENTS if name_of == package]
    program = "import json, sys\nurl, query, texts, calls = json.loads(sys.argv[1])\n"
    program += f"import {package}\nfor code, name in calls:\n    exec(code)\n    print(json.dumps([name, found]))\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, json.dumps([served.url, QUERY, TEXTS, calls])],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    assert done.returncode == 0, done.stderr
    expected = [(one.index, bounded(one.score)) for one in reranker.rank(QUERY, TEXTS)]
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert list(found) == [name for _, name in calls]
    for name, results in found.items():
        count = len(TEXTS) if name == "huggingface" and len(results) > 3 else 3  # TEI has no top_n
        assert [index for index, _ in results] == [index for index, _ in expected[:count]]
        assert [score for _, score in results] == pytest.approx([score for _, score in expected[:count]], abs=1e-6)
