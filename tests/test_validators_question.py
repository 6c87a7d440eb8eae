"""What makes a generated question well posed, and what gives it away."""

from __future__ import annotations

import math

import pytest

from msifr_policy.validators import Question, Verdict

GOOD = "Ann has 12 apples. She gives half of them to Bob. How many apples are left?"


def scores(text: str) -> dict[str, float]:
    return dict(zip(Question().columns, Question().start("").feed(text).scores, strict=True))


def verdict(text: str) -> Verdict:
    return Question(strict=True).start("").feed(text).verdict


def test_a_good_question() -> None:
    assert scores(GOOD) == {"asks": 1, "quantities": 2, "dangling": 0, "placeholders": 0, "leaks": 0, "after": 0}


ASKS = r"""
Find the area of a square of side 3.
If x = 5, find 2x.
1. Prove that 2 is even.
"Is it 5?"
Is $x=5$?
Determine all primes below 10
Let $x = 5$. Compute $2x$
\[x^2 + 4x = 21\]Find x
Hence, or otherwise, evaluate the sum.
Write 0.5 as a fraction
Return the number of primes below 20
Given a string s, return the number of its vowels
For an integer n, print the first n squares
Explain why 7 is prime
Which number is larger, 3 or 5
Tell me how many apples are left
Your task is to find the sum of 3 and 4
Ann wants to know how many are left
At what time will it be full
Round 3.14 to one decimal place: round to the nearest tenth
The capital of France is ____.
3 + 4 =
小明有9个苹果，吃了2个，还剩几个？
已知x+y=5，求x
这个数是质数吗
一共有多少人
请证明三角形内角和为180度
Berechne den Rest
Wie viele Äpfel bleiben übrig
Calculez l'aire du carré
Combien de pommes reste-t-il
¿Cuántas manzanas quedan?
Halla el valor de x
Quante mele restano
Quantas maçãs sobraram
Найдите площадь квадрата
Сколько яблок осталось
Oblicz pole kwadratu
Kaç elma kaldı
Berapa apel yang tersisa
Có bao nhiêu quả táo
面積を求めよ
りんごは何個残っていますか
넓이를 구하시오
كم تفاحة بقيت؟
כמה תפוחים נשארו
कितने सेब बचे हैं
เหลือแอปเปิลกี่ผล
Πόσα μήλα έμειναν;
Είναι το 5 πρώτος;
x=5，对？
""".strip().split("\n")


@pytest.mark.parametrize("text", ASKS)
def test_it_asks(text: str) -> None:
    assert scores(text)["asks"] >= 1
    assert scores(text)["after"] == 0
    assert scores(f"Ann has 12 apples. {text}\n")["asks"] >= 1
    assert verdict(text) is Verdict.UNKNOWN


TELLS = """
Ann has 12 apples.
Express trains run at 100 km/h.
State taxes are 5 percent.
List prices are 5 dollars.
Show times are 5 and 7 pm.
They can read and write 5 words.
The price which she paid was 5 dollars.
In what follows, x is positive.
For example, solve(1) = 2.
    return the_sum
    return all(x > 0 for x in y)
They borrow 3 books and return the books.
小明有9个苹果。
几乎所有人都来了3次。
老师要求学生做3道题。
这台计算机有3个接口。
Ann hat 3 Äpfel.
Juan tiene 3 manzanas que compró.
У Ани 3 яблока.
りんごが3個あります。
사과가 3개 있다.
""".strip().split("\n")


@pytest.mark.parametrize("text", TELLS)
def test_it_only_tells(text: str) -> None:
    assert scores(text)["asks"] == 0


@pytest.mark.parametrize("text", ["3", "half of it", "٣ تفاحات", "三个苹果", "½ cup", "５個"])
def test_quantities_in_any_writing(text: str) -> None:
    assert scores(text)["quantities"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "the triangle in the figure",
        "Using the table above, add",
        "as shown below",
        "the previous problem",
        "Look at the picture.",
        "In der Abbildung ist AB = 5.",
        "Siehe die Skizze.",
        "Dans la figure, AB = 5.",
        "En la figura, AB = 5.",
        "На рисунке AB = 5.",
    ],
)
def test_it_refers_to_what_is_not_there(text: str) -> None:
    assert scores(text)["dangling"] == 1
    assert scores(text)["asks"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "Find the slope of the graph of y = 2x.",
        "She tries to figure out a riddle.",
        "Use the following data: 3, 5, 7.",
        "Solve the following equation: x = 5.",
        "He answers the last question first.",
        "She will look at 3 pictures.",
        "Eine Figur hat 5 Ecken.",
    ],
)
def test_it_refers_to_what_it_holds(text: str) -> None:
    assert scores(text)["dangling"] == 0


GAPS = """
[Insert name] has 3 dogs
[Name] has 3 dogs.
[Person 1] has [number] dogs. How many are left?
{{name}} has 3
{name} has {number1} apples.
Ann has ____ dogs
Ann has ____ dogs. How many legs do they have?
Ann has [X] dogs and eats 3.
[QUESTION]
<question>
A train goes [distance] km.
A shop sells $[number] dogs.
<number> dogs
<insert a number> dogs cost 3.
TODO
TODO: write it
Ann has TBD apples.
Lorem ipsum dolor sit amet.
INSERT_NAME has 3.
(insert name here) has 3.
[插入数字]个苹果
""".strip().split("\n")


@pytest.mark.parametrize("text", GAPS)
def test_it_leaves_a_gap(text: str) -> None:
    assert scores(text)["placeholders"] == 1
    assert Question().start("").feed(text).verdict is Verdict.UNKNOWN
    assert verdict(text) is Verdict.DEAD


NO_GAPS = [
    *r"""
Solve the equation \[x^2 + 4x = 21\] for positive x.
Let \[name = 5\]. Find 2 name.
Find the length of the interval [x, x+3].
Let [x] denote the greatest integer of x. Find [3.7].
$$[x]^2 + 4 = 8$$ Solve for x.
Let S = {{1}, {2, 3}}. How many elements has S?
Simplify $x^{{2}} \cdot \frac{{a}}{{b}}$.
Given the set {name, number}, how many elements are there?
How many atoms are in [Cu(NH3)4]2+ and K3[Fe(CN)6]?
What does `[name]` match in `<name>` and `{{name}}`?
What does arr[value] hold for arr = [1, 2]?
See [name](https://example.org/3). What is 3 + 4?
What is printed by <name>Bob</name>?
Find x such that a<number and b>3.
Solve in $\mathbb{Z}[x]$ and write \text{[number]} below.
¿Cuánto gastó en todo?
Fill in the blank: Ann has ____ dogs and 3 cats.
Ann has ____ dogs, twice as many as 3. What number goes in the blank?
Complete the pattern: 2, 4, ____, 8 and so on.
3 + ____ = 7. What is missing?
Answer: ____
What is 3 + 4? Give your answer in the form [number].
What does f("lorem ipsum") return?
""".strip().split("\n"),
    "The city was one of ____ ports.\nOptions:\nA. two\nB. three",
    "What is f(3)?\n```python\ndef f(n):\n    return {{name}} + [name]\n```\nIs it 3?",
]


@pytest.mark.parametrize("text", NO_GAPS)
def test_notation_and_what_is_asked_for_are_no_gaps(text: str) -> None:
    assert scores(text)["placeholders"] == 0
    assert verdict(text) is Verdict.UNKNOWN


LEAKS = [
    *r"""
The answer is 6.
The answer is $6$.
So the final answer is \boxed{6}.
Thus, the answer is (B).
Hence the answer is six.
So the answer is valid.
The answer is (J).
The correct answer is: (M) silver
Answer: 6
Answer:6
**Answer:** B
#### 6
so \boxed{6}
It is \boxed{\frac{1}{2}}
**Solution:** we add
Let's solve it
Let's solve this step by step.
To solve this problem, we add.
Therefore, it is 6.
答案是6。
答案：6
解：我们相加
Antwort: 6
La respuesta es 6.
Réponse : 6
Ответ: 6
""".strip().split("\n"),
    "**Solution**\nWe add.",
    "Explanation: we add",
    "[Answer: 6]",
    "<answer>6</answer>",
    "<solution>6</solution>",
    "Ans: 6",
    "(Ans. 6)",
    "Correct option: B",
    "<answer> x = 6 </answer>",
]


@pytest.mark.parametrize("text", LEAKS)
def test_it_gives_the_answer_away(text: str) -> None:
    seen = scores(f"{GOOD}\n{text}")
    assert seen["leaks"] >= 1
    assert seen["after"] == len(text)
    assert verdict(f"{GOOD}\n{text}") is Verdict.DEAD
    assert verdict(GOOD) is Verdict.UNKNOWN


NO_LEAKS = [
    *r"""
What is 3 + 4? Put your final answer in \boxed{}.
What is 3 + 4? Write the answer as \boxed{answer}.
What is 3 + 4? The final answer goes into \boxed{}.
What is half of 3? Put the result as \boxed{a/b}.
The answer is 12 if x is which number?
What is 3 + 4? The answer is an integer.
What is 3 + 4? The answer is unique.
What is 3 + 4? The answer is no more than 10.
What is 3 + 4? The answer is a 1-digit number.
If the answer is 12, what is x in x + 5?
Tom says the answer is 12. Is he right?
When 8 is divided by 3, the answer is 2. What remains of 8?
Hence, or otherwise, find 3 + 4.
She ate 3. Therefore, how many are left of 5?
Is it late? asks Tom. Therefore, he has 5 minutes. How many seconds is that?
Find the solution: x + 3 = 5.
A 5% salt solution is mixed. How much salt is in 3 liters?
求 3+4。请写出答案：
答案是整数，求 x+3=5 的 x。
""".strip().split("\n"),
    "#### Problem 3\nFind x.",
    "#### 3. Find x",
    "Question: What is 3 + 4?\nAnswer:",
    "Question: What is 3 + 4?\nAnswer: ____",
    "What is 3 + 4? [Answer: ]",
    "A: 3/4. B: 4/5. Which is larger, A or B?",
    "What is 3 + 4?\nA: 7\nB: 8",
    "What is 3 + 4? Give the answer in <answer> </answer>.\n<answer>your answer</answer>",
    "Return the sum of a list.\nExample 1:\nInput: [1, 2]\nOutput: 3\nExplanation: so the answer is 3. Thus, add.",
]


@pytest.mark.parametrize("text", NO_LEAKS)
def test_what_gives_no_answer_is_no_leak(text: str) -> None:
    assert scores(text)["leaks"] == 0
    assert verdict(text) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "text", ["Q: What is 3 + 4?\nA: 7", "Question: 3 + 4? A: 7.", "**Q:** Is it 7?\n**A:** It is."]
)
def test_a_dialogue_gives_the_answer_away(text: str) -> None:
    """After "Q:", "A:" is no option; as long as nothing follows it, nothing is said."""
    assert verdict(text) is Verdict.DEAD
    assert verdict(text[: text.rindex("A:") + 2]) is Verdict.UNKNOWN


def test_nothing_asked_yet() -> None:
    assert math.isnan(scores("Ann has 12 apples.")["after"])
    assert math.isnan(scores("")["after"])
