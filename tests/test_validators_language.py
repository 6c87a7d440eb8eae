"""The language of a text is told by its function words and scripts, and compared with the prompt's."""

from __future__ import annotations

import math

import pytest

from msifr_policy.validators import Language
from msifr_policy.validators.language import RECENT, STEP, spoken

SAID = {
    "en": "The answer then is given by adding all of the numbers that we have, and so they have 3 + 4 = 7 apples. ",
    "de": "Wir addieren die Zahlen und erhalten das Ergebnis, das nicht negativ ist, also sind es 7 Äpfel. ",
    "fr": "Nous avons donc les nombres et le résultat est une somme qui est dans le tableau avec les pommes. ",
    "es": "Entonces los números que hay en el problema son para sumar y el resultado es una cantidad más. ",
    "it": "Quindi il numero che si ottiene è la somma degli altri e non è il prodotto nel caso con gli altri. ",
    "pt": "Então os números são somados e o resultado não é um produto em uma tabela dos alunos com mais. ",
    "nl": "Wij tellen de getallen op en het antwoord is dus niet meer dan het aantal dat wordt gevraagd aan ons. ",
    "han": "我们把这些数字加起来得到答案，所以答案是七个苹果。",
    "kana": "これらの数を足すと答えが得られます。したがって答えは七です。",
    "hangul": "이 숫자를 모두 더하면 답은 일곱 개의 사과입니다. ",
    "cyrillic": "Складываем все числа и получаем ответ, то есть семь яблок. ",
    "arabic": "نجمع الأعداد ونحصل على الجواب وهو سبع تفاحات. ",
}
ALL = pytest.mark.parametrize("language", SAID)


def scores(prompt: str, text: str) -> dict[str, float]:
    return dict(zip(Language().columns, Language().start(prompt).feed(text).scores, strict=True))


def much(language: str, blocks: int = 2 * RECENT) -> str:
    return (SAID[language] * (blocks * STEP))[: blocks * STEP]


@ALL
def test_each_language_is_told(language: str) -> None:
    assert spoken(SAID[language])[0] == language
    seen = scores(SAID[language], much(language))
    assert (seen["foreign"], seen["drift"], seen["switches"]) == (0, 0, 0)


@ALL
def test_leaving_the_language_shows(language: str) -> None:
    """And coming back shows too; the script shows where there is another."""
    other = "de" if language == "en" else "en"
    away = scores(SAID[other], much(other) + much(language))
    assert away["drift"] == 1
    assert away["switches"] == 1
    assert (away["foreign"] > 0.5) == (language not in ("de", "fr", "es", "it", "pt", "nl", "en"))
    back = scores(SAID[other], much(other) + much(language) + much(other))
    assert (back["foreign"], back["drift"], back["switches"]) == (0, 0, 2)


def test_mathematics_speaks_no_language() -> None:
    """Formulas neither drift nor switch, Greek letters are not foreign."""
    formulas = r"\alpha = \frac{3}{4} + x_i, \sum_{i=1}^n a_i = β + γ ≤ π ∈ ℝ " * 100
    seen = scores(SAID["en"], much("en") + formulas)
    assert seen["foreign"] == 0
    assert seen["switches"] == 0
    assert math.isnan(seen["drift"])


def test_without_a_prompt_the_text_sets_its_language() -> None:
    assert scores("", much("de"))["drift"] == 0
    assert scores("", much("de") + much("en"))["drift"] == 1
    assert math.isnan(scores("", SAID["de"])["drift"])  # less than a sample
    assert scores("3 + 4 =", much("fr"))["drift"] == 0
