"""``dataclass`` of the standard library for what commands import: a method is compiled when it is first used.

The decorator of the standard library compiles six methods a class, which takes 0.6 ms (CPython 3.11). ``status``
imports a hundred such classes, and makes objects of twenty.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

T = TypeVar("T")

# looked up in a class by functions of dataclasses and inspect, perhaps before there is an object
_ASKED: Final = ("__dataclass_params__", "__dataclass_fields__", "__signature__")
_FIRST: Final = ("__dataclass_params__", "__match_args__", "__replace__", "__init__", "__dataclass_fields__")
_LATER: Final = ("__repr__", "__eq__", "__hash__")

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, kw_only: bool, frozen: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]:
        """As ``dataclasses.dataclass``, for classes whose fields are keyword-only; its other options are not there.

        A class without a docstring gets none, and what is derived from a frozen class is frozen without a decorator.
        """
        if not kw_only:
            raise TypeError("only for keyword-only fields: the interpreter itself looks up __match_args__ of others")

        def decorate(cls: type[T]) -> type[T]:
            _Waiting(cls, frozen=frozen, eq=eq).stand_in()
            return cls

        return decorate


class _Waiting:
    """A class as it was written, from which the standard decorator makes what is used of it.

    Several threads may need that at once. Each then makes all of it, which is the same, and puts it in place in such an
    order that no other finds a part missing. A lock would hang a process that is forked while a thread holds it.
    """

    def __init__(self, cls: type, *, frozen: bool, eq: bool) -> None:
        self.cls, self.frozen, self.eq = cls, frozen, eq
        self.written = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}

    def stand_in(self) -> None:
        """Give the class attributes that ask for the real ones when they are used."""
        stand_ins: dict[str, Any] = {name: _Asked(self, name) for name in _ASKED}
        stand_ins["__init__"] = self._called("__init__", self.make_init)
        later = _LATER if self.eq else ("__repr__",)
        stand_ins |= {name: self._called(name, self.make_others) for name in later}
        if self.frozen:
            stand_ins |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        elif self.eq:
            stand_ins["__hash__"] = None
        for name in stand_ins.keys() - self.written.keys():
            setattr(self.cls, name, stand_ins[name])

    def make_init(self) -> None:
        """Make the fields, and ``__init__``."""
        if not isinstance(vars(self.cls)["__dataclass_fields__"], _Asked):
            return
        made = self._made(repr=False, eq=False)
        made["__dataclass_params__"].repr, made["__dataclass_params__"].eq = True, self.eq
        for name in made["__dataclass_fields__"].keys() & self.written.keys():
            if name in made:
                setattr(self.cls, name, made[name])
            else:  # it has a default factory
                self._remove(name)
        self._remove("__signature__")
        self._put(_FIRST, made)  # the fields last: that they are there says that all is

    def make_others(self) -> None:
        """Make ``__repr__``, ``__eq__`` and ``__hash__``."""
        self._put(_LATER, self._made(init=False, eq=self.eq))

    def _made(self, **options: bool) -> Mapping[str, Any]:
        """What the standard decorator makes of a copy: the class itself must not be without a method for a moment."""
        # with a docstring, since the decorator would write one of the signature
        names = {"__qualname__": self.cls.__qualname__, "__doc__": "a copy"}
        copy = type(self.cls)(self.cls.__name__, self.cls.__bases__, {**self.written, **names})
        return vars(dataclasses.dataclass(kw_only=True, frozen=self.frozen, **options)(copy))

    def _put(self, names: Sequence[str], made: Mapping[str, Any]) -> None:
        for name in names:
            if name in made and made[name] is not self.written.get(name):
                setattr(self.cls, name, made[name])

    def _remove(self, name: str) -> None:
        with contextlib.suppress(AttributeError):
            delattr(self.cls, name)

    def _called(self, name: str, make: Callable[[], None]) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            make()
            return getattr(self.cls, name)(*args, **kwargs)

        return method


class _Asked:
    """A class attribute that is not there yet."""

    def __init__(self, waiting: _Waiting, name: str) -> None:
        self._waiting, self._name = waiting, name

    def __get__(self, _: object, owner: type) -> Any:
        self._waiting.make_init()
        return getattr(owner, self._name)  # no __signature__: inspect.signature then looks at __init__


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
