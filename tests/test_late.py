"""``late.dataclass`` does what the standard one does, but compiles nothing before it is used."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import pickle
import re
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError, field
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec
import pytest

from hpo_batch.late import _Asked, dataclass
from tests.helpers import REPOSITORY

T = TypeVar("T")
PACKAGE = REPOSITORY / "hpo_batch"


def written(decorate: Any) -> type[Any]:
    """The same class for both decorators, made anew."""

    @decorate
    class Made:
        a: int
        b: list[int] = field(default_factory=list)
        c: int = field(default=3, compare=False, repr=False)
        d: str = "d"

        def __post_init__(self) -> None:
            if self.a < 0:
                raise ValueError("a")

        @functools.cached_property
        def twice(self) -> int:
            return 2 * self.a

        def own_class(self) -> type:
            return __class__  # type: ignore[name-defined,no-any-return]

    return Made


@dataclass(frozen=True, kw_only=True)
class Base:
    x: int
    y: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    z: str = "z"


@dataclass(kw_only=True)
class Open:
    x: int = 1


@dataclass(kw_only=True, eq=False)
class ByIdentity:
    x: int = 1


@dataclass(frozen=True, kw_only=True)
class Of(Generic[T]):
    value: T


def is_waiting(cls: type) -> bool:
    return isinstance(vars(cls)["__dataclass_fields__"], _Asked)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_class_is_the_same_as_with_the_standard_decorator(frozen: bool) -> None:
    ours, standard = (
        written(dataclass(frozen=frozen, kw_only=True)),
        written(dataclasses.dataclass(frozen=frozen, kw_only=True)),
    )
    assert is_waiting(ours)
    assert inspect.signature(ours) == inspect.signature(standard)
    assert not is_waiting(ours)
    assert [(f.name, f.default, f.kw_only, f.compare) for f in dataclasses.fields(ours)] == [
        (f.name, f.default, f.kw_only, f.compare) for f in dataclasses.fields(standard)
    ]
    assert (ours.c, hasattr(ours, "b")) == (standard.c, hasattr(standard, "b")) == (3, False)
    assert repr(ours.__dataclass_params__) == repr(standard.__dataclass_params__)
    one, same, other = ours(a=1), ours(a=1, c=9), ours(a=1, b=[2])
    assert (repr(one), one == same, one == other, one.twice) == (repr(standard(a=1)), True, False, 2)
    assert (ours.__init__.__qualname__, ours.__doc__) == (standard.__init__.__qualname__, None)
    assert one.own_class() is ours
    assert dataclasses.replace(one, d="e").d == "e"
    assert dataclasses.asdict(one) == dataclasses.asdict(standard(a=1))
    for wrong in ({}, {"a": 1, "e": 2}):
        with pytest.raises(TypeError):
            ours(**wrong)
    with pytest.raises(TypeError):
        ours(1)
    with pytest.raises(ValueError, match="a"):
        ours(a=-1)
    assert (ours.__hash__ is None) == (standard.__hash__ is None)


def test_a_frozen_one_stays_as_it_is() -> None:
    one = Derived(x=1)
    for name in ("x", "other"):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, 2)
    with pytest.raises(FrozenInstanceError):
        del one.x  # type: ignore[misc]
    assert (one, hash(one)) == (Derived(x=1), hash(Derived(x=1)))
    changed = Open()
    changed.x = 5
    assert changed == Open(x=5)
    with pytest.raises(TypeError):
        hash(changed)
    assert ByIdentity() != ByIdentity()
    assert {ByIdentity(), ByIdentity()}


def test_whatever_asks_first_gets_the_real_thing() -> None:
    """Each on a class of its own, of which no object was made."""
    for ask in (
        dataclasses.is_dataclass,
        dataclasses.fields,
        inspect.signature,
        lambda cls: msgspec.json.decode(b'{"a": 1}', type=cls),
        lambda cls: repr(cls(a=1)),
        lambda cls: hash(cls(a=1, b=())),
        lambda cls: type("Sub", (cls,), {})(a=1) == cls(a=1),
        lambda cls: dataclasses.dataclass(frozen=True, kw_only=True)(type("Sub", (cls,), {}))(a=1),
    ):
        cls = written(dataclass(frozen=True, kw_only=True))
        assert is_waiting(cls)
        ask(cls)
        assert not is_waiting(cls), ask
    assert get_type_hints(Derived) == {"x": int, "y": float, "z": str}
    assert Of(value=1) == Of(value=1) != Of(value=2)
    match Derived(x=4):
        case Base(x=found):
            assert found == 4


def test_objects_are_copied_and_pickled() -> None:
    one = Derived(x=1, z="q")
    assert copy.deepcopy(one) == copy.copy(one) == pickle.loads(pickle.dumps(one)) == one
    # in a process that has made no object of the class
    text = "import pickle, sys; a, b = pickle.load(sys.stdin.buffer); print(a == b, hash(a) == hash(b), a)"
    done = subprocess.run([sys.executable, "-c", text], input=pickle.dumps((one, one)), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "True True Derived(x=1, y=2.0, z='q')"


def test_threads_may_make_the_first_object_at_once() -> None:
    for _ in range(30):
        cls = written(dataclass(frozen=True, kw_only=True))
        wait, failed = threading.Barrier(4), []

        def make(cls: type[Any] = cls, wait: threading.Barrier = wait, failed: list[BaseException] = failed) -> None:
            wait.wait()
            try:
                assert (cls(a=1) == cls(a=1), cls(a=1).b) == (True, [])
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed


def test_what_status_imports_takes_it_from_here() -> None:
    packages = (
        "expressions",
        "files",
        "journal",
        "monitor",
        "processes",
        "scheduler",
        "space",
        "store",
        "study",
        "sweep",
    )
    sources = [path for name in packages for path in (PACKAGE / name).rglob("*.py")] + [PACKAGE / "records.py"]
    other = re.compile(r"^from dataclasses import .*\bdataclass\b", re.M)
    standard = [path for path in sources if other.search(path.read_text())]
    assert len(sources) > 150
    assert not standard, f"'from hpo_batch.late import dataclass' in {standard}"


def test_only_keyword_only_fields() -> None:
    with pytest.raises(TypeError, match="keyword-only"):
        dataclass(kw_only=False)
