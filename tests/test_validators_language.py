"""The language of a text is told by its function words and scripts, and compared with the prompt's."""

from __future__ import annotations

import math

import pytest

from msifr_policy.validators import Language
from msifr_policy.validators.language import RECENT, STEP, spoken
from msifr_policy.validators.readers.asked_language import asked_languages
from msifr_policy.validators.readers.scripts import script

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
    "greek": "Προσθέτουμε όλους τους αριθμούς και βρίσκουμε την απάντηση, δηλαδή επτά μήλα. ",
    "hebrew": "נחבר את כל המספרים ונקבל את התשובה, כלומר שבעה תפוחים. ",
    "devanagari": "हम सभी संख्याओं को जोड़ते हैं और उत्तर पाते हैं, यानी सात सेब। ",
    "bengali": "আমরা সব সংখ্যা যোগ করি এবং উত্তর পাই, অর্থাৎ সাতটি আপেল। ",
    "thai": "เราบวกจำนวนทั้งหมดแล้วได้คำตอบคือแอปเปิลเจ็ดผล ",
    "georgian": "ვკრებთ ყველა რიცხვს და ვიღებთ პასუხს, ანუ შვიდ ვაშლს. ",
    "armenian": "Գումարում ենք բոլոր թվերը և ստանում պատասխանը՝ յոթ խնձոր։ ",
    "tamil": "எல்லா எண்களையும் கூட்டி விடையைப் பெறுகிறோம், அதாவது ஏழு ஆப்பிள்கள். ",
    "telugu": "అన్ని సంఖ్యలను కలిపి సమాధానం పొందుతాము, అంటే ఏడు ఆపిల్లు. ",
    "ethiopic": "ሁሉንም ቁጥሮች እንደምራለን እና መልሱን እናገኛለን ማለትም ሰባት ፖም። ",
    "khmer": "យើងបូកលេខទាំងអស់ ហើយទទួលបានចម្លើយ គឺប្រាំពីរ។ ",
    "sv": "Vi lägger ihop talen och får svaret, det är inte många också när varje äpple räknas. ",
    "fi": "Lasketaan luvut yhteen ja saadaan vastaus, joka ei ole enempää kuin seitsemän omenaa. ",
    "cs": "Sečteme čísla, protože to je součet, který není menší než sedm jablek nebo hrušek. ",
    "hu": "Az összeg minden szám együtt, tehát hét alma, és ez nem több, mint nyolc. ",
}
LATIN = {"en", "de", "fr", "es", "it", "pt", "nl", "sv", "fi", "cs", "hu"}
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
    assert (away["foreign"] > 0.5) == (language not in LATIN)
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


@pytest.mark.parametrize(
    ("char", "expected"),
    [
        *((char, "latin") for char in "aé\uff21\u212a\u212b"),
        ("ﬁ", ""),
        *((char, "greek") for char in "αΩ\u2126ἀ"),
        *((char, "") for char in "ℝℵ\u00b5𝑥ªʰ5+ ١"),
        *((char, "han") for char in "漢々㐀\uf900"),
        *((char, "kana") for char in "がアｶー"),
        *(("А", "cyrillic"), ("א", "hebrew"), ("ع", "arabic"), ("अ", "devanagari"), ("অ", "bengali"), ("ก", "thai")),
        *(("அ", "tamil"), ("አ", "ethiopic"), ("ა", "georgian"), ("Ա", "armenian"), ("Ꮳ", "cherokee"), ("가", "hangul")),
    ],
)  # fmt: skip
def test_letters_have_the_script_of_their_name(char: str, expected: str) -> None:
    """Letters of mathematics and digits have none; another form of a letter has the script of that letter."""
    assert script(char) == expected


def test_few_greek_letters_are_symbols() -> None:
    """Also without a space between them; words are of a script as any other."""
    formulas = "the angle αβγ and the sum of Δx are in ΔABΓ. " * 40
    assert scores(SAID["en"], formulas)["foreign"] == 0
    assert scores(SAID["en"], "η τιμή είναι " * 80)["foreign"] == 1


def test_a_language_among_formulas_is_told() -> None:
    """Names of commands are Latin letters, but no words."""
    mixed = r"设 \frac{a}{b}=\sqrt{c} 因此 \alpha+\beta 是整数 "
    assert spoken(mixed)[0] == "han"
    assert spoken(r"\frac{a}{b}=\sqrt{c} \alpha+\beta 设")[0] == ""
    assert spoken("The name of the city is not 北京 but it has the same sound as 背景")[0] == "en"


ASKED = """
de|Translate the following text into German: First we count the apples.
han|Translate into Chinese: the cat sat.
greek|How many apples are left? Answer in Greek.
es|You must reply in Spanish, even if the question is in English.
fr|Output language: French
de|Language: German
en|Translate from German to English: Der Hund schläft.
kana|Think step by step in Japanese.
de|Answer the question in **German**.
fr|Your explanation should be in French.
tamil|Translate this to Tamil.
hangul|Always respond in the Korean language.
devanagari|Write a poem in Hindi about the sea.
de|Use German.
de|Respond in {German}.
bengali|Only Bengali is allowed in your response.
cyrillic|No language other than Russian is allowed.
arabic|Give me the Arabic translation: how many?
fr|Respond in "French".
nl|I want you to speak Dutch with me.
es|You should always speak Spanish.
de|Please give your response in the following language: German.
de|The user speaks German.
cyrillic|Ответь по-русски: how many?
en|Объясни по-английски, сколько яблок осталось.
es|In Spanish, explain how to add fractions.
thai|Question (in Thai): what is 2 + 3?
de fr|Answer in German and then explain in French.
fr|English: The dog sleeps.\\nFrench:
de|Antworte auf Deutsch. How many?
en|Wie viele Äpfel bleiben? Bitte antworten Sie auf Englisch.
en|Übersetze den Satz ins Englische: Der Hund schläft.
en|Combien de pommes ? Répondez en anglais.
es|Por favor, responde en español con detalle.
it|Rispondi in italiano: how many?
cyrillic|Пожалуйста, отвечайте на русском языке.
pl|Odpowiedz po polsku.
vi|Trả lời bằng tiếng Việt.
id|Jawab dalam bahasa Indonesia.
en|请用英文回答：还剩几个苹果？
han|请用中文解答。
fr|将以下内容翻译为法语：你好。
kana|日本語で答えてください。
hangul|한국어로 답하세요.
arabic|أجب باللغة العربية
hebrew|ענה בעברית
""".strip().split("\n")
NOT_ASKED = """
She got 80 marks in English and 70 in French. How many in all?
There are 30 students in German class. How many are left?
18 students speak French and 12 speak Spanish. How many speak both?
Write a letter to German officials.
Tell the joke to German and to Ann.
Describe life in Polish cities.
Ann wrote 3 essays in French last week. How many pages?
In German, nouns are capitalised. How many nouns are in 3 lines?
A book in Spanish costs 5 dollars. Find the cost of 3.
Do not answer in English.
Tom must speak German for 3 hours. How many are left?
The customers speak French and buy 3 apples.
User: English is fun with 3 friends.
French fries cost 3 dollars.
The German team scored 3 goals.
John teaches in Chinese schools. Compute his pay.
小明英语考了90分，语文考了80分。
Er hat in Englisch eine 2 und in Deutsch eine 1.
Tiene 8 en inglés.
不要用英文回答。
""".strip().split("\n")


@pytest.mark.parametrize("line", ASKED)
def test_a_language_that_is_asked_for(line: str) -> None:
    languages, prompt = line.replace("\\n", "\n").split("|")
    assert asked_languages(prompt) == set(languages.split())
    assert asked_languages("So it is.\n" + prompt) == set(languages.split())


@pytest.mark.parametrize("prompt", NOT_ASKED)
def test_a_language_that_is_named_is_not_asked_for(prompt: str) -> None:
    assert asked_languages(prompt) == set()


def test_what_is_asked_for_is_no_drift() -> None:
    """And what the prompt is written in then is, as another script is foreign."""
    for language, prompt in (
        ("de", "Answer in German."),
        ("greek", "Answer in Greek."),
        ("kana", "Answer in Japanese."),
    ):
        asked = scores(f"{SAID['en']} {prompt}", much(language))
        assert (asked["foreign"], asked["drift"]) == (0, 0)
        assert scores(f"{SAID['en']} {prompt}", much("en"))["drift"] == 1
        assert scores(f"{SAID['en']} {prompt}", much("arabic"))["foreign"] == 1
    assert scores("How do you and your friends say that in German?", much("de"))["drift"] == 0
    assert scores("How do you and your friends say that in German?", much("en"))["drift"] == 0
    assert scores("How do you and your friends say that in German?", much("fr"))["drift"] == 1
    for forbidden in ("Do not answer in German.", "Never respond in German.", "Avoid answering in German."):
        assert scores(f"{SAID['en']} {forbidden}", much("de"))["drift"] == 1
    both = scores("Answer in English and in German.", much("en") + much("de"))
    assert both["drift"] == 0
    assert scores("Answer in German. " + SAID["en"] * 1000, much("de"))["drift"] == 0
    assert scores(SAID["en"] * 1000 + "Answer in German.", much("de"))["drift"] == 0
