"""Stores models as pickles, and reads only such pickles as models are made of.

A pickle is a program that may call any function. The reader here knows the few instructions that a model
needs, calls only what `Admitted` admits, and changes no class. So a file that somebody else has written is
refused before any of its code runs. The user's own modules are trusted: reading calls the constructors and
`__setstate__` of their classes.
"""

import pickle
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from streamd.learning.admitted import Admitted, ModuleOf, Refused
from streamd.learning.nesting import Nesting

PROTOCOL = 5
_Step = Callable[["_Machine"], None]


def dump(model: Any) -> bytes:
    """The pickle of a model. Raises any exception of its code."""
    return pickle.dumps(model, PROTOCOL)


def load(pickled: bytes, module_of: ModuleOf) -> Any:
    """The model. Raises ValueError for bytes that are no pickle of a model, before they have an effect."""
    try:
        return _Machine(pickled, Admitted(module_of)).run()
    except Exception as error:
        text = str(error) or type(error).__name__
        raise ValueError(f"the stored model cannot be read: {text[:300]}") from error


class _Machine:
    """Runs the instructions of one pickle."""

    def __init__(self, pickled: bytes, admitted: Admitted) -> None:
        self._pickled = pickled
        self._at = 0
        self._admitted = admitted
        self._nesting = Nesting(len(pickled))
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        """The stacks below each mark."""
        self._memo: list[Any] = []

    def run(self) -> Any:
        """The object. Raises any exception."""
        pickled, steps, stop = self._pickled, _STEPS, pickle.STOP[0]
        while (code := pickled[self._at]) != stop:
            self._at += 1
            step = steps.get(code)
            if step is None:
                raise Refused(f"the instruction {bytes((code,))!r} is none of a model's")
            step(self)
        (made,) = self._stack
        return made

    def read(self, size: int) -> bytes:
        """The next bytes of the pickle."""
        end = self._at + size
        if end > len(self._pickled):
            raise Refused("it ends too early")
        content = self._pickled[self._at : end]
        self._at = end
        return content

    def number(self, size: int) -> int:
        """The next bytes as a number without a sign."""
        return int.from_bytes(self.read(size), "little")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def push_made(self, value: Any) -> None:
        """Put a value on the stack that was made of others."""
        self._nesting.check_made(value)
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the topmost value."""
        return self._stack.pop()

    def pop_marked(self) -> list[Any]:
        """Take all values above the last mark."""
        values, self._stack = self._stack, self._below.pop()
        return values

    def take(self, count: int) -> tuple[Any, ...]:
        """Take the topmost values as a tuple."""
        if len(self._stack) < count:
            raise Refused("values are missing")
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        return values

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def memoize(self) -> None:
        self._memo.append(self._stack[-1])

    def get(self, size: int) -> None:
        self.push(self._memo[self.number(size)])

    def find(self) -> None:
        module, name = self.take(2)
        if type(module) is not str or type(name) is not str:
            raise Refused("a name is no text")
        self.push(self._admitted.find(module, name))

    def call(self) -> None:
        function, arguments = self.take(2)
        if type(arguments) is not tuple or not self._admitted.may_call(function):
            raise Refused(f"reading a model does not call {_name_of(function)}")
        self._nesting.check_hashed((arguments,))
        self.push_made(function(*arguments))

    def new(self) -> None:
        cls, arguments = self.take(2)
        if type(arguments) is not tuple or not isinstance(cls, type) or not self._admitted.may_call(cls):
            raise Refused(f"a model has no object of {_name_of(cls)}")
        self._nesting.check_hashed((arguments,))
        self.push_made(cls.__new__(cls, *arguments))

    def build(self) -> None:
        """Set the state of an object, never that of a class or function."""
        state = self.pop()
        made = self._stack[-1]
        self._admitted.check_state(made, state)
        if type(state) is tuple and type(state[-1]) is list:
            self._nesting.check_elements(state[-1])
        set_state = getattr(type(made), "__setstate__", None)
        if set_state is not None:
            set_state(made, state)
            return
        attributes, slots = state if type(state) is tuple else (state, None)
        for name, value in (attributes or {}).items():
            made.__dict__[sys.intern(name)] = value
        for name, value in (slots or {}).items():
            if name.startswith("__"):
                raise Refused(f"a model does not set {name}")
            setattr(made, name, value)

    def extend(self) -> None:
        values = self.pop_marked()
        target = self._stack[-1]
        if not isinstance(target, list | deque):
            raise Refused(f"{type(target).__name__} is no list")
        target.extend(values)

    def set_items(self) -> None:
        values = self.pop_marked()
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise Refused(f"{type(target).__name__} is no dict")
        self._nesting.check_hashed(values[::2])
        for place in range(0, len(values), 2):
            target[values[place]] = values[place + 1]

    def add_items(self) -> None:
        values = self.pop_marked()
        target = self._stack[-1]
        if type(target) is not set:
            raise Refused(f"{type(target).__name__} is no set")
        self._nesting.check_hashed(values)
        target.update(values)

    def freeze(self) -> None:
        values = self.pop_marked()
        self._nesting.check_hashed(values)
        self.push_made(frozenset(values))

    def one(self, step: _Step, count: int) -> None:
        """An instruction for the values above a mark, with the topmost values."""
        values = list(self.take(count))
        self._below.append(self._stack)
        self._stack = values
        step(self)


def _name_of(found: Any) -> str:
    """A name for a message. `repr` would call the code of the object."""
    return f"the class {found.__qualname__}" if isinstance(found, type) else f"a {type(found).__name__}"


def _text(size: int) -> _Step:
    return lambda machine: machine.push(str(machine.read(machine.number(size)), "utf-8", "surrogatepass"))


def _bytes(size: int) -> _Step:
    return lambda machine: machine.push(machine.read(machine.number(size)))


def _constant(value: Any) -> _Step:
    return lambda machine: machine.push(value)


def _tuple(count: int) -> _Step:
    return lambda machine: machine.push_made(machine.take(count))


_STEPS: dict[int, _Step] = {
    code[0]: step
    for code, step in (
        (pickle.PROTO, lambda machine: machine.read(1)),
        (pickle.FRAME, lambda machine: machine.read(8)),
        (pickle.MARK, _Machine.mark),
        (pickle.MEMOIZE, _Machine.memoize),
        (pickle.BINGET, lambda machine: machine.get(1)),
        (pickle.LONG_BINGET, lambda machine: machine.get(4)),
        (pickle.POP, lambda machine: machine.pop()),
        (pickle.POP_MARK, lambda machine: machine.pop_marked()),
        (pickle.NONE, _constant(None)),
        (pickle.NEWTRUE, _constant(True)),
        (pickle.NEWFALSE, _constant(False)),
        (pickle.BININT, lambda machine: machine.push(int.from_bytes(machine.read(4), "little", signed=True))),
        (pickle.BININT1, lambda machine: machine.push(machine.number(1))),
        (pickle.BININT2, lambda machine: machine.push(machine.number(2))),
        (
            pickle.LONG1,
            lambda machine: machine.push(
                int.from_bytes(machine.read(machine.number(1)), "little", signed=True)
            ),
        ),
        (pickle.BINFLOAT, lambda machine: machine.push(struct.unpack(">d", machine.read(8))[0])),
        (pickle.SHORT_BINUNICODE, _text(1)),
        (pickle.BINUNICODE, _text(4)),
        (pickle.BINUNICODE8, _text(8)),
        (pickle.SHORT_BINBYTES, _bytes(1)),
        (pickle.BINBYTES, _bytes(4)),
        (pickle.BINBYTES8, _bytes(8)),
        (pickle.BYTEARRAY8, lambda machine: machine.push(bytearray(machine.read(machine.number(8))))),
        (pickle.EMPTY_TUPLE, _constant(())),
        (pickle.EMPTY_LIST, lambda machine: machine.push([])),
        (pickle.EMPTY_DICT, lambda machine: machine.push({})),
        (pickle.EMPTY_SET, lambda machine: machine.push(set())),
        (pickle.TUPLE, lambda machine: machine.push_made(tuple(machine.pop_marked()))),
        (pickle.TUPLE1, _tuple(1)),
        (pickle.TUPLE2, _tuple(2)),
        (pickle.TUPLE3, _tuple(3)),
        (pickle.FROZENSET, _Machine.freeze),
        (pickle.STACK_GLOBAL, _Machine.find),
        (pickle.REDUCE, _Machine.call),
        (pickle.NEWOBJ, _Machine.new),
        (pickle.BUILD, _Machine.build),
        (pickle.APPEND, lambda machine: machine.one(_Machine.extend, 1)),
        (pickle.APPENDS, _Machine.extend),
        (pickle.SETITEM, lambda machine: machine.one(_Machine.set_items, 2)),
        (pickle.SETITEMS, _Machine.set_items),
        (pickle.ADDITEMS, _Machine.add_items),
    )
}
"""The instructions that a model needs, by their code. None of the others is known."""
