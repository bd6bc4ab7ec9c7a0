"""Predictions of images as csv or JSON, a row at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Protocol

from bench.errors import encodable

if TYPE_CHECKING:
    from bench.kept.predict import Predicted


class Rows(Protocol):
    """A file that is being written."""

    def add(self, predicted: Predicted) -> None: ...

    def end(self) -> None: ...


class CsvRows:
    """path, predicted, then "p:CLASS" for every class, as stored predictions call them. Numbers have all
    their digits, so that reading them gives the same numbers."""

    def __init__(self, file: IO[str], classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.writer = csv.writer(file, lineterminator="\n")
        self.writer.writerow(["path", "predicted", *(f"p:{name}" for name in classes)])

    def add(self, predicted: Predicted) -> None:
        assert predicted.probabilities is not None
        best = self.classes[int(predicted.probabilities.argmax())]
        numbers = map(repr, predicted.probabilities.tolist())
        self.writer.writerow([encodable(str(predicted.image.path)), best, *numbers])

    def end(self) -> None:
        """Nothing follows the rows."""


class JsonRows:
    """A list of objects: path, predicted, and the probabilities by class."""

    def __init__(self, file: IO[str], classes: tuple[str, ...]) -> None:
        self.file, self.classes, self.before = file, classes, "[\n"

    def add(self, predicted: Predicted) -> None:
        assert predicted.probabilities is not None
        content = {
            "path": encodable(str(predicted.image.path)),
            "predicted": self.classes[int(predicted.probabilities.argmax())],
            "probabilities": dict(zip(self.classes, predicted.probabilities.tolist(), strict=True)),
        }
        self.file.write(f"{self.before}{json.dumps(content, ensure_ascii=False)}")
        self.before = ",\n"

    def end(self) -> None:
        self.file.write("\n]\n")


WRITERS: dict[str, Callable[[IO[str], tuple[str, ...]], Rows]] = {"csv": CsvRows, "json": JsonRows}
