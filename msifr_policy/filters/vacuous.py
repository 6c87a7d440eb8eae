"""Tests that cannot fail: code that passes whatever the program does, found before a program is accepted by it.

What can fail is an assertion whose condition may be false, a `raise`, a call that ends the process, and a call of what
checks: a function of the tests that can fail itself, or one from elsewhere that is named like a check (`assert_equal`,
`check`, `verify`, `main`). It counts where it can be reached: not in a function that is never called, under a condition
that is never true, after a `return`, or where the failure is caught and dropped. Running the program without looking at
what it gives, as in `f(2)`, `print(f(2))` or `f(2) == 4`, asserts nothing.

The analysis errs on one side: tests are called vacuous only if every way to fail that is known here is ruled out.
"""

import ast
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_CHECK: Final = re.compile(
    r"_*(?:assert|fail|abort|kill|check|verif|expect|ensure|require|validate|raise|run|main|_?exit|quit|skip)", re.I
)
"""How what checks is named, as a method or as a function; a function may be called `test…`, too."""
_DYNAMIC = frozenset({"exec", "eval", "globals", "locals", "vars", "getattr", "compile", "__import__"})
_ANY = "any exception"
_EVERYTHING = frozenset({_ANY, "BaseException"})
_KNOWN_TRUE = (ast.Lambda, ast.GeneratorExp)


class Flaw(NamedTuple):
    """Why something cannot fail: what is wrong, and what to do."""

    line: int
    what: str
    remedy: str


def flaw(tree: ast.Module, *, methods: Iterable[ast.stmt] = ()) -> Flaw | None:
    """Return why no statement of the tests can fail, by their first flaw; None if one may.

    methods: functions of the tests that are run besides its statements.
    """
    analysis = _Analysis(tree)
    try:
        if analysis.raised(tree.body).union(*map(analysis.raised_by, methods)):
            return None
        # The functions that are not reached tell most: what could fail stands there.
        for function in analysis.functions:
            if function not in analysis.entered and analysis.raised_by(function):
                what = f"function {function.name!r} is never called"
                return Flaw(function.lineno, what, f"call it: {function.name}(…)")
    except RecursionError:
        return None
    nothing = Flaw(1, "nothing is asserted", "add `assert` statements that are false if the program is wrong")
    return min(analysis.flaws, default=nothing)


class _Analysis:
    """What statements can raise if the program is wrong: names of exceptions, `_ANY` where it is not known.

    `functions` are those of the tests, `entered` those that were followed, `flaws` what was found to have no effect.
    """

    def __init__(self, tree: ast.Module) -> None:
        _Constants(tree).visit(tree)
        nodes = list(ast.walk(tree))
        self.functions = [node for node in nodes if isinstance(node, _FUNCTION)]
        self.entered = set[ast.stmt]()
        self.flaws = set[Flaw]()
        self._known: dict[ast.stmt, frozenset[str]] = {}
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        self._named = {part.asname: part.name for node in imports for part in node.names if part.asname}
        self._by_name: dict[str, list[ast.stmt]] = {}
        for function in self.functions:
            self._by_name.setdefault(function.name, []).append(function)
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                # To make or to use an object may run any of its special methods.
                special = [part for part in node.body if isinstance(part, _FUNCTION) and part.name.startswith("__")]
                self._by_name.setdefault(node.name, []).extend(special)
        dynamic = {node.id for node in nodes if isinstance(node, ast.Name)} & _DYNAMIC
        self._all_run = bool(dynamic)  # by a name that is not written there

    def raised_by(self, function: ast.stmt) -> frozenset[str]:
        """Return what calling a function of the tests can raise."""
        if function not in self._known:
            points = any(isinstance(node, (ast.Assert, ast.Raise)) for node in ast.walk(function))
            self._known[function] = _EVERYTHING if points else frozenset()  # where it calls itself
            self._known[function] = self.raised(getattr(function, "body", []))
        return self._known[function]

    def raised(self, body: list[ast.stmt]) -> frozenset[str]:
        """Return what running these statements can raise."""
        found = frozenset[str]()
        for node in body:
            found |= self._statement(node)
            if isinstance(node, (ast.Return, ast.Raise, ast.Break, ast.Continue)):
                break
        return found

    def _statement(self, node: ast.stmt) -> frozenset[str]:
        if isinstance(node, ast.Assert):
            return self._assertion(node)
        if isinstance(node, ast.Raise):
            return frozenset({_name(node.exc) or _ANY})
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            # What decorates a function may call it.
            called = isinstance(node, _FUNCTION) and bool(node.decorator_list) and not _is_plain(node)
            return self._enter([node]) if called or (self._all_run and isinstance(node, _FUNCTION)) else frozenset()
        if isinstance(node, (ast.If, ast.While)):
            may_be_true, may_be_false = _truth(node.test)
            found = self._expression(node.test)
            found |= self._unless(may_be_true, node.body, node)
            return found | (self.raised(node.orelse) if may_be_false else frozenset())
        if isinstance(node, (ast.For, ast.AsyncFor)):
            found = self._expression(node.iter) | self._unless(not _is_empty(node.iter), node.body, node)
            return found | self.raised(node.orelse)
        if isinstance(node, (ast.Try, ast.TryStar)):
            return self._try(node)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            found = self.raised(node.body)
            for item in node.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and _name(call.func) == "suppress":
                    found = self._caught(found, [_name(part) for part in call.args], node)
                else:
                    found |= self._expression(call)
            return found
        if isinstance(node, ast.Match):
            cases = [self.raised(case.body) for case in node.cases]
            return self._expression(node.subject).union(*cases)
        if isinstance(node, ast.Expr):
            return self._alone(node.value)
        found = frozenset[str]()
        for part in ast.iter_child_nodes(node):
            found |= self._expression(part)
        return found

    def _assertion(self, node: ast.Assert) -> frozenset[str]:
        found = self._expression(node.test)
        if _truth(node.test)[1]:
            return found | {"AssertionError"}
        what, remedy = "", "assert something that is false if the program is wrong"
        if isinstance(node.test, ast.Tuple):
            what, remedy = ", as a tuple that is not empty is", "remove the parentheses: assert CONDITION, MESSAGE"
        elif isinstance(node.test, _KNOWN_TRUE):
            kind = "a lambda" if isinstance(node.test, ast.Lambda) else "a generator"
            what, remedy = f", as {kind} is", "call it" if kind == "a lambda" else "put it in all(…)"
        self.flaws.add(Flaw(node.lineno, f"the assertion is always true{what}", remedy))
        return found

    def _unless(self, runs: bool, body: list[ast.stmt], node: ast.stmt) -> frozenset[str]:
        found = self.raised(body)
        if runs:
            return found
        if found:
            what = "what could fail stands under a condition that is never true here"
            self.flaws.add(Flaw(node.lineno, what, "move it out; the tests are not the main module"))
        return frozenset()

    def _try(self, node: ast.Try | ast.TryStar) -> frozenset[str]:
        found, answers = self.raised(node.body), frozenset[str]()
        for handler in node.handlers:
            types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            answer = self.raised(handler.body)
            names = ["BaseException" if part is None else _name(part) for part in types]
            found = self._caught(found, names, handler if not answer else None)
            answers |= answer
        return found | answers | self.raised(node.orelse) | self.raised(node.finalbody)

    def _caught(self, found: frozenset[str], names: list[str], where: ast.AST | None) -> frozenset[str]:
        """Return what is left of what was raised once the exceptions of these names are caught."""
        left = found - set(names)
        if "BaseException" in names:
            left = frozenset()
        elif "Exception" in names:
            left &= {"SystemExit", "KeyboardInterrupt"}
        if found and not left and where is not None:
            what = "what could fail is caught, and dropped"
            self.flaws.add(Flaw(getattr(where, "lineno", 1), what, "raise it again, or catch less"))
        return left

    def _alone(self, value: ast.expr) -> frozenset[str]:
        """Return what an expression can raise whose value is not used."""
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            name = value.func.id
            lazy = [function for function in self._by_name.get(name, ()) if is_lazy(function)]
            if lazy or name in ("map", "filter"):
                what = f"what {name}(…) gives is not used, so it never runs"
                self.flaws.add(Flaw(value.lineno, what, "await it, or go through it"))
                mentioned = {_name(part) for part in ast.walk(value)}
                self.entered.update(*(self._by_name[part] for part in mentioned & self._by_name.keys()))
                return frozenset()
        if isinstance(value, (ast.BinOp, ast.Subscript)):
            return frozenset({_ANY})  # an odd way to raise, but one
        if isinstance(value, _KNOWN_TRUE):
            self.flaws.add(Flaw(value.lineno, "a lambda or generator that is not used never runs", "call it"))
            return frozenset()
        found = self._expression(value)
        if not found and isinstance(value, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            written = ast.unparse(value)
            written = written if len(written) < 80 else "…"
            self.flaws.add(Flaw(value.lineno, "the result of a comparison is not used", f"write: assert {written}"))
        elif not found and isinstance(value, ast.Call):
            what = "the program is run, but nothing is asserted of what it gives"
            self.flaws.add(Flaw(value.lineno, what, "write: assert … == …"))
        return found

    def _expression(self, value: ast.AST) -> frozenset[str]:
        """Return what an expression can raise, of what is known to check; functions that it mentions are called."""
        found = frozenset[str]()
        for node in ast.walk(value):
            if isinstance(node, ast.Call):
                found |= self._call(node)
            name = _name(node)
            if isinstance(node, (ast.Name, ast.Attribute)) and name in self._by_name:
                found |= self._enter(self._by_name[name])
        return found

    def _enter(self, functions: list[ast.stmt]) -> frozenset[str]:
        self.entered.update(functions)
        return frozenset[str]().union(*map(self.raised_by, functions))

    def _call(self, node: ast.Call) -> frozenset[str]:
        name = _name(node.func)
        name = self._named.get(name, name)
        if name in ("exec", "eval"):
            return frozenset({_ANY})
        tests = isinstance(node.func, ast.Name) and name.startswith("test")
        if name in self._by_name or not (tests or _CHECK.match(name)):
            return frozenset()
        mentioned = {_name(part) for value in node.args for part in ast.walk(value)}
        if name.startswith("run") and mentioned & self._by_name.keys():
            return frozenset()  # what it runs is followed
        if name.lower().startswith("assert") and node.args:
            one = name in ("assertTrue", "assert_", "assertIsNotNone")
            if (one and not _truth(node.args[0])[1]) or all(_value(part) is not _UNKNOWN for part in node.args):
                what = f"{name} does not depend on the program"
                self.flaws.add(Flaw(node.lineno, what, "give it what the program gives"))
                return frozenset()
        return frozenset({"SystemExit" if name in ("exit", "quit") else _ANY})


class _Constants(ast.NodeTransformer):
    """Puts constants in the place of names that the tests give one value, once."""

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        bound = Counter(node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
        bound.update(node.arg for node in nodes if isinstance(node, ast.arg))
        bound.update(
            node.name for node in nodes if isinstance(node, (*_FUNCTION, ast.ClassDef, ast.ExceptHandler)) and node.name
        )
        bound.update(
            (name.asname or name.name).partition(".")[0]
            for node in nodes
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in node.names
        )
        patterns = (ast.MatchAs, ast.MatchStar)
        bound.update(node.name for node in nodes if isinstance(node, patterns) and node.name)
        if bound["*"] or _DYNAMIC.intersection(node.id for node in nodes if isinstance(node, ast.Name)):
            bound.clear()
        looped = {id(node.iter) for node in nodes if isinstance(node, (ast.For, ast.comprehension))}
        loads = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        changed = {node.id for node in loads if id(node) not in looped}
        self._values: dict[str, ast.expr] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                name, value = node.targets[0].id, node.value
                constant = isinstance(value, ast.Constant) or (_is_empty(value) and name not in changed)
                if constant and bound[name] == 1:
                    self._values[name] = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self._values.get(node.id) if isinstance(node.ctx, ast.Load) else None
        return node if value is None else value


def _is_empty(node: ast.expr) -> bool:
    """Say whether there is nothing to go through."""
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return not node.elts
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "range"
        and len(node.args) == 1
    ):
        stop = _value(node.args[0])
        return isinstance(stop, int) and stop <= 0
    return False


_UNKNOWN: Final = object()


def _value(node: ast.expr) -> object:
    """Return the value of a constant expression, or `_UNKNOWN`."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _UNKNOWN


def _truth(node: ast.expr) -> tuple[bool, bool]:
    """Say whether an expression may be true, and whether it may be false."""
    if isinstance(node, ast.NamedExpr):
        return _truth(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _truth(node.operand)[::-1]
    if isinstance(node, ast.BoolOp):
        parts = list(map(_truth, node.values))
        true, false = [part[0] for part in parts], [part[1] for part in parts]
        if isinstance(node.op, ast.Or) and _leave_nothing(node.values):
            return True, False
        return (any(true), all(false)) if isinstance(node.op, ast.Or) else (all(true), any(false))
    if isinstance(node, ast.IfExp):
        arms = [_truth(arm) for arm, may in zip((node.body, node.orelse), _truth(node.test), strict=True) if may]
        return any(arm[0] for arm in arms), any(arm[1] for arm in arms)
    if isinstance(node, _KNOWN_TRUE):
        return True, False
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        some = any(not isinstance(part, ast.Starred) for part in node.elts)
        return some or bool(node.elts), not some
    if isinstance(node, ast.Dict):
        some = any(key is not None for key in node.keys)
        return some or bool(node.keys), not some
    if isinstance(node, ast.JoinedStr):
        some = any(isinstance(part, ast.Constant) and part.value for part in node.values)
        return bool(node.values), not some
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call_truth(node.func.id, node.args)
    if isinstance(node, ast.Compare):
        return _comparison(node)
    value = _value(node)
    return (True, True) if value is _UNKNOWN else (bool(value), not value)


def _call_truth(name: str, arguments: list[ast.expr]) -> tuple[bool, bool]:
    """Say the same of a call of a function that is built in; nothing is known of others."""
    if len(arguments) == 2 and name == "isinstance":
        everything = isinstance(arguments[1], ast.Name) and arguments[1].id == "object"
        return True, not everything
    if len(arguments) != 1 or name not in ("bool", "all", "any", "type"):
        return True, True
    if name == "bool":
        return _truth(arguments[0])
    if name == "type":
        return True, False
    parts = arguments[0]
    if isinstance(parts, (ast.GeneratorExp, ast.ListComp)):
        element = _truth(parts.elt)
        if any(_is_empty(each.iter) for each in parts.generators):
            return name == "all", name == "any"
        return (True, element[1]) if name == "all" else (element[0], True)
    if isinstance(parts, (ast.Tuple, ast.List, ast.Set)) and not any(
        isinstance(part, ast.Starred) for part in parts.elts
    ):
        truths = [_truth(part) for part in parts.elts]
        quantifier, other = (all, any) if name == "all" else (any, all)
        return quantifier(truth[0] for truth in truths), other(truth[1] for truth in truths)
    return True, True


_OPPOSITE: Final = {ast.Eq: ast.NotEq, ast.In: ast.NotIn, ast.Is: ast.IsNot}


def _leave_nothing(parts: list[ast.expr]) -> bool:
    """Say whether one of these conditions denies another, as in `a == b or a != b`."""
    said = {ast.dump(part) for part in parts}
    for part in parts:
        denied: ast.expr | None = None
        if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.Not):
            denied = part.operand
        elif isinstance(part, ast.Compare) and len(part.ops) == 1 and type(part.ops[0]) in _OPPOSITE:
            denied = ast.Compare(part.left, [_OPPOSITE[type(part.ops[0])]()], part.comparators)
        if denied is not None and ast.dump(denied) in said:
            return True
    return False


_OPERATIONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda one, many: one in many, ast.NotIn: lambda one, many: one not in many,
}  # fmt: skip


def _comparison(node: ast.Compare) -> tuple[bool, bool]:
    sides = [node.left, *node.comparators]
    name = _name(node.left) if isinstance(node.left, ast.Name) else ""
    if len(sides) > 2:
        pairs = zip(sides, node.ops, sides[1:], strict=False)
        parts = [_comparison(ast.Compare(left, [operation], [right])) for left, operation, right in pairs]
        return all(part[0] for part in parts), any(part[1] for part in parts)
    operation, other = node.ops[0], sides[1]
    equal = isinstance(operation, (ast.Eq, ast.Is, ast.LtE, ast.GtE))
    if name == "__name__" and isinstance(other, ast.Constant) and isinstance(operation, (ast.Eq, ast.NotEq)):
        same = other.value == "solution"  # the module of program and tests
        return same == equal, same != equal
    values = _value(node.left), _value(other)
    if isinstance(node.left, ast.Call) and _name(node.left) == "len" and values[1] == 0:
        return True, not isinstance(operation, ast.GtE)
    if _UNKNOWN not in values and type(operation) in _OPERATIONS:
        try:
            holds = bool(_OPERATIONS[type(operation)](*values))
        except TypeError:
            return False, True
        return holds, not holds
    if ast.dump(node.left) == ast.dump(other) and not any(isinstance(part, ast.Call) for part in ast.walk(node)):
        return (True, False) if equal else (True, True)
    return True, True


def _name(node: ast.AST | None) -> str:
    """Return the last name of what is called, raised or mentioned; "" if it has none."""
    while isinstance(node, ast.Call):
        node = node.func
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _own(function: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions within it."""
    waiting: list[ast.AST] = list(getattr(function, "body", []))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_FUNCTION, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def is_skipped(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether a test case or a test is marked as one that is never run."""
    return any(_name(part) == "skip" for part in node.decorator_list)


def is_lazy(function: ast.stmt) -> bool:
    """Say whether calling a function does not run it yet."""
    lazy = isinstance(function, ast.AsyncFunctionDef)
    return lazy or any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in _own(function))


def _is_plain(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether what decorates a function is known not to call it."""
    plain = {"staticmethod", "classmethod", "property", "wraps", "lru_cache", "cache", "contextmanager"}
    return all(_name(part) in plain for part in function.decorator_list)
