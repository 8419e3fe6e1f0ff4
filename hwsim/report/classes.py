"""Accuracy by class, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hwsim.report.svg import box, drawing, el, integer, label
from hwsim.report.templates import render
from hwsim.studies.statistics import Estimate, share_of_images

MOST = 20
"""Classes of a table, and of a matrix; of more, the worst are listed."""
_CELL = 32


@dataclass(frozen=True)
class ClassRow:
    """One class: how many test images, how many right, and what the others were taken for."""

    label: int
    images: int
    right: int
    mistaken: str

    @property
    def found(self) -> Estimate:
        return share_of_images(self.right, self.images)


def draw_classes(confusion: Sequence[Sequence[int]]) -> Markup:
    """Table and, for up to ``MOST`` classes, matrix of ``confusion[label][answer]``."""
    rows = [_row(label, counts) for label, counts in enumerate(confusion) if sum(counts)]
    worst = sorted(rows, key=lambda row: row.right / row.images)[:MOST]
    return render(
        "classes.html",
        classes=rows if len(rows) <= MOST else worst,
        count=len(rows),
        picture=_matrix(confusion) if len(confusion) <= MOST else None,
    )


def _row(label: int, counts: Sequence[int]) -> ClassRow:
    others = sorted(
        ((count, answer) for answer, count in enumerate(counts) if count and answer != label),
        key=lambda item: (-item[0], item[1]),
    )
    mistaken = ", ".join(f"{answer} ({integer(count)})" for count, answer in others[:3])
    return ClassRow(label, sum(counts), counts[label], mistaken)


def _matrix(confusion: Sequence[Sequence[int]]) -> Markup:
    """Counts as squares, the darker the larger the share of the row."""
    left, top, size = 40.0, 44.0, _CELL
    classes = range(len(confusion))
    parts = [label(left, 14, "answer of the integers, by label", "s m")]
    for n in classes:
        middle = size * n + size / 2
        parts.append(label(left + middle, top - 8, str(n), "s mid n"))
        parts.append(label(left - 8, top + middle + 4, str(n), "s end n"))
    for row, counts in enumerate(confusion):
        total = sum(counts) or 1
        for column, count in enumerate(counts):
            x, y = left + size * column, top + size * row
            tip = f"label {row}, answer {column}: {integer(count)} images"
            look = "f0" if row == column else "f6"
            cell = [el("title", tip), box(x, y, size - 1, size - 1, "starved")]
            if count:
                share = 0.15 + 0.85 * count / total
                cell.append(box(x, y, size - 1, size - 1, look, fill_opacity=share))
                shade = "s mid n onfill" if share > 0.6 else "s mid n"
                cell.append(label(x + size / 2 - 0.5, y + size / 2 + 4, integer(count), shade))
            parts.append(el("g", *cell))
    side = size * len(confusion)
    return drawing(parts, left + side + 4, top + side + 4, "Confusion of classes")
