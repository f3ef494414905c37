"""What there is of one sort, by name: built in, and added by other packages through entry points. Imports no torch.

A thing that is built in has one line in its registry, written as in an entry point: `module:attribute`. Another package
adds one with an entry point in the registry's group:

    [project.entry-points."efface.methods"]
    my-method = "my_package:MyMethod"

A plug-in that cannot be imported, is not of the right sort, or has a name that is taken already is left out with a
`PluginWarning` that names its distribution; everything else goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from pydantic import JsonValue

from efface.errors import InputError, PluginWarning
from efface.settings import Settings, unknown_name

T = TypeVar("T")
S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class _Entry(Generic[T]):
    """A thing, and the distribution and version that it comes with; empty for what is built in."""

    thing: T
    distribution: str = ""


class Registry(Mapping[str, T], Generic[T]):
    """All things of one sort by name, those that are built in first and in the order of their lines.

    A thing is a class derived from `base`, or an instance of it, and has a `name`. Everything is imported when a name
    is first asked for.
    """

    def __init__(
        self, sort: str, group: str, base: type, built_in: Sequence[str], siblings: Sequence[type] = ()
    ) -> None:
        """sort: what one thing is called in messages. siblings: bases of the registries that share the group."""
        self.sort, self.group, self.base = sort, group, base
        self._lines, self._siblings = built_in, siblings
        self._left_out: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        return self._entries[name].thing

    def __contains__(self, name: object) -> bool:
        # a name from a config may be anything, also a section
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def named(self, name: str) -> T:
        """The thing of that name; raises `InputError` with the nearest valid one, or why a plug-in is left out."""
        if name in self._entries:
            return self[name]
        raise InputError(self._left_out.get(name, unknown_name(self.sort, name, self)))

    @property
    def built_in(self) -> dict[str, T]:
        """Those that come with efface."""
        return {name: entry.thing for name, entry in self._entries.items() if not entry.distribution}

    def distribution(self, name: str) -> str:
        """Name and version of the distribution that a thing comes with; empty for what is built in, and unknown names."""
        return self._entries[name].distribution if name in self._entries else ""

    @contextmanager
    def added(self, *things: T) -> Iterator[None]:
        """Have `things` as if they were built in, in this process and for this while: for tests and notebooks."""
        before = self._entries
        self.__dict__["_entries"] = {**before, **{name_of(thing): _Entry(thing) for thing in things}}
        try:
            yield
        finally:
            self.__dict__["_entries"] = before

    @cached_property
    def _entries(self) -> dict[str, _Entry[T]]:
        entries: dict[str, _Entry[T]] = {}
        for line in self._lines:
            module, _, attribute = line.partition(":")
            thing = getattr(import_module(module), attribute)
            assert self._is_one(thing), f"{line} is no {self.base.__name__}"
            assert name_of(thing) not in entries, f"two are named {name_of(thing)}"
            entries[name_of(thing)] = _Entry(thing)
        for point in sorted(entry_points(group=self.group), key=_distribution):
            try:
                thing = point.load()
                if any(_derives(thing, sibling) for sibling in self._siblings):
                    continue
                if fault := self._fault(thing, entries):
                    raise InputError(fault)
            # whatever the import of another package may raise
            except Exception as error:
                reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                self._leave_out(point, reason)
            else:
                entries[name_of(thing)] = _Entry(thing, _distribution(point))
        return entries

    def _fault(self, thing: object, entries: Mapping[str, _Entry[T]]) -> str:
        """Why a plug-in cannot be one of `entries`; empty if it can."""
        if not self._is_one(thing):
            return f"it is no {self.base.__name__}"
        name = name_of(thing)
        if not name:
            return "it has no name"
        if name in entries:
            return f"the name '{name}' is taken by {entries[name].distribution or 'efface itself'}"
        return ""

    def _is_one(self, thing: object) -> bool:
        return _derives(thing, self.base) or isinstance(thing, self.base)

    def _leave_out(self, point: EntryPoint, reason: str) -> None:
        said = (
            f"{self.sort} '{point.name}' of {_distribution(point)} is left out ({point.value}): {reason}. "
            "Mend, update or remove that package"
        )
        self._left_out[point.name] = said
        warnings.warn(said, PluginWarning, stacklevel=2)


def name_of(thing: object) -> str:
    """The name under which a thing is registered; empty if it has none."""
    return str(getattr(thing, "name", ""))


def read_named(registry: Registry[type[S]], section: str | Mapping[str, JsonValue], default: str = "") -> S:
    """What a name, or a config section with a `name` and its settings, describes; raises `InputError`."""
    values = {"name": section} if isinstance(section, str) else dict(section)
    name = str(values.pop("name", default))
    return registry.named(name).read(values, where=f"{registry.sort} {name}")


def _derives(thing: object, base: type) -> bool:
    return isinstance(thing, type) and issubclass(thing, base)


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
