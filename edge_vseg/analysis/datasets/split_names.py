"""What splits are for, by their names in any spelling: ``train``, ``Training`` and ``train2017`` are to learn from."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LEARNT = re.compile(r"train(?:ing|set)?(?:[\W_]*(\d{4}))?")
_JUDGED = re.compile(r"val(?:id|idation|set)?(?:[\W_]*(\d{4}))?")
_TEST = re.compile(r"test(?:ing|set)?(?:[\W_\d].*)?")


def learning_split(splits: Sequence[str]) -> str | None:
    """The split to learn from.

    Args:
        splits: All that there are.

    Returns:
        ``train`` in any spelling, of several years the last; otherwise the only one that is not there to judge or
        test by, or the only one at all. ``None`` if that is a test split, or if several may be meant.
    """
    named = []
    for name in splits:
        if match := _LEARNT.fullmatch(name.casefold()):
            named.append((name != "train", name.casefold() != "train", -int(match[1] or 0), name))
    if named:
        return min(named)[-1]
    others = [name for name in splits if not _TEST.fullmatch(name.casefold())]
    left = others if len(splits) == 1 else [name for name in others if not _JUDGED.fullmatch(name.casefold())]
    return left[0] if len(left) == 1 else None


def judging_split(splits: Sequence[str], usual: str, learnt: str = "") -> str | None:
    """The split to judge by.

    Args:
        splits: All that there are.
        usual: What the authors of the layout judge by.
        learnt: What is learnt, which is not it. One with a year is judged by that year, unless ``usual`` is there, and
            ``trainval`` by no ``val``.

    Returns:
        ``usual`` or ``val`` in any spelling; ``None`` if there is neither.
    """
    plain, year = usual.casefold(), _year(learnt)
    holds_val = re.match(r"train.*val", learnt.casefold()) is not None
    found = []
    for name in splits:
        is_usual, match = name.casefold() == plain, _JUDGED.fullmatch(name.casefold())
        if name == learnt or not (is_usual or match) or (match and holds_val):
            continue
        other_year = match is not None and bool(match[1] and year and match[1] != year)
        if is_usual or not other_year:
            found.append((name != usual, not is_usual, bool(year and match and not match[1]), name))
    return min(found)[-1] if found else None


def _year(learnt: str) -> str:
    match = _LEARNT.fullmatch(learnt.casefold())
    return (match[1] or "") if match else ""
