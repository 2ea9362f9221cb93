"""`heads.json`: the selected heads, their origin, and the prompt and scorer settings to use them with."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrank.errors import FormatError
from headrank.heads.fusion import FusionFit
from headrank.heads.probability import ProbabilityCalibration
from headrank.heads.selection import Selection
from headrank.io.files import atomic_write
from headrank.io.strict_json import read_json
from headrank.model.head_scores import Head, check_heads
from headrank.model.prompt import PromptSettings
from headrank.model.scorer import ScorerSettings

MEASURES = ("discriminability", "entropy", "score")  # per-head measures of a selection


@dataclass(frozen=True, slots=True)
class HeadsFile:
    """The content of `heads.json`: heads, their origin, and the settings to use them with."""

    model: dict[str, Any]  # id, revision, layers, heads_per_layer, weights (see `describe_model`)
    heads: tuple[Head, ...]
    weights: tuple[float, ...]
    criterion: dict[str, Any]  # name, parameters
    prompt: PromptSettings
    scorer: ScorerSettings
    query_ids: tuple[str, ...] = ()  # the labelled queries used for the selection
    seeds: tuple[int, ...] = ()  # seeds of the shuffled context orders
    project_version: str = ""
    measures: tuple[dict[str, float | None], ...] = ()  # discriminability, entropy and score of each selected head
    table: dict[str, list[list[float | None]]] | None = field(default=None, repr=False)  # measures of every head
    probability: ProbabilityCalibration | None = None  # from z without fusion to P(relevant), if it was fitted
    fusion: FusionFit | None = None  # the evidence for `scorer.fusion`, if labelled lists fitted it

    @property
    def used_probability(self) -> ProbabilityCalibration | None:
        """The probability calibration of the scores that `scorer` gives; None if there is none for this fusion."""
        if not self.scorer.fusion_weight:
            return self.probability
        fitted = self.fusion is not None and self.fusion.weight == self.scorer.fusion_weight
        return self.fusion.probability if fitted and self.fusion is not None else None

    def with_settings(
        self, *, scorer: ScorerSettings | None = None, prompt: PromptSettings | None = None
    ) -> "HeadsFile":
        """Return the same heads with another scorer or prompt.

        Args:
            scorer: the new scorer; None: the present one.
            prompt: the new prompt; None: the present one.

        Returns:
            A new heads file. If the change affects z, its probability calibration and its fusion fit are None, because
            they were fitted on the old z. Batch sizes and the fusion weight do not affect z.
        """
        scorer, prompt = scorer or self.scorer, prompt or self.prompt
        before = replace(self.scorer, fusion=scorer.fusion)
        kept = self if (scorer.identity, prompt) == (before.identity, self.prompt) else None
        fits = {"probability": kept and kept.probability, "fusion": kept and kept.fusion}
        return replace(self, scorer=scorer, prompt=prompt, **fits)

    @property
    def depth(self) -> int:
        """The number of layers to compute: the index (from 0) of the deepest head's layer, plus 1."""
        return max(head.layer for head in self.heads) + 1

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file as plain values."""
        measures = self.measures or ({},) * len(self.heads)
        return {
            "project_version": self.project_version,
            "model": self.model,
            "criterion": self.criterion,
            "heads": [
                {"layer": h.layer, "head": h.head, "weight": w, **m}
                for h, w, m in zip(self.heads, self.weights, measures, strict=True)
            ],
            "depth": self.depth,
            "query_ids": list(self.query_ids),
            "seeds": list(self.seeds),
            "prompt": dataclasses.asdict(self.prompt),
            "scorer": self.scorer.to_dict(),
            "table": self.table,
            "probability": None if self.probability is None else self.probability.to_dict(),
            "fusion": None if self.fusion is None else self.fusion.to_dict(),
        }

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        with atomic_write(path) as file:
            json.dump(self.to_dict(), file, indent=1)
            file.write("\n")

    @classmethod
    def load(cls, path: Path) -> "HeadsFile":
        """Read and check a `heads.json`. Raises `FormatError`, which names the file and the fault, if it is invalid."""
        content = read_json(Path(path))
        try:
            entries = content["heads"]
            heads = tuple(Head(_whole(e["layer"]), _whole(e["head"])) for e in entries)
            weights = tuple(_number(e.get("weight", 1.0)) for e in entries)
            if not all(0 <= weight < float("inf") for weight in weights) or (weights and not any(weights)):
                raise ValueError(f"weights are {weights}; expected finite numbers >= 0, at least one above 0")
            model = dict(content["model"])
            check_heads(heads, layers=_whole(model["layers"]), heads_per_layer=_whole(model["heads_per_layer"]))
            rest = [{k: v for k, v in e.items() if k not in ("layer", "head", "weight")} for e in entries]
            file = cls(
                model=model,
                heads=heads,
                weights=weights,
                criterion=dict(content["criterion"]),
                prompt=PromptSettings(**_prompt(content["prompt"])),
                scorer=ScorerSettings.from_dict(_scorer(content["scorer"])),
                query_ids=tuple(_listed("query_ids", content.get("query_ids", []), str)),
                seeds=tuple(_listed("seeds", content.get("seeds", []), int)),
                project_version=str(content.get("project_version", "")),
                measures=tuple(map(_measured, rest)) if any(rest) else (),  # given heads have no measures
                table=_table(content.get("table")),
                probability=_fit(ProbabilityCalibration, content.get("probability")),
                fusion=_fit(FusionFit, content.get("fusion")),
            )
            file.scorer.fusion_weight  # noqa: B018 (raises unless it is a number)
            if content.get("depth", file.depth) != file.depth:
                raise ValueError(f"depth is {content['depth']}; expected {file.depth}, the deepest head's layer + 1")
            return file
        except KeyError as error:
            raise FormatError(f"{path}: expected a heads.json of this project, the key {error} is missing") from error
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise FormatError(
                f"{path}: expected a heads.json of this project, found {type(error).__name__}: {error}"
            ) from error


def _prompt(content: dict[str, Any]) -> dict[str, Any]:
    # In files of earlier versions the chat template's key is `layout`.
    return {"chat_template" if name == "layout" else name: value for name, value in content.items()}


def _scorer(content: dict[str, Any]) -> dict[str, Any]:
    # In files of earlier versions the rows `published` are called `layout`, and `fusion` is called `fusion_alpha`.
    content = {"fusion" if name == "fusion_alpha" else name: value for name, value in content.items()}
    return {**content, "query_rows": "published"} if content.get("query_rows") == "layout" else content


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"layer or head is {value!r}; expected a whole number")
    return value


def _listed(name: str, values: Any, kind: type) -> list[Any]:
    if not isinstance(values, list) or not all(isinstance(x, kind) and not isinstance(x, bool) for x in values):
        raise ValueError(f"{name} is {str(values)[:80]}; expected a list of {kind.__name__}")
    return values


def _measured(values: dict[str, Any]) -> dict[str, float | None]:
    unknown = values.keys() - set(MEASURES)
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r} of a head; expected layer, head, weight, {', '.join(MEASURES)}")
    return {name: None if value is None else _number(value, f"a head's {name}") for name, value in values.items()}


def _table(content: Any) -> dict[str, list[list[float | None]]] | None:
    if content is None:
        return None
    return {
        name: [[None if x is None else _number(x, f"table.{name}") for x in _listed(name, row, object)] for row in rows]
        for name, rows in content.items()
    }


def _fit(kind: Any, content: Any) -> Any:
    return None if content is None else kind.from_dict(content)


def _number(value: Any, name: str = "a weight") -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is {str(value)[:80]}; expected a number")
    return float(value)


def heads_file(
    selection: Selection,
    *,
    model: dict[str, Any],
    criterion: dict[str, Any],
    prompt: PromptSettings,
    scorer: ScorerSettings,
    query_ids: Sequence[str],
    seeds: Sequence[int],
    project_version: str,
    probability: ProbabilityCalibration | None = None,
    fusion: FusionFit | None = None,
) -> HeadsFile:
    """Create the heads file of a selection. All heads have weight 1.

    The file holds the measures of the selected heads and a table of the measures of all heads. All arguments except
    `selection` are fields of `HeadsFile`.
    """
    value = _measures(selection)
    return HeadsFile(
        model=model,
        heads=selection.heads,
        weights=(1.0,) * len(selection.heads),
        criterion=criterion,
        prompt=prompt,
        scorer=scorer,
        query_ids=tuple(query_ids),
        seeds=tuple(seeds),
        project_version=project_version,
        measures=tuple({name: value(name, head) for name in MEASURES} for head in selection.heads),
        table=measures_table(selection, layers=int(model["layers"]), heads_per_layer=int(model["heads_per_layer"])),
        probability=probability,
        fusion=fusion,
    )


def measures_table(
    selection: Selection, *, layers: int, heads_per_layer: int
) -> dict[str, list[list[float | None]]] | None:
    """Return the measures of every head of the model: discriminability, entropy and score.

    Args:
        selection: the selection, with the measures of the heads that were read.
        layers: the number of layers of the model.
        heads_per_layer: the number of heads in each layer.

    Returns:
        Name of the measure, for example `entropy` -> [layers][heads_per_layer] values. A value is None if the head was
        not read or its value is infinite. None instead of a dict if no labelled list was read.
    """
    if selection.discriminability is None:
        return None
    value = _measures(selection)
    return {
        name: [[value(name, Head(layer, head)) for head in range(heads_per_layer)] for layer in range(layers)]
        for name in MEASURES
    }


def _measures(selection: Selection) -> Callable[[str, Head], float | None]:
    index = {head: i for i, head in enumerate(selection.table_heads)}

    def value(name: str, head: Head) -> float | None:
        column = getattr(selection, name)
        number = None if column is None or head not in index else float(column[index[head]])
        return number if number is not None and abs(number) != float("inf") else None

    return value
