"""Words of the field, each with its meaning; pages explain them where they first stand."""

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

WORDS = {
    "account": "a theory of strategy weights, or a benchmark: a function of losses, complexities, "
    "D and N",
    "best mixture": "the weights of strategies that bring their mixture nearest to a transformer "
    "in a cell",
    "cell": "one run at one logged step",
    "complexity": "K: length of a strategy in bits, its program and its prior",
    "condition": "everything that runs share but task diversity and seed: setting, sizes, width",
    "crossover": "N*(D): the step from which the first strategy outweighs the second",
    "early": "checkpoints before transformers lie between their strategies; not fitted, not scored",
    "gap": "what one constant mixture, the same in every cell, predicts worse than the best "
    "mixture of every cell; an account closes a share of it, and leaves the rest",
    "held out": "cells that no parameter has seen",
    "ID": "in-distribution: evaluation sequences of the training tasks",
    "OOD": "out-of-distribution: evaluation sequences of new tasks",
    "relative distance": "where predictions lie between the second strategy (0) and the first (1)",
    "run": "one transformer, from its first step to its last",
    "scheme": "a way of holding cells out: late steps, each task diversity in turn, …",
    "setting": "how tasks and sequences are drawn, and what strategies predict for them",
    "strategy": "a Bayesian predictor: memorizing, generalizing, or another",
    "task diversity": "D: number of distinct training tasks",
    "α": "alpha: how slowly evidence grows with training",
    "β": "beta: how little complexity costs",
    "γ": "gamma: how much evidence counts",
}


def explained(texts: Iterable[str]) -> list[Markup]:
    """Texts as markup, in which every word that has a meaning here tells it where it first stands.

    Args:
        texts: plain, in the order that they are read in.
    """
    seen: set[str] = set()
    return [_explained(text, seen) for text in texts]


def _explained(text: str, seen: set[str]) -> Markup:
    parts, end = [], 0
    for match in _WORD.finditer(text):
        word = _SINGULAR.get(match.group().lower(), "")
        if not word or word in seen:
            continue
        seen.add(word)
        parts += [escape(text[end : match.start()]), _told(match.group(), WORDS[word])]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _told(shown: str, meaning: str) -> Markup:
    return Markup('<abbr title="{}">{}</abbr>').format(meaning, shown)


def _forms(word: str) -> list[str]:
    plural = {"strategy": "strategies", "task diversity": "task diversities"}
    return [word, plural.get(word, f"{word}s")]


_SINGULAR = {form.lower(): word for word in WORDS for form in _forms(word)}
# the longest first, so that `best mixture` is no `mixture`; N* and names_like_this are no words
_WORD = re.compile(
    r"(?<![\w-])("
    + "|".join(re.escape(form) for form in sorted(_SINGULAR, key=len, reverse=True))
    + r")(?![\w-])",
    re.IGNORECASE,
)
