"""Speed and memory of HeadRank compared with other rerankers. See README.md."""
