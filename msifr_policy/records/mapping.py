"""Where the fields of a trace are in records of another shape, told in words such as `text=choices[*].message.content`.

A word is FIELD=PATH. A path goes by names, `.name` or `["any name"]`, and by places in a list, `[0]` or `[-1]`; `[*]`
is every place of a list, and makes an attempt of each. The outcome may be a comparison: `correct=score>=0.5`, with
`>=`, `>` or `==`, and a number, true or false; or with `==` and a text. FIELD= alone leaves out what the record has
under that name.

Nothing is evaluated: a path is looked up, in time linear in its length and in the record.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.records.chats import answered, asked
from msifr_policy.records.ids import Numbering
from msifr_policy.records.lines import with_values

_NAME: Final = r"""([^.\[\]"'<>=]+)"""
_PLACE: Final = r"""\[(-?\d{1,9})\]|\[(\*)\]|\["([^"]*)"\]|\['([^']*)'\]"""
_FIRST: Final = re.compile(f"{_NAME}|{_PLACE}")
_NEXT: Final = re.compile(rf"\.{_NAME}|{_PLACE}")
_COMPARISON: Final = re.compile(r"(.*?)(>=|==|>)([^<>=]*)")
_COMPARED: Final[dict[str, Callable[[Any, Any], bool]]] = {">=": operator.ge, ">": operator.gt, "==": operator.eq}
_TRUTH: Final = {
    "true": True,
    "1": True,
    "1.0": True,
    "yes": True,
    "false": False,
    "0": False,
    "0.0": False,
    "no": False,
}
_LONGEST_NUMBER: Final = 40

Step = str | int | None
"""A name, a place in a list, or None: every place of it."""


class _Rule(NamedTuple):
    """One word: the field, its path (none: left out), also as it is written, and what its value is compared with."""

    field: str
    steps: tuple[Step, ...]
    written: str
    sign: str = ""
    than: float | bool | str = False


class FieldMap(NamedTuple):
    """How fields of a trace are found in records of another shape; see the module."""

    rules: tuple[_Rule, ...] = ()

    @classmethod
    def parse(cls, words: Iterable[str], fields: Iterable[str]) -> "FieldMap":
        """Return the map that words stand for. Raises `InputError` for a word that is none, and a field named twice."""
        rules: dict[str, _Rule] = {}
        for word in words:
            rule = _rule(word, tuple(fields))
            if rule.field in rules:
                raise InputError(f"`{rule.field}` is named twice", where=f"--map {word}", remedy="name it once")
            rules[rule.field] = rule
        return cls(tuple(rules.values()))

    def __bool__(self) -> bool:
        return bool(self.rules)

    @property
    def columns(self) -> frozenset[str]:
        """The names under which a record must hold something for its fields to be found."""
        first = {rule.steps[0] for rule in self.rules if rule.steps}
        return frozenset({str(name) for name in first} | {rule.written for rule in self.rules})

    @property
    def fields(self) -> frozenset[str]:
        """The fields that are told of."""
        return frozenset(rule.field for rule in self.rules)

    @property
    def several(self) -> bool:
        """Whether one record may hold several attempts."""
        return any(None in rule.steps for rule in self.rules)

    def attempts(self, record: Mapping[str, Any], where: str, names: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Return the fields of each attempt in a record: those that are told of, and those it has under own `names`.

        Of several attempts each has the record's own id with its number. Raises `InputError` if lists that hold one
        value for each attempt differ in length, and if what is to be compared is no number.
        """
        own = {name: record[name] for name in names if name in record and name not in self.fields}
        try:
            found = [own | told for told in self._told(record)]
        except ValueError as error:
            raise InputError(str(error), where=where, remedy="mend --map") from None
        if self.several and "id" in own:
            return [attempt | {"id": f"{own['id']}/{number}"} for number, attempt in enumerate(found)]
        return found

    def _told(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        shared: dict[str, Any] = {}
        each: dict[str, list[Any]] = {}
        for rule in self.rules:
            value, many = _look_up(record, rule)
            if many:
                each[rule.field] = [_meant(rule, one) for one in value]
            elif value is not None:
                shared[rule.field] = _meant(rule, value)
        if not each:
            return [shared]
        lengths = {name: len(values) for name, values in each.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{n} for `{name}`" for name, n in lengths.items())
            raise ValueError(f"lists of different length: {told}")
        rows = zip(*each.values(), strict=True)
        return [
            shared | {name: value for name, value in zip(each, row, strict=True) if value is not None} for row in rows
        ]


def mapped(
    records: Iterable[tuple[str, dict[str, Any] | InputError]],
    mapping: FieldMap,
    numbering: Numbering,
    names: Iterable[str],
) -> Iterator[tuple[str, dict[str, Any] | InputError]]:
    """Yield the attempts in records after their places, with ids; a record's own fields are those under `names`.

    Errors stay, and stand in the place of a record that is not as the mapping says.
    """
    own = tuple(names)
    for where, record in records:
        try:
            if isinstance(record, InputError):
                raise record
            attempts = mapping.attempts(with_values(record, record), where, own)
        except InputError as error:
            yield where, error
        else:
            yield from ((where, numbering.with_ids(attempt)) for attempt in attempts)


def _rule(word: str, fields: tuple[str, ...]) -> _Rule:
    field, equals, path = word.partition("=")
    where = f"--map {word}"
    if not equals or field.strip() not in fields:
        known = f"FIELD=PATH, such as text=response.text; FIELD is one of {', '.join(fields)}"
        what = f"unknown field {field.strip()!r}" if equals else "is not of the form FIELD=PATH"
        raise InputError(what, where=where, remedy=known)
    field, path = field.strip(), path.strip()
    if not path:
        return _Rule(field, (), "")
    sign, than = "", ""
    if (comparison := _COMPARISON.fullmatch(path)) and field == "correct":
        path, sign, than = (part.strip() for part in comparison.groups())
    steps = _steps(path)
    if not steps:
        remedy = 'names with dots between, places in lists as [0] or [*], other names as ["a name"]'
        if field != "correct" and comparison:
            remedy = "only `correct` can be a comparison"
        raise InputError(f"{path!r} is not a path", where=where, remedy=remedy)
    if steps.count(None) > 1:
        raise InputError("[*] stands twice", where=where, remedy="attempts are the places of one list")
    if not sign:
        return _Rule(field, steps, path)
    if sign == "==" and than in ("true", "false"):
        return _Rule(field, steps, path, sign, than == "true")
    with suppress(ValueError):
        if math.isfinite(number := float(than)):
            return _Rule(field, steps, path, sign, number)
    if sign == "==" and than:
        return _Rule(field, steps, path, sign, than)
    remedy = "a number, or with == true, false or a text, such as correct=score>=0.5"
    raise InputError(f"cannot compare with {than!r}", where=where, remedy=remedy)


def _steps(path: str) -> tuple[Step, ...]:
    """Return the steps of a path, none if it is no path."""
    steps: list[Step] = []
    place = 0
    while place < len(path):
        step = (_NEXT if steps else _FIRST).match(path, place)
        if step is None:
            return ()
        name, number, every, *quoted = step.groups()
        if every is not None:
            steps.append(None)
        elif number is not None:
            steps.append(int(number))
        else:
            steps.append(next(text for text in (name, *quoted) if text is not None))
        place = step.end()
    return tuple(steps)


def _look_up(record: Mapping[str, Any], rule: _Rule) -> tuple[Any, bool]:
    """Return what is at the end of a path, None for nothing, and whether it is a list of one value for each attempt."""
    if rule.written in record:  # tables have columns with dots in their names
        return record[rule.written], False
    if not rule.steps:
        return None, False
    if None not in rule.steps:
        return _follow(record, rule.steps), False
    every = rule.steps.index(None)
    values = _opened(_follow(record, rule.steps[:every]))
    if not isinstance(values, list):
        return None, False
    return [_follow(value, rule.steps[every + 1 :]) for value in values], True


def _follow(value: Any, steps: tuple[Step, ...]) -> Any:
    for step in steps:
        value = _opened(value)
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, Mapping) else None
        elif step is not None:
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
    return value


def _opened(value: Any) -> Any:
    """Return what a text of JSON holds, where a path goes on into it: tables keep objects so."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return msgspec.json.decode(value)
    return value


def _meant(rule: _Rule, value: Any) -> Any:
    """Return what a value means as this field; raises ValueError for what cannot be compared."""
    if value is None:
        return None
    if rule.field in ("text", "prompt"):
        text = (answered if rule.field == "text" else asked)(value)
        return value if text is None else text
    if rule.field != "correct":
        return value
    if isinstance(value, str) and (not rule.sign or isinstance(rule.than, bool)):
        value = _TRUTH.get(value.strip().casefold(), value)
    if not rule.sign or isinstance(rule.than, bool):
        return value == rule.than if rule.sign else value
    if isinstance(rule.than, str):
        if not isinstance(value, str):
            raise ValueError(f"`correct` cannot be compared: {rule.written} is {value!r:.40}, not a text")
        return value.strip() == rule.than
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        with suppress(ValueError):
            value = float(value)
    if not isinstance(value, int | float):
        raise ValueError(f"`correct` cannot be compared: {rule.written} is {value!r:.40}, not a number")
    return _COMPARED[rule.sign](value, rule.than)
