"""Which blocks of a text are its program: those that define what the tests need. Standard library only.

Texts show more code than the program: how to call it, tests of their own, what it prints, an earlier version. The tests
say what is needed: the names that they use and do not define. A needed name is taken from the last block that defines
it as a function or class, so a later version replaces an earlier one; else from the last that assigns it, else imports
it (or all of a module of the standard library that has it). What a taken block uses and does not define is taken from
other blocks likewise, the nearest before it if it is only assigned or imported there; and a function that is used by
what is needed is taken from a later block that defines it anew. A function that says nothing, or only that it is not
implemented, is as good as an import. Blocks that define nothing of all this do not run. They are run whole, in the
order of the text.

Code of a text is hostile: `chosen` parses it, and belongs in a confined process.
"""

import ast
import builtins
import re
import symtable
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Final, NamedTuple

_PYTHON = re.compile(r"(?:i|c|pypy|micro|circuit)?py(?:thon)?[-_]?[\d.]*|pypy[\d.]*|[\w./\\-]+\.pyi?")

DEFINED: Final = re.compile(
    r"""
    (?: (?:async[ ]{1,4}+)?+ (def) | class )[ ]{1,4}+ ([^\W\d]\w*+)
    | ([^\W\d]\w*+)[ ]{0,4}+ (?: :[^=]{1,80}+ )?+ =[^=]
    """,
    re.VERBOSE,
)
"""A line that defines a name: `def` or none, and the name of a function or class, or the name that is assigned."""

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITION, _ASSIGNMENT, _IMPORT = 2, 1, 0


def is_python(language: str) -> bool:
    """Say whether a block's language (lower case) is Python; blocks that name none may be, too."""
    return _PYTHON.fullmatch(language) is not None


def needed(tests: str) -> frozenset[str]:
    """Return the names that tests use and do not define, those of the builtins too, and what they import of `solution`.

    Raises SyntaxError, ValueError or RecursionError for what is not Python.
    """
    top = symtable.symtable(tests, "<tests>", "exec")
    names = _used(top) - _bound(top)
    modules = set[str]()
    for node in (nodes := list(ast.walk(ast.parse(tests)))):
        if isinstance(node, ast.ImportFrom) and node.module == "solution":
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            modules |= {name.asname or name.name for name in node.names if name.name == "solution"}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            names.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
            module, name = node.args[:2]
            if ast.unparse(module) in modules and isinstance(name, ast.Constant):
                names.add(str(name.value))
    return frozenset(names)


def chosen(blocks: list[tuple[bool, str]], names: Iterable[str]) -> list[int]:
    """Return the numbers of the blocks that make up the program which defines `names`, in their order.

    blocks: of each, whether it is said to be Python, and its content. If none defines any of the names, the last one
        that is said to be Python is the program, or else the last one.
    """
    if len(blocks) == 1:
        return [0]
    parts = [_read(content, tagged=tagged) for tagged, content in blocks]
    where = defaultdict[str, dict[int, list[int]]](lambda: {_DEFINITION: [], _ASSIGNMENT: [], _IMPORT: []})
    for number, part in enumerate(parts):
        for name, level in part.binds.items():
            where[name][level].append(number)

    def source(name: str, home: int) -> int | None:
        """Return the block that `name` is taken from, which is used in the block `home`."""
        if name not in where:
            return None
        defined = where[name][_DEFINITION]
        if home < len(parts) and name in parts[home].binds:
            return defined[-1] if defined and defined[-1] > home else None
        if defined:
            return defined[-1]
        for level in () if hasattr(builtins, name) else (_ASSIGNMENT, _IMPORT):
            if numbers := where[name][level]:
                return numbers[max(0, bisect_left(numbers, home) - 1)]
        return None

    taken = set[int]()
    waiting = [(name, len(parts)) for name in sorted(names)]
    seen = set(waiting)
    while waiting:
        name, home = waiting.pop()
        found = source(name, home)
        number = home if found is None else found  # its own definition may use what another block defines anew
        if found is not None:
            taken.add(found)
        if number == len(parts):
            continue
        for use in (*parts[number].uses.get(name, ()), *parts[number].lacks):
            if (use, number) not in seen:
                seen.add((use, number))
                waiting.append((use, number))
    tagged = [number for number, (said, _) in enumerate(blocks) if said]
    return sorted(taken) or [tagged[-1] if tagged else len(blocks) - 1]


class _Part(NamedTuple):
    """What a block `binds`, and how; what the definition of each name `uses`; and what the block uses and `lacks`."""

    binds: dict[str, int]
    uses: dict[str, set[str]]
    lacks: set[str]


def _read(content: str, *, tagged: bool) -> _Part:
    try:
        tree, top = ast.parse(content), symtable.symtable(content, "<block>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # A broken version is a version: an earlier one does not stand in for it.
        found = map(DEFINED.match, content.splitlines()) if tagged else ()
        return _Part({match[2]: _DEFINITION for match in found if match and match[2]}, {}, set())
    bound = _bound(top)
    binds = {name: _IMPORT if top.lookup(name).is_imported() else _ASSIGNMENT for name in bound}
    uses = defaultdict[str, set[str]](set)
    for child in top.get_children():
        uses[child.get_name()] |= _used(child)
    for node in _statements(tree.body):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            binds |= {name: _IMPORT for name in _exported(node.module or "") if name not in binds}
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            binds[node.name] = _IMPORT if _is_stub(node) else _DEFINITION
            around = [*node.decorator_list, *(node.bases if isinstance(node, ast.ClassDef) else [node.args])]
            uses[node.name] |= {name.id for part in around for name in ast.walk(part) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    binds[target.id] = _DEFINITION
                    uses[target.id] |= {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
    return _Part(binds, uses, _used(top) - bound)


def _exported(module: str) -> list[str]:
    """Return the names that a module of the standard library gives to who imports all of it."""
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return []
    try:
        names = vars(import_module(module))
    except Exception:  # it may not work here
        return []
    return list(names.get("__all__") or (name for name in names if not name.startswith("_")))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module's own scope, those within other statements too."""
    waiting: list[ast.AST] = [*body[::-1]]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, (*_FUNCTION, ast.ClassDef, ast.expr)):
            waiting += [*ast.iter_child_nodes(node)][::-1]


def _is_stub(node: ast.stmt) -> bool:
    """Say whether a function shows its signature alone."""

    def says_nothing(part: ast.stmt) -> bool:
        if isinstance(part, ast.Raise) and part.exc is not None:
            raised = part.exc.func if isinstance(part.exc, ast.Call) else part.exc
            return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
        return isinstance(part, ast.Pass) or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))

    return isinstance(node, _FUNCTION) and all(map(says_nothing, node.body))


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    waiting = [table]
    while waiting:
        yield (table := waiting.pop())
        waiting += table.get_children()


def _used(table: symtable.SymbolTable) -> set[str]:
    """Return the names of the module that are used in a scope or the scopes within it."""
    return {
        symbol.get_name()
        for inner in _tables(table)
        for symbol in inner.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or inner.get_type() == "module")
    }


def _bound(top: symtable.SymbolTable) -> set[str]:
    """Return the names that a module binds, in its functions too."""
    return {
        symbol.get_name()
        for inner in _tables(top)
        for symbol in inner.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported())
        and (inner.get_type() == "module" or symbol.is_declared_global())
    }
