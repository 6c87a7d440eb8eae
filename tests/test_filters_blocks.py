"""Fenced blocks: as CommonMark has them, as models write them, and the same however a text arrives."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from msifr_policy.reading import blocks as module
from msifr_policy.reading.blocks import BlockReader, Part, after_thinking, blocks

Found = list[tuple[str, str]]


def found(text: str) -> Found:
    """Languages and contents of closed blocks."""
    return [(block.language, block.content) for block in blocks(text) if block.closed]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```py\na\n```", [("py", "a\n")]),
        ("```\na\n```\n", [("", "a\n")]),
        ("```py\n```", [("py", "")]),
        ("~~~py\na\n```\n~~~\n", [("py", "a\n```\n")]),
        ("````py\n```\na\n```\n````", [("py", "```\na\n```\n")]),
        ("```py\na\n`````\n", [("py", "a\n")]),
        ("``py\na\n``", []),
        ("`` `py\na\n```\n```\nb\n```", [("", "")]),
        ("   ```py\n   a\n     b\n c\n  ```\n", [("py", "a\n  b\nc\n")]),
        ("~~~ py `x` ~~~\na\n~~~", [("py", "a\n")]),
        ("", []),
        ("```py\na", []),
        ("```py\ra\r```\rx", [("py", "a\r")]),
        ("```py\r\na\r\n\r\n```\r\n", [("py", "a\r\n\r\n")]),
        ("```py\na\u2028```\nb\n```", [("py", "a\u2028```\nb\n")]),
    ],
)
def test_fences_as_commonmark_has_them(text: str, expected: Found) -> None:
    # A line separator ends no line: "a\u2028```" is one line, which ends like a block's last line.
    if "\u2028" in text:
        expected = [("py", "a\u2028")]
    assert found(text) == expected


@pytest.mark.parametrize(
    ("info", "language"),
    [
        *(
            (" Python ", "python"),
            ("py title='a b'", "py"),
            ("{.python .numberLines}", "python"),
            ("{python}", "python"),
        ),
        *(("python:main.py", "python"), ("json,editable", "json"), ("c++", "c++"), ("python3.11", "python3.11")),
        *(("python{1,3}", "python"), ("JSON5", "json5"), ("", "")),
    ],
)
def test_the_language_is_the_first_word(info: str, language: str) -> None:
    assert found(f"```{info}\na\n```") == [(language, "a\n")]


TOKENS = ["<|endoftext|>", "<|im_end|>", "</s>", "<eos>", "<|eot_id|>", "<end_of_turn>", "<｜end▁of▁sentence｜>"]
TOKENS += ["</answer>", "[/INST]", "[DONE]", " <|im_end|>", "<|a|><|b|> \t"]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("after", ["", "\n", "\r\nuser\n"])
def test_special_tokens_may_stand_around_a_fence(token: str, after: str) -> None:
    assert found(f"```py\na\n```{token}{after}") == [("py", "a\n")]
    assert found(f"{token}```py\na\n```{after}") == [("py", "a\n")]
    assert found(f"```json\n{{}}```{token}{after}") == [("json", "{}")]
    assert found(f"```{token}\na\n```") == [("", "a\n")]


def test_what_is_no_token_closes_nothing() -> None:
    for words in ("<|a b", "x < y", "<|" + "a" * 65 + "|>", "It works.", "py thon"):
        assert found(f"```py\na\n```{words}\nb\n```\n") == [("py", f"a\n```{words}\nb\n")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('```json\n{"a": 1}```', [("json", '{"a": 1}')]),
        ("```json\n[\n 1]```\nThat is it.\n```py\nb\n```", [("json", "[\n 1]"), ("py", "b\n")]),
        ('```py\ndef f():\n    return "y"```\n', [("py", 'def f():\n    return "y"')]),
        ("~~~\nx ~~~\n", [("", "x ")]),
        ("   ```json\n   {}```", [("json", "{}")]),
        # What only looks like it: a comment, a string, a span, marks of lists and quotations, too short a fence.
        ("```py\n# all up to ```\na\n```", [("py", "# all up to ```\na\n")]),
        ('```py\ns = """```\n"""\n```', [("py", 's = """```\n"""\n')]),
        ("```py\na = '''```\n'''\n```", [("py", "a = '''```\n'''\n")]),
        ("```md\nso ```a```\n```", [("md", "so ```a```\n")]),
        ("```md\n> ```\n- ```\n1. ```\n```", [("md", "> ```\n- ```\n1. ```\n")]),
        ("````py\na```\n````", [("py", "a```\n")]),
    ],
)
def test_a_fence_may_close_at_the_end_of_the_last_line(text: str, expected: Found) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. So:\n\n   ```py\n   def f():\n       a\n   ```\n", [("py", "def f():\n    a\n")]),
        ("- ```py\n  a\n  ```\n", [("py", "a\n")]),
        ("* x\n    1. y\n\n       ```py\n       a\n       ```\n", [("py", "a\n")]),
        ("1. So:\n   ```py\ndef f():\n    a\n```\n", [("py", "def f():\n    a\n")]),
        ("\t```py\n\ta\n\t\tb\n\t```\n", [("py", "a\n    b\n")]),
        ("> ```py\n> a\n>   b\n> ```\nx", [("py", "a\n  b\n")]),
        ("> ```py\n> a\n>\n>b\nx\n```py\nc\n```", [("py", "a\n\nb\n"), ("py", "c\n")]),
        ("> > ```py\n> > a\n> > ```\n", [("py", "a\n")]),
        ("> - ```py\n>   a\n>   ```\n", [("py", "a\n")]),
        # A docstring with a fence of its own.
        ('```py\n"""\n    ```\n    x\n    ```\n"""\n```', [("py", '"""\n    ```\n    x\n    ```\n"""\n')]),
    ],
)
def test_fences_in_lists_and_quotations(text: str, expected: Found) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Here it is: ```py\na\n```\n", [("py", "a\n")]),
        ('```json {"a": 1}```\n', [("json", '{"a": 1}')]),
        ('```{"a": 1}``` ', [("", '{"a": 1}')]),
        ('```json{"a": 1}```</s>', [("json", '{"a": 1}')]),
        ("Use ```a``` and ```b``` so\n```py\na\n```", [("py", "a\n")]),
        ("A fence is ``` and so on\n```py\na\n```", [("py", "a\n")]),
        ("```py\n```py\na\n```\n```", [("py", "a\n")]),
        ("```py\ndraft\n\nNo, again:\n```python\na\n```", [("python", "a\n")]),
        ("````md\n```py\na\n```\n````", [("md", "```py\na\n```\n")]),
        ("```py\na\n``` This is it, in short.\n", [("py", "a\n")]),
        ("```py\na\n```. So.\n", [("py", "a\n")]),
        ("```py\na\n```\u200b\n", [("py", "a\n")]),
        ("```py\na\n``` this\n```\n", [("this", "")]),
        ("```py\na\n``` `b` is\n```\n", [("py", "a\n``` `b` is\n")]),
        ("```\npython\na\n```\n", [("python", "a\n")]),
        ("```\nJSON \r\n{}\n```\n", [("json", "{}\n")]),
        ("```\npython a\n```\n", [("", "python a\n")]),
    ],
)
def test_fences_as_models_write_them(text: str, expected: Found) -> None:
    assert found(text) == expected


@pytest.mark.parametrize("mark", ["</think>", "</thinking>", "[/THINK]", "<|channel|>final<|message|>"])
@pytest.mark.parametrize("then", ["\n", "", " ", "\n\n"])
def test_the_end_of_thinking_ends_a_draft(mark: str, then: str) -> None:
    text = f"Perhaps\n```py\ndef f(\n{mark}{then}```py\na\n```\n"
    assert found(text) == [("py", "a\n")]
    assert [block.closed for block in blocks(text)] == [False, True]
    assert found(f"```py\ndef f(x): # so{mark}{then}```py\na\n```\n") == [("py", "a\n")]
    assert found(f"```py\ndef f(x):\n{mark}{then}```\na\n```\n") == [("", "a\n")]
    assert found(f"```py\ns = '{mark}'\n```\n") == [("py", f"s = '{mark}'\n")]  # in quotation marks it is none


@pytest.mark.parametrize(
    "line",
    [
        "    # removes <think>...</think> parts",
        "    s = re.sub(r'<think>.*?</think>', '', s)",
        "    s = f'{a}</think> {b}'",
        "| </think> |",
        f"{'x' * 700} </think> x",
    ],
)
def test_marks_within_the_lines_of_a_block_are_its_content(line: str) -> None:
    text = f"<think>so</think>\n```py\na\n{line}\n```\n"
    assert found(text) == [("py", f"a\n{line}\n")]
    assert after_thinking(text) == f"\n```py\na\n{line}\n```\n"
    assert after_thinking(f"<think>\n```py\n{line}\nso</think>b") == "b"  # while thinking they count


def test_what_breaks_off_while_thinking_has_no_answer_part() -> None:
    assert after_thinking("a. <think> b") is None
    assert after_thinking("a. <think> b</think>c.\n<think>") is None
    assert after_thinking("```py\na\n```\n<think>") is None
    assert after_thinking("```py\na\n``` </think> b") == " b"
    assert after_thinking("<think>```py\ns = 1 </think> b") == " b"
    assert after_thinking("a") == "a"


def test_blocks_say_where_they_stand() -> None:
    text = "Say:\n> ```py\n> a\n> ```\n~~~\nb\n~~~</s>\n```js\nc"
    kept = [text[block.start : block.end] for block in blocks(text)]
    assert kept == ["```py\n> a\n> ```", "~~~\nb\n~~~", "```js\nc"]
    assert [block.closed for block in blocks(text)] == [True, True, False]


LINES = (
    *("```", "```py a", "~~~", "~~~ json b", "````", "   ```", "    ```", "x = 1", "    y", "", "  z", "`a`", "``"),
    *("```a b", "````py c", "  ~~~", "~~~~", "    x", "\t y", "> x", "- x", "# x"),
)


def test_plain_texts_have_the_blocks_of_commonmark() -> None:
    """Of 4,000 texts, those whose fences are not indented, where lists would have to be known."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark")
    draw, compared = Random(0), 0  # noqa: S311 (not for secrets)
    for _ in range(4000):
        text = "\n".join(draw.choices(LINES, k=draw.randint(1, 8))) + "\n"
        ours = blocks(text)
        if any(text[: block.start].endswith((" ", "\t")) for block in ours):
            continue
        theirs = [token for token in markdown.parse(text) if token.type == "fence"]
        expected = [("".join(token.info.split()[:1]), token.content) for token in theirs]
        assert [(block.language, block.content) for block in ours] == expected, text
        compared += 1
    assert compared > 2000


PIECES = (
    *(
        "```",
        "`",
        "~~~",
        "py",
        "json ",
        " ",
        "    ",
        "\n",
        "\n",
        "\r",
        "\r\n",
        "> ",
        "- ",
        "1. ",
        "</think>",
        "<think>",
    ),
    *("</thi", "nk>", "<|e|>", "x", "#", '"""', "{}", "\t", "x" * 390, "y" * 250, "z" * 2500, "[THINK]", "'"),
    "\u2028",
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def parts(pieces: list[str]) -> list[tuple[str, int, str]]:
    """All parts of a text that arrives in pieces; asking for the rest changes nothing."""
    reader, read = BlockReader(), list[Part]()
    for piece in pieces:
        list(reader.rest())
        read += reader.feed(piece)
    return [(part.kind, part.start, part.line) for part in (*read, *reader.rest())]


@given(TEXTS, st.integers(0, 2**32))
@example("```py\r\na\r\n```\r\n", 1)
@settings(max_examples=300)
def test_pieces_do_not_matter(text: str, seed: int) -> None:
    draw, pieces, at = Random(seed), list[str](), 0  # noqa: S311
    while at < len(text):
        step = draw.choice([1, 2, 3, 10, 700])
        pieces.append(text[at : at + step])
        at += step
    assert parts(pieces) == parts([text])


@given(TEXTS)
@settings(max_examples=300)
def test_blocks_lie_in_the_text_one_after_the_other(text: str) -> None:
    last = 0
    for block in blocks(text):
        assert last <= block.start <= block.end <= len(text)
        assert len(block.content) <= 4 * (block.end - block.start)  # tabs may become blanks
        last = block.end


@given(TEXTS)
@settings(max_examples=300)
def test_the_reader_knows_the_answer_part(text: str) -> None:
    """Blocks that are closed after the last end of thinking are those of the answer part."""
    count, reader = 0, BlockReader()
    for part in (*reader.feed(text), *reader.rest()):
        count = 0 if part.kind in ("answers", "thinks") else count + (part.kind == "closes")
    answer = after_thinking(text)
    if answer is not None and not any(len(line) > 400 for line in text.split("\n")):
        assert count == sum(block.closed for block in blocks(answer))


UNITS = (
    *("`", "```\n", "```py\n", "`\n", "```py\na\n```\n", "\n", "{", "> ", "- ", "<a>", "<|a|>", " ", "\t", "```a```\n"),
    *(
        "~",
        "</think>",
        "</think",
        "\r",
        "x```\n",
        " a ```",
        "```py\n> \n",
        "> ```py\n> \n",
        "1",
        "<a>" * 90 + "```py\n",
    ),
    *(" " * 300 + "```" + " " * 200 + "x\n", "> " * 150 + "```\n"),
)


@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    started = time.process_time()
    blocks(text)
    assert time.process_time() - started < 5
    reader = BlockReader()
    started = time.process_time()
    for at in range(0, 20_000, 4):
        list(reader.feed(text[at : at + 4]))
    assert time.process_time() - started < 2


def test_a_docstrings_fence_can_be_taken_for_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of indentation above fails where any indentation closes."""
    monkeypatch.setattr(module, "_limit", lambda _: 99)
    assert found('```py\n"""\n    ```\n"""\n```') != [("py", '"""\n    ```\n"""\n')]


@pytest.mark.parametrize("behind", [" ```py\n", "\t\n", "  b\n", "         ```\n", "", " "])
def test_what_stands_behind_a_mark_is_awaited(behind: str) -> None:
    text = f"```py\nx </think>{behind}a\n```\n" if behind.strip() else f"```py\nx </think>{behind}"
    whole, reader = BlockReader(), BlockReader()
    expected = [part.kind for part in (*whole.feed(text), *whole.rest())]
    assert [part.kind for c in text for part in reader.feed(c)] + [part.kind for part in reader.rest()] == expected
