"""Where the final answer of a text is: in every usual place, never where none is given, in linear time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.filters import Extract, Prompt
from msifr_policy.filters.decided import DecidedReader
from msifr_policy.filters.extract import asked_place
from msifr_policy.reading.markers import markers, read
from msifr_policy.reading.number import parse_number
from msifr_policy.reading.thinking import answer_start

ASKED = Prompt(prompt_id="p", prompt="How many?")


def found(text: str, where: str = "auto", asked: str = "How many?") -> str | None:
    answer = Extract.parse(where)(Prompt(prompt_id="p", prompt=asked), text)
    if answer is None:
        return None
    assert 0 <= answer.start <= answer.end <= len(text)
    return answer.text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # In the usual places.
        ("#### 86", "86"),
        ("6 * 7 = 42\n####\n42", "42"),
        ("so \\boxed{86}.", "86"),
        ("so \\boxed {86}", "86"),
        ("so \\fbox{86}", "86"),
        ("\\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("The answer is 86.", "86"),
        ("The answer is: 86", "86"),
        ("The final answer is $86$. I hope it is correct.", "$86$"),
        ("Hence the correct answer should be 3.5. That is all.", "3.5"),
        ("Answer: 86", "86"),
        ("ANSWER = 86", "86"),
        ("**Answer:** 86", "86"),
        ("**Answer**: 86", "86"),
        ("**Final Answer:** **86**", "86"),
        ("### Final Answer\n\n86\n", "86"),
        ("**Final Answer**\n\\[\n86\n\\]\n", "86"),
        ("Final answer:\n```\n86\n```\n", "86"),
        ("\\textbf{Answer:} 86", "86"),
        ("She keeps the rest.\nA: 86", "86"),
        ("The answer to the question is 86.", "86"),
        ("The correct option is (B).", "(B)"),
        ("86 is the answer.", "86"),
        ("Therefore, 86 apples are the final answer.", "86 apples"),
        ("Adding up.\nResult: 86", "86"),
        ("<answer>86</answer>", "86"),
        ("<answer>\nThe answer is \\boxed{86}\n</answer>", "86"),
        ("<final_answer>86</final_answer>", "86"),
        ('{"reasoning": "the answer is 4 or so", "answer": "86"}', "86"),
        ('```json\n{"reasoning": "x", "answer": 86}\n```\n', "86"),
        ('{"answer": "86", "reasoning": "first I thought the answer is 4."}', "86"),
        ('{"reasoning": "\\(x\\)", "answer": "\\frac{1}{2}"}', "\\frac{1}{2}"),
        ('{"answer": "\\\\frac{1}{2}"}', "\\frac{1}{2}"),
        ('{"answer": ["86"]}', "86"),
        ('{"Final_Answer": 86}', "86"),
        ("{'answer': '86'}", "86"),
        ('{"answer": 1,234}', "1,234"),
        # In other languages.
        ("Also bleiben 86 übrig.\nAntwort: 86", "86"),
        ("Die Antwort ist 86.", "86"),
        ("La respuesta final es 86.", "86"),
        ("Respuesta: 86", "86"),
        ("La réponse est 86.", "86"),
        ("Réponse finale : 86", "86"),
        ("La risposta è 86.", "86"),
        ("A resposta é 86.", "86"),
        ("Het antwoord is 86.", "86"),
        ("Svaret är 86.", "86"),
        ("Ответ: 86", "86"),
        ("Ответ — 86", "86"),
        ("所以答案是86。", "86"),
        ("答案：86", "86"),
        ("最终答案为：86", "86"),
        ("所以故选B。", "B"),
        ("答えは86。", "86"),
        ("정답: 86", "86"),
        ("คำตอบคือ 86", "86"),
        ("उत्तर: 86", "86"),
        ("উত্তর: 86", "86"),
        ("Jibu: 86", "86"),
        ("Đáp án là 86.", "86"),
        ("Jawabannya adalah 86.", "86"),
        # The last answer counts, and what gives none hides none.
        ("The answer is \\boxed{2}. Wait, actually \\boxed{5}", "5"),
        ("\\boxed{86}.\nRemember: put your final answer within \\boxed{}.", "86"),
        ("\\boxed{86}\n\\boxed{\\text{your answer}}", "86"),
        ("\\boxed{86}. Is the answer 12?", "86"),
        ("The answer is 86.\n\n#### Explanation\nWe added both.", "86"),
        ("The answer is 86.\n#### Step 2: check\nFine.", "86"),
        ("The answer is 86.\n\nThe answer is correct.", "86"),
        ("The answer is 86, so the answer is not 85.", "86, so the answer is not 85"),
        ("The answer is 86.\nThe answer is as given above.", "86"),
        ("The answer is 86. If the answer is 5, then it is odd.", "86"),
        ("The answer is 86. The student's answer was 12.", "86"),
        ("The answer is as follows: 86", "86"),
        ("#### 86\nand every condition holds. " * 3, "86"),
        # Several boxes in one breath are one answer.
        ("$x = \\boxed{3}$ or $\\boxed{5}$", "3, 5"),
        ("$x = \\boxed{3}$ or $x = \\boxed{5}$", "3, 5"),
        ("$x = \\boxed{3}$ and $y = \\boxed{5}$", "5"),
        ("\\boxed{3} and \\boxed{3}", "3"),
        ("First \\boxed{3}. Then we go on to find \\boxed{5}.", "5"),
        # What the text takes back.
        ("The answer is 12. Hmm, that's not right: it should be 14.", "14"),
        ("#### 12\nWait, no. The answer is 14.", "14"),
        ("\\boxed{12}\nI made a mistake: the total is 14.", "14"),
        # After the model's own next question nothing counts.
        ("A: 86\n\nQ: What is 1 + 1?\nA: 2", "86"),
        ("The answer is 86.\n\nQuestion: What is 1 + 1?\nThe answer is 2.", "86"),
        ("#### 86<|im_end|>\n<|im_start|>user\n#### 2", "86"),
        ("Question: How many?\nAnswer: 86", "86"),
        # Only what follows the thinking.
        ("<think>The answer is 3?</think>\nThe answer is 86.", "86"),
        ("so \\boxed{3}</think>The answer is 86.", "86"),
        ("[THINK]\\boxed{3}[/THINK]\\boxed{86}", "86"),
        ("<|begin_of_thought|>\\boxed{3}<|end_of_thought|>\n<|begin_of_solution|>\\boxed{86}", "86"),
        ("<|channel|>analysis<|message|>\\boxed{3}<|end|><|channel|>final<|message|>\\boxed{86}", "86"),
        ("Use the tag `<think>` here. The answer is 86.", "86"),
        ("Use the <think> tag here. The answer is 86.", "86"),
        ("# remove <think> blocks\nThe answer is 86.", "86"),
    ],
)
def test_the_answer_is_found(text: str, answer: str) -> None:
    assert found(text) == answer


NOUNS = [
    *("Answer", "Final answer", "Ans", "Antwort", "Endantwort", "Antwoord", "Svar", "Respuesta final", "Réponse"),
    *("Risposta", "Resposta", "Răspuns", "Ответ", "Правильный ответ", "Відповідь", "Отговор", "Odgovor", "Odpowiedź"),
    *(
        "Odpověď",
        "Жауап",
        "Απάντηση",
        "Cevap",
        "Válasz",
        "答案",
        "最终答案",
        "答复",
        "答え",
        "正解",
        "정답",
        "최종 답변",
    ),
    *("الإجابة", "الإجابة النهائية", "الجواب", "پاسخ", "תשובה", "उत्तर", "अंतिम उत्तर", "উত্তর", "సమాధానం", "பதில்"),
    *("ഉത്തരം", "ಉತ್ತರ", "જવાબ", "ਉੱਤਰ", "คำตอบ", "คำตอบสุดท้าย", "Jibu", "Jibu la mwisho", "Idahun", "Đáp án", "Đáp số"),
    *(
        "Câu trả lời",
        "Jawaban",
        "Jawaban akhir",
        "Sagot",
        "Answer (in dollars)",
        "Answer in dollars",
        "Answer to part b",
    ),
]


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize(
    "form", ["{}: 86", "{} : 86", "**{}:** 86", "{}：86", "- {}:\n86\n", "{}\u200b: 86", "{}:\t86\r\n"]
)
def test_a_noun_with_a_colon_announces_in_any_language(noun: str, form: str) -> None:
    assert found("12 + 74\n" + form.format(noun)) == "86"


BEFORE_ANOTHERS = [
    *(
        "If the",
        "Suppose the",
        "Check the",
        "To verify the",
        "The wrong",
        "One possible",
        "The naive",
        "Tom's",
    ),
    *(
        "The students'",
        "Your",
        "The next",
        "Her first",
        "A student might",
        "One might think the",
        "Some people say the",
    ),
]


@pytest.mark.parametrize("before", BEFORE_ANOTHERS)
def test_what_is_not_the_texts_own_answer_hides_none(before: str) -> None:
    assert found(f"\\boxed{{86}}\n{before} answer is 12.") == "86"
    assert found(f"{before} answer is 12.") is None


@pytest.mark.parametrize(
    "before",
    [
        "First, the",
        "I would say the",
        "The only possible",
        "The question's",
        "It follows that the",
        "You can see that the",
        "We conclude that the",
        "No, the",
        "It is not 5; the",
        "If so, the",
        "Wrong:\nThe",
    ],
)
def test_an_answer_after_these_words_is_the_texts_own(before: str) -> None:
    assert found(f"{before} answer is 86.") == "86"


@pytest.mark.parametrize(
    "remark",
    [
        *(
            "The answer is an integer between 1 and 100.",
            "The answer is less than 100.",
            "The answer is divisible by 2.",
        ),
        *(
            "The answer is the same as in method 1.",
            "This answer is supported by step 3.",
            "The answer is helpful in 1 way.",
        ),
        *("#### 2) Check\nfine", "#### Alternative method 2\nx", "#### Key point 1\nx", "#### 9th Grade\nx"),
        *(
            "\\boxed{\\square}",
            "\\boxed{<answer>}",
            "\\boxed{\\text{Q.E.D.}}",
            '{"answer": null}',
            "Use <answer> and </answer>.",
        ),
        *(
            "Put it in `<answer>` tags.",
            "Is it \\boxed{5}? No.",
            "It is not \\boxed{5}.",
            "Suppose the answer is \\boxed{5}.",
        ),
        *("Is the answer 5? No, it is not.", "The answer would be 5 if he lost one.", "Check the answer: 80 + 6 = 86."),
        *("\n\nQuestion 2\n1 + 1?\nAnswer: 2", "\n\nFrage: 1 + 1?\nAntwort: 2", "\n\n问题：1+1?\n答案：2"),
        *("[INST] 1+1? [/INST] Answer: 2", "<｜end▁of▁sentence｜>Answer: 2", "\n\nUSER: 1 + 1?\nASSISTANT: Answer: 2"),
    ],
)
def test_what_only_speaks_of_an_answer_hides_none(remark: str) -> None:
    def is_number(answer: str) -> bool:
        return parse_number(answer) is not None

    answer = Extract()(ASKED, f"Hence \\boxed{{86}}.\n{remark}", is_number)
    assert answer is not None
    assert answer.text == "86"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So, \\boxed 86.", "86"),
        ("So, $\\boxed86$", "86"),
        ("<|begin_of_box|>86<|end_of_box|>", "86"),
        ("[ANSWER]\n86\n[/ANSWER]", "86"),
        ("< answer >86</ answer >", "86"),
        ("<ans>86</ans>", "86"),
        ("<solution>\nWe add.\nThe answer is 86.\n</solution>", "86"),
        ("| **Answer** | **86** |", "86** |"),
        ("We get the answer 86.", "86"),
        ("giving an answer of 86.", "86"),
        ("The answer, in minutes, is 86.", "86"),
        ("The answer turns out to be 86.", "86"),
        ("Final answer → 86", "86"),
        ("Answer\r\n\r\n86", "86"),
        ("Answer\n------\n86", "86"),
        ("_Answer: 86_", "86"),
        ("Answer:\n1. 86", "86"),
        ("The answer is:\n\n- 86\n", "86"),
        ("Answer: <86>", "86"),
        ("Answer: \\begin{equation*}86\\end{equation*}", "86"),
        ("#### 86<|im_end|>", "86"),
        ("#### 86<｜end▁of▁sentence｜>", "86"),
        ("The answer is 86...", "86"),
        ("The answer is Rs. 86.", "Rs. 86"),
        ("The answer is 86, i.e. a lot.", "86"),
        ("The answer is No.", "No"),
        ('{"answer": {"value": 86}}', "86"),
        ("Therefore, x = 86", "86"),
        ("∴ $x = 86$", "86"),
        ("Endergebnis: 86", "86"),
        ("The answer is 12. Actually, it is 86.", "86"),
        ("The answer is 12. No wait, 86.", "86"),
        ("Answer:\n- 8\n- 6", "8; 6"),
        ("Answer:\n* April: 8\n* May: 6\n\nDone.", "April: 8; May: 6"),
        ("**Answer:**\n1. 8\n2. 6\n", "8; 6"),
        ("Answer:- 86", "86"),
        ("Answer [integer]: 86", "86"),
        # Among the names of points and of values.
        ("Let\na = 12\nb = 3\nThe answer is 86.\na = 12", "86"),
    ],
)
def test_other_spellings_of_an_announcement(text: str, answer: str) -> None:
    assert found(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        *(
            "<answer>\n86",
            "The answer is \\(86",
            '```json\n{"answer": 86',
            '{"reasoning": "86 is the answer"',
            "a = 86",
        ),
        *(
            "<|START_THINKING|>\\boxed{86}",
            "<longcat_think>Answer: 86",
            "<think >Answer: 86",
            "<unused94>thought\nAnswer: 86",
        ),
        *(
            "<|start|>assistant<|channel|>analysis<|message|>Answer: 86",
            "<|channel>thought\nAnswer: 86",
            "<mm:think>Answer: 86",
        ),
        *("Is it \\boxed{86}?", "\\boxed{86}? No.", "If it is \\boxed{86}, then", "The answer is not \\boxed{86}."),
        *(
            "答えは86ではない。",
            "정답은 86가 아닙니다.",
            "Ответ: не 86",
            "Die Antwort ist nicht 86.",
            "We need to answer 86 of them.",
        ),
        *("The answer is 86. That can't be right.", "final_answer = 86", "He gave the answer 86 times?"),
    ],
)
def test_no_answer_where_another_thing_is_meant(text: str) -> None:
    assert found(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "<|START_THINKING|>\\boxed{3}<|END_THINKING|>\\boxed{86}",
        "<longcat_think>\\boxed{3}</longcat_think>\\boxed{86}",
        "<unused94>thought\n\\boxed{86 or 3}<unused95>\\boxed{86}",
        "<|channel>thought\n\\boxed{3}<channel|>\\boxed{86}",
        "<think >\\boxed{3}</think >\\boxed{86}",
    ],
)
def test_the_answer_follows_the_thinking_of_every_family(text: str) -> None:
    assert found(text) == "86"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I get 86",
        "3 + 4 = 7",
        "What is the answer?",
        "So the answer is 86? Let me",
        "#### ",
        "#### Understanding",
        "\\boxed{}",
        "\\boxed{...}",
        "\\boxed{\\text{answer}}",
        "\\boxed{\\phantom{86}}",
        "The answer is in the box.",
        "The answer is not 86.",
        "If the answer is 86, then it is even.",
        "Her first answer was 86.",
        "<answer></answer>",
        "<answer>your answer here</answer>",
        # Broken off.
        "First \\boxed{7}, then after the correction \\boxed{",
        "The answer is \\boxed{\\frac{1}{2}",
        "<answer>8",
        '{"reasoning": "so the answer is 86. Let us',
        '{"answer": "8',
        # While thinking.
        "<think>So the answer is 42? Let me check the other case, maybe",
        "<think>The answer is \\boxed{42}.",
        "<think>\\boxed{3}</think>",
        "The answer is \\boxed{42}. <think>Or is it",
        # Taken back.
        "The answer is 12. No, that is wrong.",
    ],
)
def test_no_answer_is_found_where_none_is_given(text: str) -> None:
    assert found(text) is None


@pytest.mark.parametrize(
    ("where", "text", "answer"),
    [
        ("box", "\\boxed{1}\n#### 2\nThe answer is 3.", "1"),
        ("hash", "#### 2\nThe answer is 3.\\boxed{1}", "2"),
        ("hash", "2 #### 3 dollars\nmore", "3 dollars"),
        ("phrase", "The answer is 3.\n#### 2\n\\boxed{1}", "3"),
        ("json:total", '{"answer": 1, "total": 2}', "2"),
        ("json:a b", '[{"a b": 1}, {"a b": 2}]', "2"),
        ("json:total", '{"answer": 1}', None),
        ("tag:result", "<result>1</result> <result unit='cm'>2</result> <answer>3</answer>", "2"),
        ("regex:Total = (\\d+)", "Total = 1\nTotal = 23\n", "23"),
        ("regex:\\d+ apples", "1 apple, 23 apples", "23 apples"),
        ("regex:x", "abc", None),
        ("last", "from 3 to $1,234.50.", "$1,234.50"),
        ("last", "none", None),
        ("whole", "<think>x</think> yes \n", "yes"),
        ("whole", "<think>x", None),
    ],
)
def test_an_answer_is_found_where_it_was_asked_for(where: str, text: str, answer: str | None) -> None:
    assert found(text, where) == answer


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("Put your answer in \\boxed{}.", "box"),
        ("End with #### and the number.", "hash"),
        ("Think in <think></think>, then give <answer>...</answer>.", "tag:answer"),
        ('Reply in JSON: {"steps": "...", "final_answer": "..."}', "json:final_answer"),
        ('Reply as JSON {"reasoning": "", "solution": 0}', "json:solution"),
        ("How many apples?", None),
    ],
)
def test_the_place_that_a_prompt_asks_for(asked: str, place: str | None) -> None:
    extract = asked_place(asked)
    assert (extract and extract.name) == place


def test_the_place_asked_for_comes_first_and_others_are_a_fallback() -> None:
    asked = 'Reply as JSON {"reasoning": "", "solution": 0}'
    assert found('{"reasoning": "the answer is 4", "solution": 5}', asked=asked) == "5"
    assert found("I cannot write JSON. The answer is 4.", asked=asked) == "4"
    assert found("\\boxed{4}\nThe answer is as above: see the box.", asked="Use \\boxed{}.") == "4"


@pytest.mark.parametrize(
    "word", ["", "Box", "json", "json:", "tag:", "tag:a b", "box:x", "regex:(", "regex:(?=a)", "auto:x"]
)
def test_words_that_are_no_place_are_refused(word: str) -> None:
    with pytest.raises(InputError):
        Extract.parse(word)


@pytest.mark.parametrize(
    "word", ["auto", "box", "hash", "phrase", "json:a:b", "tag:answer", "regex:a:(b)", "last", "whole"]
)
def test_a_word_is_read_back(word: str) -> None:
    assert Extract.parse(word).name == word


PIECES = (
    *(
        "\\boxed{",
        "{",
        "}",
        "####",
        "\n",
        "\n\n",
        " ",
        "The answer is ",
        "Answer: ",
        "A: ",
        "答案是",
        "42",
        "x",
        ".",
        "?",
        "$",
    ),
    *(
        '"answer": ',
        '"',
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        "Q: ",
        "wait, no",
        "that is wrong",
        "**",
        "```",
        "\\[",
    ),
)
TEXTS = st.lists(st.sampled_from((*PIECES, "\ud800")), max_size=24).map("".join) | st.text(max_size=80)
WHERES = ("auto", "box", "hash", "phrase", "json:answer", "tag:answer", "last", "whole", "regex:4(2)")


@given(text=TEXTS, where=st.sampled_from(WHERES))
def test_an_answer_stands_in_the_text(text: str, where: str) -> None:
    answer = Extract.parse(where)(ASKED, text)
    if answer is not None:
        assert 0 <= answer.start <= answer.end <= len(text)
        start = answer_start(text)
        assert start is not None
        assert answer.end > start or not answer.text


@given(
    before=st.sampled_from(["", "We add.\n", "The answer is 7.\n", "#### Step 1\nx\n", "\\boxed{}\n", "Answer:\n"]),
    n=st.integers(),
)
@pytest.mark.parametrize(
    "said",
    ["#### {}", "\\boxed{{{}}}", "The answer is {}", "Answer: {}", '"answer": "{}"', "<answer>{}</answer>", "答案：{}"],
)
def test_what_is_announced_last_is_found(said: str, before: str, n: int) -> None:
    for after in ("", "\n", "\n\nThis was all."):
        assert found(before + said.format(n) + after) == str(n)


READERS = {where: where for where in ("auto", "box", "hash", "phrase", "tag:answer", "json:answer")}


def reader_for(where: str, asked: str = "How many?") -> DecidedReader:
    reader = Extract.parse(where).reader(Prompt(prompt_id="p", prompt=asked), bool)
    assert reader is not None
    return reader


@pytest.mark.parametrize("where", READERS)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 120), max_size=8), more=TEXTS)
def test_a_reader_says_the_same_however_the_text_arrives(where: str, text: str, cuts: list[int], more: str) -> None:
    whole = reader_for(where).feed(text)
    for places in (sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)}), range(len(text) + 1)):
        reader = reader_for(where)
        said = [reader.feed(text[a:b]) for a, b in pairwise(places)]
        assert (said or [None])[-1] == whole
        assert len(set(said) - {None}) <= 1
    if whole is not None:
        assert 0 < whole <= len(text)
        assert reader_for(where).feed(text + more) == whole


@given(text=TEXTS)
def test_what_a_reader_keeps_has_an_answer(text: str) -> None:
    for where in ("box", "hash", "tag:answer"):
        end = reader_for(where).feed(text)
        if end is not None:
            assert Extract.parse(where)(ASKED, text[:end]) is not None or "that is wrong" in text or "wait, no" in text


@pytest.mark.parametrize("where", ["auto", "json:answer", "last", "regex:4(2)"])
@pytest.mark.parametrize(
    "unit", [*PIECES, "answer ", "the answer to of in ", "\\boxed{1}", '{"answer": ', "\nQ: answer: ", "is the answer "]
)
def test_time_is_linear_in_a_hostile_text(where: str, unit: str) -> None:
    """Within a generous bound: quadratic time would take minutes."""
    text = unit * (50_000 // len(unit))
    extract = Extract.parse(where)
    started = time.process_time()
    extract(ASKED, text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("unit", PIECES)
def test_a_reader_takes_linear_time(unit: str) -> None:
    text = unit * (30_000 // len(unit))
    reader = reader_for("auto")
    started = time.process_time()
    for at in range(0, len(text), 50):
        reader.feed(text[at : at + 50])
    assert time.process_time() - started < 5


@given(TEXTS)
def test_markers_come_in_order_and_what_they_announce_lies_after_them(text: str) -> None:
    starts = [-1]
    for marker in markers(text):
        assert starts[-1] < marker.start < marker.at <= len(text)
        starts.append(marker.start)
        announced = read(marker, text)
        assert marker.at <= announced.end <= len(text)
