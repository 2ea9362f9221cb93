"""Read the passages that a user gives as texts, dicts or objects of other libraries. Errors name the wrong item.

Objects of other libraries are recognised by their attributes, so that no library is imported.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

from headrank.ranking import CandidateList, Passage, Query
from headrank.reranker.values import expect_type, is_whole, read_whole, shown
from headrank.settings import meant

Passages: TypeAlias = Iterable[Any] | Mapping[Any, str]
"""Passages in any of the forms that `read_documents` describes."""

TEXT_FIELDS = ("text", "contents", "content", "passage")
ID_FIELDS = ("id", "doc_id", "docid", "_id")

EXPECTED = (
    "a text, a dict with a text, an (id, text) pair, a Passage, or a document of LangChain, LlamaIndex or Haystack"
)

_Fields: TypeAlias = tuple[object, object, object]
"""Id (None: the passage has none), text and metadata, unchecked."""


@dataclass(frozen=True, slots=True)
class Document:
    """A passage: its id, its text, its other fields, and the object that the user gave."""

    id: str | int
    text: str
    metadata: dict[str, Any]
    source: Any


def read_documents(passages: object, name: str = "passages") -> tuple[Document, ...]:
    """Convert passages as users give them to documents. An iterator is consumed once.

    Args:
        passages: a mapping of ids to texts, a data frame of pandas or polars with a column `text`, or an iterable whose
            items are texts, mappings (dicts) with a text under one of `TEXT_FIELDS`, an optional title (put before the
            text) and an optional id under one of `ID_FIELDS`, (id, text) pairs, `Passage`s, or documents of LangChain,
            LlamaIndex or Haystack. Of several such keys the first counts (of ids, the first with a value); all others
            are metadata.
        name: the name of the passages in messages.

    Returns:
        The documents in the given order. Ids are text or integers; passages without an id get their index.

    Raises:
        TypeError: an item or a part of it has another type.
        ValueError: one text or dict instead of several, an item without text, or an id that is repeated. Ids are
            compared as text, because files of runs hold them as text.
    """
    documents: list[Document] = []
    seen: dict[str, int] = {}
    for index, (label, source, fields) in enumerate(_items(passages, name)):
        document = _document(label, source, fields, index)
        first = seen.setdefault(str(document.id), index)
        if first != index:
            raise ValueError(
                f"{name}: the id {document.id!r} appears twice, at positions {first} and {index}; expected different "
                "ids (a passage without an id has its position as id)"
            )
        documents.append(document)
    return tuple(documents)


def read_lists(lists: object) -> Iterator[tuple[CandidateList, tuple[Document, ...]]]:
    """Read (query, passages) pairs one by one, as `read_documents` reads the passages.

    If consecutive pairs share one iterator of passages, it is read once and its passages serve all of them.

    Returns:
        An iterator of (candidate list, documents). The list's passage ids are the documents' positions.

    Raises:
        TypeError: `lists` is not an iterable, or (on iteration) an item is not a pair; the message names the item. On
            iteration also the errors of `read_documents`.
        ValueError: on iteration, if an iterator of passages returns after another pair.
    """
    if isinstance(lists, str | bytes | Mapping) or not isinstance(lists, Iterable):
        raise TypeError(f"lists is {shown(lists)}; expected an iterable of (query, passages) pairs")
    return _lists(lists)


def _lists(lists: Iterable[object]) -> Iterator[tuple[CandidateList, tuple[Document, ...]]]:
    iterator, documents = None, ()
    read: dict[int, tuple[int, Iterator]] = {}  # id of an iterator -> its pair, and the iterator, which keeps the id
    for number, item in enumerate(lists):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError(f"lists[{number}] is {shown(item)}; expected a (query, passages) pair")
        query = expect_type(item[0], str, f"the query of lists[{number}]")
        if iterator is None or item[1] is not iterator:
            iterator = item[1] if isinstance(item[1], Iterator) else None
            if iterator is not None and (first := read.setdefault(id(iterator), (number, iterator))[0]) != number:
                raise ValueError(
                    f"the passages of lists[{number}] are the iterator of lists[{first}], which is already read; "
                    "expected a list, or pairs that share an iterator one after another"
                )
            documents = read_documents(item[1], f"the passages of lists[{number}]")
        yield candidate_list(query, documents, number), documents


def candidate_list(query: str, documents: Iterable[Document], number: int = 0) -> CandidateList:
    """Make a candidate list of documents. The passage ids are the documents' positions, the query's id is `number`."""
    passages = (Passage(str(index), document.text) for index, document in enumerate(documents))
    return CandidateList(Query(str(number), query), tuple(passages))


def _items(passages: object, name: str) -> Iterator[tuple[str, object, _Fields]]:
    """Yield each passage's name in messages, its source and its fields."""
    if isinstance(passages, str):
        raise ValueError(f"{name} is one text; expected an iterable of texts or passages, or a mapping of ids to texts")
    if isinstance(passages, Mapping):
        field = next((field for field in TEXT_FIELDS if field in passages), None)
        if field is not None:
            raise ValueError(
                f"{name} is a mapping with the key {field!r}, one passage; expected a list of such mappings, or a "
                "mapping of ids to texts (as (id, text) pairs if this key is an id)"
            )
        for key, text in passages.items():
            yield f"{name}[{key!r}]", text, (_id(key, f"{name}[{key!r}]"), text, None)
        return
    if callable(getattr(passages, "collect", None)):  # polars' LazyFrame and its like: nothing is computed yet
        raise TypeError(f"{name} is a {type(passages).__name__}; expected a data frame, as its `collect()` returns")
    if hasattr(passages, "columns") and hasattr(passages, "__getitem__"):
        passages = _rows(passages, name)
    if not isinstance(passages, Iterable) or isinstance(passages, bytes | Set):
        raise TypeError(f"{name} is {shown(passages)}; expected an iterable of texts or passages, or a mapping")
    for index, item in enumerate(passages):
        label = f"{name}[{index}]"
        yield label, item, _fields(item, label)


def _document(label: str, source: object, fields: _Fields, index: int) -> Document:
    given, text, metadata = fields
    owner = label if _missing(given) or label.endswith(f"[{given!r}]") else f"{label}, id {given!r},"
    if not isinstance(text, str):
        raise TypeError(f"the text of {owner} is {shown(text)}; expected text")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"the metadata of {owner} is {shown(metadata)}; expected a mapping")
    return Document(index if _missing(given) else _id(given, label), str(text), dict(metadata or {}), source)


def _fields(item: Any, label: str) -> _Fields:
    if isinstance(item, str):
        return None, item, None
    if isinstance(item, Passage):
        return item.id, item.text, None
    if isinstance(item, Mapping):
        return _mapping_fields(item, label)
    if isinstance(item, tuple | list):
        if len(item) != 2:
            raise TypeError(f"{label} is {shown(item)}; expected {EXPECTED}")
        return _id(item[0], label), item[1], None
    node = getattr(item, "node", item)  # LlamaIndex: NodeWithScore or a node
    if callable(getattr(node, "get_content", None)):
        return getattr(node, "node_id", None), node.get_content(), getattr(node, "metadata", None)
    for text, metadata in (("page_content", "metadata"), ("content", "meta")):  # LangChain, Haystack
        if hasattr(item, text):
            return getattr(item, "id", None), getattr(item, text), getattr(item, metadata, None)
    raise TypeError(f"{label} is {shown(item)}; expected {EXPECTED}")


def _mapping_fields(item: Mapping[Any, Any], label: str) -> _Fields:
    text_field = next((field for field in TEXT_FIELDS if field in item), None)
    if text_field is None:
        near = next((hint for key in item if (hint := meant(str(key), TEXT_FIELDS))), "")
        raise ValueError(
            f"{label} has the keys {', '.join(map(repr, item)) or 'of an empty mapping'}; expected its text under one "
            f"of {', '.join(TEXT_FIELDS)}{near}"
        )
    id_field = next((field for field in ID_FIELDS if not _missing(item.get(field))), None)
    text, title = item[text_field], item.get("title")
    if not _missing(title) and isinstance(text, str):
        title = expect_type(title, str, f"the title of {label}")
        text = f"{title} {text}" if title else text
    no_metadata = {text_field, id_field, "title", *(field for field in ID_FIELDS if _missing(item.get(field)))}
    rest = {key: value for key, value in item.items() if key not in no_metadata}
    return None if id_field is None else item[id_field], text, rest


def _rows(frame: Any, name: str) -> list[dict[Any, Any]]:
    """The rows of a data frame."""
    columns = list(frame.columns)
    names = [column for column in columns if isinstance(column, str)]
    if not set(names) & set(TEXT_FIELDS) or len(set(names)) < len(names):
        near = next((hint for column in names if (hint := meant(column, TEXT_FIELDS))), "")
        raise ValueError(
            f"{name} is a {type(frame).__name__} with the columns {', '.join(map(str, columns))[:200] or '(none)'}; "
            f"expected different names, one of them of {', '.join(TEXT_FIELDS)}{near}"
        )
    cells = [frame[column].to_list() for column in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]


def _id(value: object, label: str) -> str | int:
    """An id, numpy's types as Python's."""
    if isinstance(value, str):
        return str(value)
    if is_whole(value):
        return read_whole(value, label)
    raise TypeError(f"the id of {label} is {shown(value)}; expected text or an integer")


def _missing(value: object) -> bool:
    """Whether a field has no value: None, NaN, or pandas' NA."""
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType"
