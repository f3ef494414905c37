"""Images inside parquet files and Hugging Face data sets (needs the extra `hub`).

An image column is a struct with `bytes` (what `datasets` writes, decoded or not), or plain binary; where there are
several, one that is called as images are. The label is the column of one of the usual names, else the only column of
class numbers; these get their names where the file knows them. Images stay where they are: a row group of a parquet file
is read when one of its images is, and two are kept. What libraries raise on damaged files becomes one sentence.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from efface.documents import open_file, parse_json, read_json
from efface.errors import InputError
from efface.images.listings import Candidate, Listing
from efface.images.lists import LABEL_COLUMNS
from efface.images.reading import MAX_BYTES
from efface.wording import printable, several

IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "png", "bytes", "image_bytes")
GROUPS_KEPT = 2  # threads that read in order work on both sides of a border
MAX_GROUP_BYTES, MAX_LABEL_BYTES = 1 << 32, 1 << 28
ROWS_AT_ONCE, LABELS_AT_ONCE = 4, 64
"""A value that is stored once may be that of many rows, so columns are read piece by piece."""
NEEDS_HUB = "reading parquet and Hugging Face data sets needs: pip install 'efface[hub]'"


def list_parquet(paths: Sequence[str | Path]) -> Listing:
    """The rows of parquet files, in order. Raises InputError where a file is damaged or has no image column."""
    listing = Listing()
    for path in paths:
        name = os.fspath(path)
        with _readable(name, "a parquet file"):
            table = ParquetImages(name)
            _add_rows(listing, table, name, table.labels())
    return listing


def saved_splits(folder: str) -> dict[str, list[str]]:
    """The files of each split of a data set that `save_to_disk` wrote in a folder; none where it holds no such set.

    Raises InputError where a set is damaged, or names a file elsewhere than in its folder.
    """
    if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
        index = read_json(os.path.join(folder, "dataset_dict.json"))
        names = index.get("splits") if isinstance(index, dict) else None
        splits = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    else:
        splits = [""]
    found: dict[str, list[str]] = {}
    for split in splits:
        place = os.path.join(folder, _inside(split, folder)) if split else folder
        state = os.path.join(place, "state.json")
        if not split and not os.path.isfile(state):
            return {}
        files = _data_files(read_json(state))
        if files is None and not split:
            return {}  # a file of that name among images
        if files is None:
            raise InputError(f"{printable(state)} does not say where the data lie; save the data set again")
        found[split] = [os.path.join(place, _inside(file, place)) for file in files]
    return found


def list_saved_dataset(folder: str | Path, splits: dict[str, list[str]]) -> Listing:
    """The rows of a data set written by `save_to_disk`; several splits follow one another."""
    listing = Listing()
    for split, files in splits.items():
        name = os.path.join(os.fspath(folder), split) if split else os.fspath(folder)
        with _readable(name, "a saved data set"):
            table = ArrowImages(_mapped(files), os.path.realpath(name), name)
            _add_rows(listing, table, name, table.labels())
    return listing


def list_hub(source: str) -> Listing:
    """The rows of `owner/name[:split]` on the Hugging Face hub, or in its local cache."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise InputError(NEEDS_HUB) from None
    name, _, split = source.partition(":")
    where = f"hub:{name}:{split or 'train'}"
    try:
        data = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # the hub client raises many kinds, all of them about access
        raise InputError(f"data set hub:{printable(source)} cannot be loaded: {_first_line(error)}") from None
    listing = Listing()
    with _readable(where, "a data set of images"):
        table = ArrowImages(data.with_format("arrow")[:], where, where, follow=True)
        _add_rows(listing, table, where, table.labels())
    return listing


@dataclass(frozen=True, slots=True)
class RowLocator:
    """One row of a parquet file or data set."""

    table: ParquetImages | ArrowImages
    row: int

    @property
    def where(self) -> str:
        return f"{self.table.where}#{self.row}"

    def read_bytes(self) -> bytes:
        try:
            data = self.table.read(self.row)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # pyarrow raises many kinds on damaged data
            raise OSError(f"the row is damaged: {_first_line(error)}") from None
        if len(data) > MAX_BYTES:
            raise OSError(f"oversized: {len(data):,} bytes, more than {MAX_BYTES:,}")
        return data


class ParquetImages:
    """The image column of one parquet file; the two row groups read last are kept."""

    def __init__(self, path: str) -> None:
        self._pyarrow = _pyarrow()
        self.where = os.path.realpath(path)
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
        self._file = self._pyarrow.parquet.ParquetFile(path)
        self._column, self._label = _columns(self._file.schema_arrow, path)
        groups = self._file.metadata
        self._starts = [0]
        for index in range(groups.num_row_groups):
            group = groups.row_group(index)
            if group.total_byte_size > MAX_GROUP_BYTES:
                raise InputError(
                    f"{printable(path)}: row group {index} has {group.total_byte_size:,} bytes, which are read at once; "
                    "write it with fewer rows a group (row_group_size=1000)"
                )
            self._starts.append(self._starts[-1] + group.num_rows)
        if not 0 <= self._starts[-1] <= size:
            raise InputError(
                f"{printable(path)} says that its {size:,} bytes hold {self._starts[-1]:,} rows: it is damaged, or no "
                "file of images"
            )
        self._lock = threading.Lock()
        self._groups: dict[int, Any] = {}

    def labels(self) -> list[str | None]:
        if self._label is None:
            return [None] * self._starts[-1]
        names, groups = _class_names(self._file.schema_arrow, self._label), range(len(self._starts) - 1)
        values = self._values(self._label, groups, LABELS_AT_ONCE, MAX_LABEL_BYTES)
        return [_as_label(value, names) for value in values.to_pylist()]

    def _values(self, column: str, groups: Sequence[int], rows: int, most: int) -> Any:
        """The values of a column in these row groups, read by so many rows; raises `ValueError` above `most` bytes."""
        chunks, size = [], 0
        for batch in self._file.iter_batches(rows, row_groups=[*groups], columns=[column]):
            size += batch.nbytes
            if size > most:
                raise ValueError(
                    f"its column '{printable(column)}' holds more than {most >> 20:,} MiB at once"
                )
            chunks.append(batch.column(0))
        return self._pyarrow.chunked_array(chunks, self._file.schema_arrow.field(column).type)

    def read(self, row: int) -> bytes:
        group = bisect_right(self._starts, row) - 1
        with self._lock:
            if group not in self._groups:
                if len(self._groups) >= GROUPS_KEPT:
                    del self._groups[next(iter(self._groups))]
                self._groups[group] = self._values(self._column, [group], ROWS_AT_ONCE, MAX_GROUP_BYTES)
            value = self._groups[group][row - self._starts[group]].as_py()
        return _embedded(value)


class ArrowImages:
    """The image column of a table in memory or in mapped files.

    follow: rows that hold a path instead of bytes are read from there, as `datasets` itself wrote it.
    """

    def __init__(self, table: Any, where: str, name: str, follow: bool = False) -> None:
        self.where = where
        self._follow = follow
        column, self._label = _columns(table.schema, name)
        self._table = table.select([column] if self._label is None else [column, self._label])
        self._table.validate(full=True)  # offsets in a hostile file lead anywhere
        self._images = self._table[column]

    def labels(self) -> list[str | None]:
        if self._label is None:
            return [None] * len(self._images)
        names = _class_names(self._table.schema, self._label)
        return [_as_label(value, names) for value in self._table[self._label].to_pylist()]

    def read(self, row: int) -> bytes:
        value = self._images[row].as_py()
        if self._follow and value and value["bytes"] is None and value["path"]:
            return Path(value["path"]).read_bytes()
        return _embedded(value)


def _add_rows(
    listing: Listing, table: ParquetImages | ArrowImages, name: str, labels: Sequence[str | None]
) -> None:
    for row, label in enumerate(labels):
        listing.candidates.append(Candidate(f"{name}#{row}", RowLocator(table, row), label))


def _columns(schema: Any, name: str) -> tuple[str, str | None]:
    """(image column, label column)."""
    import pyarrow

    binary = (pyarrow.binary(), pyarrow.large_binary())
    encoded = [
        field.name
        for field in schema
        if field.type in binary
        or (pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    structs = [column for column in encoded if schema.field(column).type not in binary]
    named = [column for known in IMAGE_COLUMNS for column in encoded if column.casefold() == known]
    if not (structs or named):
        raise InputError(
            f"{printable(name)} has no image column (a struct with 'bytes', or binary 'image'); "
            f"its columns are {several(schema.names, 20)}"
        )
    classes = [column for column in schema.names if _class_names(schema, column)]
    label = next(
        (column for known in LABEL_COLUMNS for column in schema.names if column.casefold() == known), None
    )
    return (named or structs)[0], label or (classes[0] if len(classes) == 1 else None)


def _class_names(schema: Any, column: str) -> list[str] | None:
    try:
        features: Any = parse_json((schema.metadata or {})[b"huggingface"], "features")
        names = features["info"]["features"][column]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, InputError):
        return None


def _as_label(value: Any, names: list[str] | None) -> str | None:
    if value is None:
        return None
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return str(value)


def _embedded(value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise OSError("the row holds no image bytes")  # a path in it is not followed: it may lead anywhere
    return data


def _data_files(state: JsonValue) -> list[str] | None:
    files = state.get("_data_files") if isinstance(state, dict) else None
    names = (
        [file.get("filename") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    )
    return [name for name in names if isinstance(name, str)] if names and all(names) else None


def _inside(name: str, folder: str) -> str:
    if os.path.basename(name) != name or name in (os.curdir, os.pardir):
        raise InputError(
            f"{printable(folder)} names a file that is not in it ({printable(name)}); save it again"
        )
    return name


def _mapped(files: Sequence[str]) -> Any:
    pyarrow = _pyarrow()
    for file in files:
        with open_file(file):
            pass  # a pipe would be waited for
    tables = [pyarrow.ipc.open_stream(pyarrow.memory_map(file)).read_all() for file in files]
    return pyarrow.concat_tables(tables)


@contextmanager
def _readable(name: str, what: str) -> Iterator[None]:
    """What libraries raise on a damaged file as one sentence."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{printable(name)} is not {what} that can be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = (str(error).strip() or type(error).__name__).split("\n")
    return printable(lines[0][:200])


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InputError(NEEDS_HUB) from None
    return pyarrow
