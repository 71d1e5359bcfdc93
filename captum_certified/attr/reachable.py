"""Search for the modules, tensors and random generators that a method can use, as far as Python code can find them."""

import builtins
import functools
import sys
import sysconfig
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinMethodType, CellType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parameter import is_lazy

from captum_certified._captum import MethodArguments
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.attr.private_generators import PrivateGenerator, RandomGenerator, is_global
from captum_certified.storage import digest

__all__ = ["BufferDigests", "Reachable", "called_modules"]

# Largest number of objects that the search visits, and largest length of a container whose items it visits. Models stay
# below these limits, but data sets do not.
_MOST_OBJECTS = 100_000
_LONGEST_CONTAINER = 10_000
_WITHOUT_CONTENTS = (str, bytes, int, float, complex, bool, type(None), Tensor, np.ndarray, ModuleType, CodeType)
# Globals and classes of installed packages hold no objects of the user, so they are skipped.
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})

# Digests of buffers, by the id of the model and the name of the buffer.
BufferDigests = Mapping[tuple[int, str], str]


class Reachable:
    """Objects that a method can reach through attributes, items of containers, closures, and globals in its code.

    An attribute of a class is followed only if the code found so far names it. The search thus follows ``forward`` and
    what it calls, but neither ``__init__`` nor a training step.

    Args:
        method: The method.
        arguments: Arguments of a call of the method, which are searched too.

    Attributes:
        modules: Modules that were found, in the order of the search, without those that are part of another module.
        generators: Random generators that some object keeps for itself.
        compiled: Whether anything was compiled by ``torch.compile``.
    """

    def __init__(self, method: object, arguments: MethodArguments | None = None) -> None:
        self.modules: list[nn.Module] = []
        self.generators: list[PrivateGenerator] = []
        self.compiled = False
        self._module_ids: set[int] = set()
        self._seen: dict[int, object] = {}  # keeps the objects alive, so that no id is used again
        self._names_in_code = {"forward", "__call__"}
        self._unnamed_attributes: dict[str, list[tuple[object, str]]] = {}  # class attributes that no code names so far
        self._pending: deque[tuple[object, str]] = deque((inner, "the method") for inner in wrapped_chain(method))
        if arguments:
            self._pending.append((dict(arguments), "the arguments"))
        self._search()

    def add(self, modules: list[nn.Module]) -> None:
        """Add modules that were called, and everything that can be reached from these modules."""
        self._pending.extend((module, "a model that was called") for module in modules)
        self._search()

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield all modules with their names, each model before its parts."""
        for module in self.modules:
            yield from module.named_modules()

    def has(self, *kinds: type[nn.Module]) -> bool:
        """Return whether a module of one of the given classes can be reached."""
        return any(isinstance(module, kinds) for _, module in self.named_modules())

    def tensors(self) -> list[Tensor]:
        """Return every parameter and buffer once, except lazy ones that have no values yet."""
        each = {id(t): t for m in self.modules for t in (*m.parameters(), *m.buffers())}
        return [tensor for tensor in each.values() if not is_lazy(tensor)]

    def generator_states(self) -> dict[int, str]:
        """Return the states of the generators by their ids."""
        return {id(private.generator): private.state() for private in self.generators}

    def buffer_digests(self) -> BufferDigests:
        """Return digests of the buffers. Unlike ids of tensors, digests show a change of a buffer in place."""
        return {key: digest(buffer) for key, buffer in self._buffers().items()}

    def changed_buffers(self, before: BufferDigests) -> dict[str, Tensor]:
        """Return, by name, the buffers that have changed since the digests ``before`` were taken."""
        now = self._buffers()
        return {key[1]: now[key] for key, known in before.items() if key in now and digest(now[key]) != known}

    def _buffers(self) -> dict[tuple[int, str], Tensor]:
        """Return the buffers that have values. A key is the id of a model and the name of a buffer in it."""
        named = {(id(m), name): buffer for m in self.modules for name, buffer in m.named_buffers()}
        return {key: buffer for key, buffer in named.items() if not is_lazy(buffer)}

    def _search(self) -> None:
        budget = len(self._seen) + _MOST_OBJECTS
        while self._pending and len(self._seen) < budget:
            item, holder = self._pending.popleft()
            if not isinstance(item, _WITHOUT_CONTENTS) and id(item) not in self._seen:
                self._seen[id(item)] = item
                self._search_in(item, holder)
        self._pending.clear()

    def _search_in(self, item: object, holder: str) -> None:
        """Record an object if it is a module or a generator, and follow everything that it holds."""
        if isinstance(item, RandomGenerator):
            if not is_global(item):
                self.generators.append(PrivateGenerator(item, holder))
        elif isinstance(item, nn.Module):
            self._search_in_module(item)
        elif isinstance(item, functools.partial):
            self._follow(holder, item.func, *item.args, *item.keywords.values())
        elif isinstance(item, (MethodType, BuiltinMethodType)):
            self._follow(holder, getattr(item, "__self__", None), getattr(item, "__func__", None))
        elif isinstance(item, FunctionType):
            self._search_in_function(item)
        elif isinstance(item, type):
            self._search_in_class(item)
        elif isinstance(item, (staticmethod, classmethod)):
            self._follow(holder, item.__func__)
        elif isinstance(item, property):
            self._follow(holder, item.fget)
        elif isinstance(item, weakref.ref):
            self._follow(holder, item())
        elif isinstance(item, (dict, MappingProxyType)):  # other mappings may compute their values
            if len(item) <= _LONGEST_CONTAINER:
                self._follow(holder, *item.values())
        elif isinstance(item, (list, tuple, set, frozenset, deque)):
            if len(item) <= _LONGEST_CONTAINER:
                self._follow(holder, *item)
        else:
            self._search_in_attributes(item)

    def _follow(self, holder: str, *items: object) -> None:
        """Put objects into the queue of the search, with the name of the object that holds them."""
        self._pending.extend((item, holder) for item in items)

    def _search_in_module(self, module: nn.Module) -> None:
        if id(module) not in self._module_ids:
            ids = {id(part) for part in module.modules()}
            self.modules = [known for known in self.modules if id(known) not in ids]
            self._module_ids |= ids
            self.modules.append(module)
        self.compiled |= hasattr(module, "_orig_mod")
        self._follow(type(module).__name__, *module.children())
        self._search_in_attributes(module)

    def _search_in_attributes(self, item: object) -> None:
        slots = (getattr(item, slot, None) for slot in _slots(type(item)))
        self._follow(type(item).__name__, *getattr(item, "__dict__", {}).values(), *slots, *type(item).__mro__)

    def _search_in_class(self, kind: type) -> None:
        if not _is_installed(kind.__module__):
            for name, value in vars(kind).items():
                if name in self._names_in_code:
                    self._follow(kind.__name__, value)
                else:
                    self._unnamed_attributes.setdefault(name, []).append((value, kind.__name__))

    def _search_in_function(self, function: FunctionType) -> None:
        self.compiled |= hasattr(function, "_torchdynamo_orig_callable")
        holder = f"the function {function.__name__}"
        if not _is_installed(function.__module__ or ""):
            self._follow(holder, *_named_globals(function))
            for name in sorted(_names(function.__code__) - self._names_in_code):
                self._names_in_code.add(name)
                self._pending.extend(self._unnamed_attributes.pop(name, ()))
        cells = [_contents(cell) for cell in function.__closure__ or ()]
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        self._follow(holder, *cells, *defaults, *vars(function).values())


@contextmanager
def called_modules(*, watch: bool) -> Iterator[list[nn.Module]]:
    """Collect the modules that this thread calls within the block, unless ``watch`` is false.

    The yielded list is filled at the end of the block. It gets the called modules that are not part of another called
    module.
    """
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


@functools.cache
def _is_installed(module: str) -> bool:
    """Return whether a module belongs to the standard library, an installed package, or this package."""
    known = sys.modules.get(module)
    file = getattr(known, "__file__", None)
    ours = module.partition(".")[0] == __name__.partition(".")[0]
    return ours or (known is not None and module != "__main__" and (file is None or file.startswith(_INSTALLED)))


def _named_globals(function: FunctionType) -> Iterator[object]:
    """Yield the globals that a function names. If a global is a module of the user, yield its named members too."""
    names = _names(function.__code__)
    for name in sorted(names - vars(builtins).keys()):  # sorted, to have the same order in every process
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType) and not _is_installed(value.__name__):
            yield from (vars(value)[inner] for inner in sorted(names) if inner in vars(value))


def _names(code: CodeType) -> set[str]:
    """Return all names that the code of a function, and of the functions defined inside it, uses."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*(_names(one) for one in inner))


def _contents(cell: CellType) -> object:
    """Return the value in a cell of a closure; ``None`` for a name that has no value yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _slots(kind: type) -> Iterator[str]:
    """Yield the names of the attributes that are kept in slots, with mangled names of private attributes."""
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            yield f"_{base.__name__.lstrip('_')}{name}" if private else name
