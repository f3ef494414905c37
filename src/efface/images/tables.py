"""Images inside parquet files and Hugging Face data sets (needs the extra `hub`).

An image column is a struct with `bytes` and `path` (what `datasets` writes), or plain binary named `image` or
`bytes`. The label is the column `label` or `labels`; class numbers get their names where the file knows
them. Images stay where they are: a row group is read when one of its images is, and two are kept.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from efface.documents import parse_json
from efface.errors import InputError
from efface.images.listings import Candidate, Listing
from efface.wording import printable

LABEL_COLUMNS = ("label", "labels")
GROUPS_KEPT = 2  # threads that read in order work on both sides of a border
NEEDS_HUB = "reading parquet and Hugging Face data sets needs: pip install 'efface[hub]'"


def list_parquet(paths: Sequence[str | Path]) -> Listing:
    """The rows of parquet files, in order. Raises InputError where a file has no image column."""
    listing = Listing()
    for path in paths:
        table = ParquetImages(os.fspath(path))
        labels = table.labels()
        for row, label in enumerate(labels):
            name = f"{os.fspath(path)}#{row}"
            listing.candidates.append(Candidate(name, RowLocator(table, row), label))
    return listing


def list_saved_dataset(folder: str | Path) -> Listing:
    """The rows of a data set written by `save_to_disk`; several splits follow one another."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise InputError(NEEDS_HUB) from None
    loaded = datasets.load_from_disk(os.fspath(folder))
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
    listing = Listing()
    for split, data in splits.items():
        name = os.path.join(os.fspath(folder), split) if split else os.fspath(folder)
        _add_dataset(listing, data, name, os.path.realpath(name))
    return listing


def list_hub(source: str) -> Listing:
    """The rows of `owner/name[:split]` on the Hugging Face hub, or in its local cache."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise InputError(NEEDS_HUB) from None
    name, _, split = source.partition(":")
    try:
        data = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # the hub client raises many kinds, all of them about access
        reason = printable(str(error).strip().split("\n")[0])
        raise InputError(f"data set hub:{source} cannot be loaded: {reason}") from None
    listing = Listing()
    _add_dataset(listing, data, f"hub:{name}:{split or 'train'}", f"hub:{name}:{split or 'train'}")
    return listing


@dataclass(frozen=True, slots=True)
class RowLocator:
    """One row of a parquet file or data set."""

    table: ParquetImages | DatasetImages
    row: int

    @property
    def where(self) -> str:
        return f"{self.table.where}#{self.row}"

    def read_bytes(self) -> bytes:
        return self.table.read(self.row)


class ParquetImages:
    """The image column of one parquet file; the two row groups read last are kept."""

    def __init__(self, path: str) -> None:
        try:
            import pyarrow.parquet  # type: ignore[import-untyped]
        except ModuleNotFoundError:
            raise InputError(NEEDS_HUB) from None
        self.where = os.path.realpath(path)
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except (OSError, pyarrow.ArrowException) as error:
            reason = printable(str(error).split("\n")[0])
            raise InputError(f"{printable(path)} is not a parquet file that can be read: {reason}") from None
        self._column = self._image_column(path)
        groups = self._file.metadata
        sizes = (groups.row_group(index).num_rows for index in range(groups.num_row_groups))
        self._starts = [0, *accumulate(sizes)]
        self._lock = threading.Lock()
        self._groups: dict[int, Any] = {}

    def labels(self) -> list[str | None]:
        schema = self._file.schema_arrow
        column = next((name for name in LABEL_COLUMNS if name in schema.names), None)
        if column is None:
            return [None] * int(self._file.metadata.num_rows)
        names = _class_names(schema.metadata or {}, column)
        return [_label(value, names) for value in self._file.read([column])[column].to_pylist()]

    def read(self, row: int) -> bytes:
        group = bisect_right(self._starts, row) - 1
        with self._lock:
            if group not in self._groups:
                if len(self._groups) >= GROUPS_KEPT:
                    del self._groups[next(iter(self._groups))]
                self._groups[group] = self._file.read_row_group(group, [self._column])[self._column]
            value = self._groups[group][row - self._starts[group]].as_py()
        return _embedded(value)

    def _image_column(self, path: str) -> str:
        import pyarrow

        schema = self._file.schema_arrow
        for field in schema:
            if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
                return str(field.name)
        for name in ("image", "bytes"):
            if name in schema.names and schema.field(name).type in (pyarrow.binary(), pyarrow.large_binary()):
                return name
        raise InputError(
            f"{printable(path)} has no image column (a struct with 'bytes', or binary 'image'); "
            f"its columns are {', '.join(schema.names)}"
        )


class DatasetImages:
    """The image column of a `datasets.Dataset`, undecoded."""

    def __init__(self, data: Any, column: str, where: str) -> None:
        self.where = where
        self._data = data
        self._column = column

    def read(self, row: int) -> bytes:
        value = self._data[row][self._column]
        if value and value["bytes"] is None and value["path"]:  # files that `datasets` itself has listed
            return Path(value["path"]).read_bytes()
        return _embedded(value)


def _add_dataset(listing: Listing, data: Any, name: str, where: str) -> None:
    import datasets

    column = next((key for key, kind in data.features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise InputError(f"{name} has no image column; its columns are {', '.join(data.features)}")
    label_column = next((key for key in LABEL_COLUMNS if key in data.features), None)
    names = getattr(data.features[label_column], "names", None) if label_column else None
    labels = data[label_column] if label_column else [None] * len(data)
    kept = data.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    table = DatasetImages(kept, column, where)
    for row, label in enumerate(labels):
        listing.candidates.append(Candidate(f"{name}#{row}", RowLocator(table, row), _label(label, names)))


def _embedded(value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise OSError("the row holds no image bytes")  # a path in it is not followed: it may lead anywhere
    return data


def _label(value: Any, names: list[str] | None) -> str | None:
    if value is None:
        return None
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return str(value)


def _class_names(metadata: dict[bytes, bytes], column: str) -> list[str] | None:
    try:
        information: Any = parse_json(metadata[b"huggingface"], "the table's description")
        features = information["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (InputError, KeyError, TypeError):
        return None
