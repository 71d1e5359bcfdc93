"""What a method can call, as far as Python lets one see: modules, generators, weights."""

import builtins
import functools
import random
import sys
import sysconfig
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinMethodType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parameter import is_lazy

from captum_certified._captum import MethodArguments

__all__ = ["Reachable", "called_modules", "wrapped_chain"]

# The search stops here. Models have fewer objects; lists that hold data sets have more.
_MOST_OBJECTS = 100_000
_LONG_CONTAINER = 10_000
_WITHOUT_CONTENTS = (str, bytes, int, float, complex, bool, type(None), Tensor, np.ndarray, ModuleType, CodeType)
# Globals and classes of installed packages are skipped: they hold nothing of the user's.
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)


def wrapped_chain(method: object) -> Iterator[object]:
    """The method, the method it wraps, and so on."""
    seen: set[int] = set()
    while method is not None and id(method) not in seen:
        seen.add(id(method))
        yield method
        method = getattr(method, "attribution_method", None) or getattr(method, "layer_attribution", None)


class Reachable:
    """Everything that can be reached from a method: attributes, containers, closures, and the globals that are named.

    Of a class only what the functions found so far name is followed: ``forward`` and what it calls, but neither
    ``__init__`` nor a training step.

    Args:
        method: The method.
        arguments: Arguments of its call, which may hold more.

    Attributes:
        modules: Modules that are no part of others, in the order in which they are found.
        generators: Random generators that somebody keeps, each with the type of the object that holds it.
        compiled: Whether something is compiled by ``torch.compile``.
    """

    def __init__(self, method: object, arguments: MethodArguments | None = None) -> None:
        self.modules: list[nn.Module] = []
        self.generators: list[tuple[object, str]] = []
        self.compiled = False
        self._parts: set[int] = set()
        self._seen: dict[int, object] = {}  # holds what is seen, so that no address is used again
        self._named = {"forward", "__call__"}
        self._waiting: dict[str, list[tuple[object, str]]] = {}  # attributes of classes that nobody has named yet
        self._pending: deque[tuple[object, str]] = deque((inner, "the method") for inner in wrapped_chain(method))
        if arguments:
            self._pending.append((dict(arguments), "the arguments"))
        self._search()

    def add(self, modules: list[nn.Module]) -> None:
        """Add modules that were seen to be called."""
        self._pending.extend((module, "a model that was called") for module in modules)
        self._search()

    def _search(self) -> None:
        budget = len(self._seen) + _MOST_OBJECTS
        while self._pending and len(self._seen) < budget:
            self._visit(*self._pending.popleft())
        self._pending.clear()

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """All modules with their names, parts of others after them."""
        for module in self.modules:
            yield from module.named_modules()

    def has(self, *kinds: type[nn.Module]) -> bool:
        """Whether a module of some kinds can be reached."""
        return any(isinstance(module, kinds) for _, module in self.named_modules())

    def tensors(self) -> list[Tensor]:
        """Parameters and buffers once each, without those that have no values yet."""
        each = {id(t): t for m in self.modules for t in (*m.parameters(), *m.buffers())}
        return [tensor for tensor in each.values() if not is_lazy(tensor)]

    def states(self) -> list[tuple[object, str, str]]:
        """The generators that were found, who holds them, and their states."""
        return [(generator, holder, _state_of(generator)) for generator, holder in self.generators]

    def buffers(self) -> dict[tuple[int, str], Tensor]:
        """Buffers that have values, by the address of the model and their name in it."""
        named = {(id(m), name): buffer for m in self.modules for name, buffer in m.named_buffers()}
        return {key: buffer for key, buffer in named.items() if not is_lazy(buffer)}

    def _visit(self, item: Any, holder: str) -> None:
        if isinstance(item, _WITHOUT_CONTENTS) or id(item) in self._seen:
            return
        self._seen[id(item)] = item
        if isinstance(item, _GENERATORS):
            if not _is_global(item):
                self.generators.append((item, holder))
        elif isinstance(item, nn.Module):
            self._visit_module(item)
        elif isinstance(item, functools.partial):
            self._follow(holder, item.func, *item.args, *item.keywords.values())
        elif isinstance(item, (MethodType, BuiltinMethodType)):
            self._follow(holder, getattr(item, "__self__", None), getattr(item, "__func__", None))
        elif isinstance(item, FunctionType):
            self._visit_function(item)
        elif isinstance(item, type):
            self._visit_class(item)
        elif isinstance(item, (staticmethod, classmethod)):
            self._follow(holder, item.__func__)
        elif isinstance(item, property):
            self._follow(holder, item.fget)
        elif isinstance(item, weakref.ref):
            self._follow(holder, item())
        elif isinstance(item, (dict, MappingProxyType)):  # others may read what they give from elsewhere
            if len(item) <= _LONG_CONTAINER:
                self._follow(holder, *item.values())
        elif isinstance(item, (list, tuple, set, frozenset, deque)):
            if len(item) <= _LONG_CONTAINER:
                self._follow(holder, *item)
        else:
            self._visit_object(item)

    def _follow(self, holder: str, *items: object) -> None:
        self._pending.extend((item, holder) for item in items)

    def _visit_module(self, module: nn.Module) -> None:
        if id(module) not in self._parts:
            parts = {id(part) for part in module.modules()}
            self.modules = [known for known in self.modules if id(known) not in parts]
            self._parts |= parts
            self.modules.append(module)
        self.compiled |= hasattr(module, "_orig_mod")
        self._follow(type(module).__name__, *module.children())
        self._visit_object(module)

    def _visit_object(self, item: object) -> None:
        slots = (getattr(item, slot, None) for slot in _slots(type(item)))
        self._follow(type(item).__name__, *getattr(item, "__dict__", {}).values(), *slots, *type(item).__mro__)

    def _visit_class(self, kind: type) -> None:
        if not _is_installed(kind.__module__):
            for name, value in vars(kind).items():
                if name in self._named:
                    self._follow(kind.__name__, value)
                else:
                    self._waiting.setdefault(name, []).append((value, kind.__name__))

    def _visit_function(self, function: FunctionType) -> None:
        self.compiled |= hasattr(function, "_torchdynamo_orig_callable")
        name = f"the function {function.__name__}"
        if not _is_installed(function.__module__ or ""):
            self._follow(name, *_globals(function))
            for named in sorted(_names(function.__code__) - self._named):
                self._named.add(named)
                self._pending.extend(self._waiting.pop(named, ()))
        cells = [_contents(cell) for cell in function.__closure__ or ()]
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        self._follow(name, *cells, *defaults, *vars(function).values())


@contextmanager
def called_modules(*, watch: bool) -> Iterator[list[nn.Module]]:
    """The modules whose forward pass this thread runs within the block, if it is to be watched."""
    found: list[nn.Module] = []
    if not watch:
        yield found
        return
    called: dict[int, nn.Module] = {}
    thread = threading.get_ident()

    def note(module: nn.Module, _inputs: object, _output: object) -> None:
        if threading.get_ident() == thread:
            called[id(module)] = module

    handle = register_module_forward_hook(note)
    try:
        yield found
    finally:
        handle.remove()
        parts = {id(part) for module in called.values() for part in module.modules() if part is not module}
        found += [module for key, module in called.items() if key not in parts]


def _state_of(generator: Any) -> str:
    """The state of a generator as text, to see whether anybody drew from it."""
    if isinstance(generator, torch.Generator):
        return str(generator.get_state().tolist())
    if isinstance(generator, random.Random):
        return str(generator.getstate())
    if isinstance(generator, np.random.RandomState):
        return str([part.tolist() if isinstance(part, np.ndarray) else part for part in generator.get_state()])
    bits = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    return str(bits.state)


def _is_global(generator: object) -> bool:
    """Whether it is one of the generators that are seeded for every call and put back."""
    known: list[object] = [torch.default_generator, getattr(random.seed, "__self__", None)]
    known.append(getattr(np.random.rand, "__self__", None))  # the object behind numpy.random's functions
    if torch.cuda.is_available():
        known += torch.cuda.default_generators
    bits = getattr(known[2], "_bit_generator", None)
    return any(generator is one for one in (*known, bits))


@functools.cache
def _is_installed(module: str) -> bool:
    """Whether a module is of the standard library, or a package that was installed."""
    known = sys.modules.get(module)
    file = getattr(known, "__file__", None)
    ours = module.partition(".")[0] == __name__.partition(".")[0]
    return ours or (known is not None and module != "__main__" and (file is None or file.startswith(_INSTALLED)))


def _globals(function: FunctionType) -> Iterator[object]:
    """The globals that a function names, and what it may name of the user's own modules among them."""
    names = _names(function.__code__)
    for name in sorted(names - vars(builtins).keys()):  # in the same order in every process
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType) and not _is_installed(value.__name__):
            yield from (vars(value)[inner] for inner in sorted(names) if inner in vars(value))


def _names(code: CodeType) -> set[str]:
    """Names that a function looks up, and the functions within it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*(_names(one) for one in inner))


def _contents(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


def _slots(kind: type) -> Iterator[str]:
    """Names of the attributes that are kept in slots, private ones as Python spells them."""
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            yield f"_{base.__name__.lstrip('_')}{name}" if private else name
