"""Read judgements in TREC's and BEIR's form (qrels), and write them in TREC's.

TREC's form has four columns without a header, `query 0 passage grade`. BEIR's has three columns after the header
`query-id corpus-id score`. Columns are separated by spaces or tabs.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from headrank.data.parsing import INTEGER, checked_id, format_error, numbered_lines, shown, split_columns
from headrank.data.trec import check_writable
from headrank.io.files import atomic_write
from headrank.ranking import Qrels

_COLUMNS = ("query", "0", "passage", "grade")
_BEIR_COLUMNS = ("query-id", "corpus-id", "score")
_GRADE = re.compile(r"([+-]?\d{1,18})(\.0*)?", re.ASCII)  # 18 digits fit 64 bits


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements in TREC's or BEIR's form.

    Returns:
        Query id -> passage id -> grade (a whole number, possibly negative; `1.0` is 1), in file order.

    Raises:
        FormatError: if a line has another number of columns, an id contains whitespace or control characters, a grade
            is not a whole number, a passage is judged twice for one query, or the file cannot be read.
        MissingFileError: if the file does not exist.
    """
    path = Path(path)
    qrels: dict[str, dict[str, int]] = {}
    columns = _COLUMNS
    for number, line in numbered_lines(path):
        if number == 1 and tuple(line.lower().split()) == _BEIR_COLUMNS:
            columns = _BEIR_COLUMNS
            continue
        expected = f"{' '.join(columns)}; three columns need the header {' '.join(_BEIR_COLUMNS)}"
        query, *_, passage, text = split_columns(path, number, line, columns, expected)
        checked_id(path, number, "query", query)
        checked_id(path, number, "passage", passage)
        grade = _GRADE.fullmatch(text)
        if not grade:
            raise format_error(path, number, f"grade {shown(text)}", "a whole number")
        judged = qrels.setdefault(query, {})
        if passage in judged:
            raise format_error(
                path,
                number,
                f"a second judgement of passage {shown(passage)} for query {shown(query)}",
                "one judgement for each query and passage",
            )
        judged[passage] = int(grade[1])
    return qrels


def write_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write a TREC qrels file atomically, in the order given. A query without judgements has no line.

    Raises:
        ValueError: before anything is written, if an id is empty or contains whitespace or control characters, or a
            grade is not a whole number of at most 18 digits.
    """
    lines: list[str] = []
    judged: Mapping[str, int]
    for query_id, judged in qrels.items():
        check_writable(query_id, tuple(judged))
        for passage_id, grade in judged.items():
            if isinstance(grade, bool) or not isinstance(grade, int) or not INTEGER.fullmatch(str(grade)):
                raise ValueError(
                    f"query {shown(query_id)}, passage {shown(passage_id)}: grade {shown(grade)}; expected a whole "
                    "number"
                )
            lines.append(f"{query_id} 0 {passage_id} {grade}\n")
    with atomic_write(path) as handle:
        handle.writelines(lines)
