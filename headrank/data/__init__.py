"""Read collections, runs and judgements, retrieve first stages, and make the candidate lists that are reranked."""

from headrank.data.bm25.index import BM25Method, BM25Parameters
from headrank.data.candidates import CandidateLists, candidate_lists, lists_from_run
from headrank.data.collections import Collection
from headrank.data.first_stage import FirstStage, first_stage_run, select_queries
from headrank.data.irds import DataUnavailableError, UnknownCollectionError
from headrank.data.loader import BenchmarkData, load_data
from headrank.data.open_collection import collection_name, load_collection
from headrank.data.qrels import read_qrels, write_qrels
from headrank.data.requests import Request, read_requests
from headrank.data.settings import DataSettings, GeneratedQueries, NegativeShares
from headrank.data.trec import Duplicates, read_run, write_run
from headrank.errors import FormatError

__all__ = [
    "BM25Method",
    "BM25Parameters",
    "BenchmarkData",
    "CandidateLists",
    "Collection",
    "DataSettings",
    "DataUnavailableError",
    "Duplicates",
    "FirstStage",
    "FormatError",
    "GeneratedQueries",
    "NegativeShares",
    "Request",
    "UnknownCollectionError",
    "candidate_lists",
    "collection_name",
    "first_stage_run",
    "lists_from_run",
    "load_collection",
    "load_data",
    "read_qrels",
    "read_requests",
    "read_run",
    "select_queries",
    "write_qrels",
    "write_run",
]
