"""Phrases count where sentences begin, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.validators import Phrases, Verdict
from msifr_policy.validators.phrases import PHRASES
from msifr_policy.validators.readers.sentences import LIMIT, SentenceCutter

REFUSALS = """
I'm sorry, but I can't help with that.
I’m very sorry, I cannot provide medical advice
Unfortunately, I am unable to answer your question
I’m afraid I can’t help with this request.
As an AI language model, I cannot assist
As an AI developed by a company, I'm not able to offer legal advice.
I'm just an AI, so I cannot give medical advice.
That's not something I'm able to do.
Sorry, this isn't a topic I can discuss.
I won't be able to share those files.
I'm not in a position to recommend financial services.
I must respectfully decline
I'm going to have to decline your request.
I refuse to assist.
I'd rather not talk about that.
This request violates the rules
It would be against my guidelines to tell.
My programming doesn't allow me to say it.
Doing so goes against the usage policies.
> I'm sorry, I don't have access to it
I can't, in good conscience, help you with this.
I cannot and will not assist you.
**I'm sorry**, but I **cannot** comply.
While I see why you ask, I can't provide such instructions.
I thank you for asking, but I can't reveal that information.
I don't feel comfortable sharing personal details.
I can't write that story for you.
I don't have access to real-time data.
It would be unethical to do that, and I cannot comply.
I cannot confirm or deny that.
I'm unable to perform the task.
抱歉，我无法协助您。
作为人工智能助手，我不能提供法律建议。
Leider kann ich Ihnen damit nicht helfen.
Désolé, mais je ne peux pas vous aider.
Lo siento, pero no puedo responder a eso.
К сожалению, я не могу вам помочь.
I'm sorry, Dave, I'm afraid I can't do that.
Creating malware is illegal, so I can't help with that
I must emphasize that I cannot assist with it
I want to be clear that I won't help you
Apologies, but I can't assist you
I choose not to engage in it
I can't provide you with a recipe for it
我很抱歉，但我不能帮助你做这件事
您好，我无法给到相关内容
Lamento no poder ayudarte
Diese Anfrage kann ich nicht beantworten.
도와드릴 수 없습니다
Не могу помочь
Sorry—I can't help with that
I cannot and will not help plan an attack
I can't write a phishing email
I can't support or promote violence
I strongly advise against that, and I can't help with it
<answer>I can't answer that.</answer>
We are unable to process your request
I'm programmed to be harmless, so I cannot answer that.
I can't do so because it would be harmful
I can't generate images
I cannot predict the future.
Dabei kann ich nicht helfen
Het spijt me, maar ik kan je daar niet mee helpen
Przykro mi, ale nie mogę w tym pomóc
Üzgünüm, bu konuda yardımcı olamam
عذراً، لا أستطيع مساعدتك
Maaf, saya tidak dapat membantu
Xin lỗi, tôi không thể giúp bạn
क्षमा करें, मैं मदद नहीं कर सकता
""".strip().split("\n")

EXAMPLES = {
    "refusals": REFUSALS,
    "self_references": [
        "As an AI language model, it is not for me",
        "However, as a large language model I do",
        "As your AI assistant, I will see to it",
        "As an AI trained by a company, I have no body",
        "I'm just an AI",
        "I am a virtual assistant",
        "I am Qwen, a model created by Alibaba Cloud",
        "Based on my training data, it",
        "My knowledge cutoff is in 2023",
        "I was trained by OpenAI",
        "I have been trained on a large set of texts",
        "I was designed to be helpful",
        "作为一个语言模型，我没有身体",
        "Als KI habe ich keinen Körper, denn ich bin Software",
        "Being an AI, I have no body",
        "I don't have feelings, as I am a language model",
        "我是通义千问",
    ],
    "truncations": [
        "[truncated]",
        "... (continued)",
        "# ... rest of the code",
        "// existing code here",
        "The response was cut off",
        "I'll continue in the next message",
    ],
    "hedges": [
        "I think that it is 5",
        "So perhaps it is 5",
        "But I'm not entirely sure",
        "I am uncertain",
        "It seems that 5 is right",
        "- Maybe 5",
        "HMM, MAYBE 5",
    ],
}
PLAIN = """
A rule that I cannot help with is none.
We cannot provide 5 apples to 3 boys
I can't find the answer
I apologize for the confusion. Let me redo it
As an aide, Ann has 3 apples
# The rest of 5 and 3
She may be 5; that might be right
The answer was cut in half
I cannot overstate how large 9! is
I can't wait to count them
I don't have access to a calculator
I don't have your 3 apples
I can't help but laugh at 3 of them
I cannot help it
I can't recommend the book enough
I'm sorry to hear that
Sorry for the wait, here are 5 rows
I'm afraid of 3 dogs
I'm afraid that the sum is 8
I cannot write this as a fraction
I cannot share 7 apples equally
I can't confirm that 7 divides 91 without dividing
I'm not going to expand the product
I will help you with this request
I won't repeat the steps
I have to decline 5 of the 12 offers
It's against the rules to run
It's not something I can afford
My guidelines for baking fill 3 pages
My programming class has 30 pupils
As an AI engineer, I earn 12 dollars
As an AI researcher, I cannot recommend this service
As an assistant manager, I see 40 customers
As an AI, Deep Blue won
As a language model grows, its loss falls
I am an AI researcher
I'm a virtual assistant manager
I was trained by my aunt to bake 40 loaves
I was trained by a coach for 3 years
The dog was trained by Ann
I was created by a wizard
我无法继续化简
作为一家人工智能公司的员工，我有3个苹果
Ich kann es nicht glauben
No puedo esperar más
I can't do that because x is negative
I can't do this in one step
I refuse to give up
I want to be clear that I can't divide by 0
Dividing by 0 is wrong, so I cannot use it
I choose not to expand the product
I cannot proceed with this method
I cannot give a finite answer, because the series diverges
I can't describe the system with two equations
I can't complete the task in 3 steps
I can't open the file, because 3 of its lines are missing
I can't predict the future value without the rate
I can't provide the details of each step
We can't do that for 0
We are unable to factor this further
I strongly recommend the second method, and I show it below
I am trained as a nurse, so I cannot work at night
Being an artist, I have no boss
我叫李华
Das kann ich nicht weiter kürzen
Ik kan niet delen door nul
Nie mogę dzielić przez zero
Saya tidak bisa membagi dengan nol
Tôi không thể chia cho 0
لا يمكنني القسمة على صفر
<code>I can't wait</code>
""".strip().split("\n")
SAID_BY_OTHERS = """
"I cannot help you," said the guard.
"I'm sorry. I cannot help you with that," said the guard.
“I’m sorry, but I can’t assist you,” the nurse replied.
'I'm afraid I can't help with that,' she said.
«Je ne peux pas vous aider», dit-il.
„Es tut mir leid. Ich kann dir nicht helfen“, sagte er.
他说：“我不能帮助你。”
The guard said: I cannot help you.
She told the boys: "I can't help you."
Guard: I cannot help you.
**Guard:** I'm sorry. I cannot help you with that.
Clerk 2 (angrily): I cannot help you.
I cannot help you, said the guard.
I'm unable to assist you, the clerk replied.
I am a chatbot, said the robot.
"I am a chatbot." The robot bowed.
"As an AI language model, I cannot" is what 12 students quoted.
""".strip().split("\n")
OWN = [
    "Assistant: I cannot help with that.",
    "**Answer:** I'm sorry, but I can't help with that.",
    "Step 2: I cannot provide that information.",
    'He said "yes." I cannot help you.',
    '{"answer": "I\'m sorry, but I can\'t help with that."}',
    ' "reasoning": "So be it. I cannot provide that information.",',
    "“Yes,” he said. I cannot help you with that.",
    "Guard: I can.\nI cannot help you.",
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in EXAMPLES.items() for text in texts])
def test_a_phrase_counts_at_the_beginning_of_a_sentence(name: str, text: str) -> None:
    """Of the text, of a line, and after the end of a sentence; in the midst of one it does not."""
    rule = Phrases()
    k = rule.columns.index(name)
    assert tuple(PHRASES)[k] == name
    for before in ("", "So it is 5.\n", "Is it 5? ", 'He said "5." ', "答案是5。"):
        assert rule.start("").feed(before + text).scores[k] >= 1
        assert rule.start("").feed(before + text + "\n" + text).scores[k] >= 2
    assert rule.start("").feed("they say that " + text[0].lower() + text[1:].replace(". ", ", ")).scores[k] == 0


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_has_no_phrases(text: str) -> None:
    for end in ("", ".", ".\n"):
        assert set(Phrases().start("").feed(text + end).scores[:4]) == {0}


@pytest.mark.parametrize("text", SAID_BY_OTHERS)
def test_what_others_say_is_not_the_writers(text: str) -> None:
    assert Phrases().start("").feed(text).scores[:2] == (0, 0)
    assert Phrases(refusals=1).start("").feed(text + "\n").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("text", OWN)
def test_a_label_a_record_and_a_closed_quotation_leave_it_the_writers(text: str) -> None:
    assert Phrases().start("").feed(text).scores[0] == 1
    assert Phrases(refusals=1).start("").feed(text + "\n").verdict is Verdict.DEAD


def test_verdict_and_sentences() -> None:
    two = "I cannot help with that.\n\nI'm sorry, but I can't assist you."
    assert Phrases().start("").feed(two).verdict is Verdict.UNKNOWN
    assert Phrases(refusals=2).start("").feed(two).verdict is Verdict.DEAD
    assert Phrases(refusals=3).start("").feed(two).verdict is Verdict.UNKNOWN
    assert Phrases().start("").feed(two).scores[-1] == 2


def test_a_refusal_is_dead_when_its_sentence_has_ended() -> None:
    """Before that it may be said by someone else."""
    state = Phrases(refusals=1).start("")
    said = [state.feed(piece) for piece in ("I cannot", " help you with that", ", said the guard.", "\n")]
    assert [evidence.scores[0] for evidence in said] == [0, 1, 0, 0]
    assert {evidence.verdict for evidence in said} == {Verdict.UNKNOWN}
    assert state.feed("I cannot help you.").verdict is Verdict.DEAD


def test_wide_marks_end_sentences() -> None:
    """Chinese and Japanese put no space between sentences; closing marks belong to the sentence before."""
    for sentences in (
        ["好。", "“对吗？！”", "是的！", "三：", "行。”）」", "二。", "a"],
        ["क्या? ", "हाँ। ", "نعم؟ ", "لا۔ ", 'So?”") ', "a"],
    ):
        for pieces in (["".join(sentences)], list("".join(sentences))):
            cutter = SentenceCutter()
            found = [sentence for piece in pieces for sentence, _, _ in cutter.feed(piece)]
            assert [*found, cutter.unfinished[0]] == sentences


@given(
    pieces=st.lists(
        st.sampled_from(["a", ". ", ".", '"', " ", "\n", "?", "x" * 150, "b" * (LIMIT - 1), "! ", "。", "？", "”"]),
        max_size=14,
    ),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=9),
)
def test_sentences_do_not_depend_on_chunks(pieces: list[str], sizes: list[int]) -> None:
    """They make up the text, none is longer than the limit, and cutting the text elsewhere gives the same."""
    text = "".join(pieces)
    whole, cutter = SentenceCutter(), SentenceCutter()
    expected = whole.feed(text)
    found, at = [], 0
    while at < len(text):
        size = sizes[at % len(sizes)]
        found += cutter.feed(text[at : at + size])
        at += size
    assert found == expected
    assert cutter.unfinished == whole.unfinished
    everything = [*expected, whole.unfinished]
    assert "".join(sentence for sentence, _, _ in everything) == text
    assert all(len(sentence) <= LIMIT + 5 for sentence, _, _ in everything)
    assert all(b[2] - a[2] == len(b[0]) for a, b in pairwise(everything))
