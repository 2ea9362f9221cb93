"""Explanations of rankings: which tokens of a passage and of the query made its score, as data, HTML and terminal text.

Pure data and rendering, without torch; `headrank.model.explain` computes them.
"""

from headrank.explanation.explanation import Explanation
from headrank.explanation.passage import PassageExplanation, TokenContribution

__all__ = ["Explanation", "PassageExplanation", "TokenContribution"]
