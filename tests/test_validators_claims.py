"""What is no claim of a text, or is true in its units, notation or system, is not called false; what is claimed is."""

from __future__ import annotations

import pytest

from msifr_policy.testing.validators import same_evidence
from msifr_policy.validators import Arithmetic, Verdict

SHOWN = r"""
It is impossible to have 7 + 8 = 16.
We get 7 + 8 = 16, which is not possible.
7 + 8 = 16. The sides do not match.
7 + 8 = 16. Incorrect, it is 15.
Check whether 7 + 8 = 16 is true.
He forgot to carry, so he got 27 + 6 = 23.
The scale shows 27 + 6 = 23 because it is broken.
If she had miscounted, she would have 7 + 8 = 16.
Expected 7 + 8 = 15 but got 7 + 8 = 16.
The statement 7 + 8 = 16 has no proof.
For x = 3:\n\n4 + 2 * 2 = 9 - 2\n\nThis simplifies to\n\n4 + 4 = 7.\nThis is false.
生徒は 7 + 8 = 16 と書いた。
Is 7 + 8 = 16? No.
We need 20 in all. Try 6 + 5 + 8 = 20? No, take 6 + 5 + 9 = 20.
Does 4 * 6 = 26 look right to you?
What would happen if 3 + 3 = 7 were true.
Suppose 5 * 5 = 24.
Imagine a world where 2 + 2 = 5.
It is not true that 12 + 9 = 22.
This does not mean that 12 + 9 = 22.
We never claim that 12 + 9 = 22.
A common error: 1/2 + 1/3 = 2/5.
A student wrote 6 * 7 = 48.
A student wrote:\n\n6 * 7 = 48\n\nThe correct product is 42.
Students often write 0.5 * 0.5 = 2.5 here.
Tom says that 17 + 6 = 22, but it is 23.
She claims 90 / 6 = 16.
The first guess gives 9 + 9 = 17, which is wrong.
We would get 9 + 9 = 17 (which is false).
Adding tops and bottoms gives 1/5 + 1/4 = 2/9, a typical slip.
40 + 7 = 57. That is not correct.
40 + 7 = 57. No, it is 47.
40 + 7 = 57\nWrong!
Leo's answer: 40 + 7 = 57. The correct sum is 47.
Incorrect approaches:\n\n- 40 + 7 = 57\n- 8 * 7 = 54\n
~~40 + 7 = 57~~ 40 + 7 = 47
<del>40 + 7 = 57</del> 40 + 7 = 47
The slogan "2 + 2 = 5" stands on the wall.
The slogan “2 + 2 = 5” stands on the wall.
We are left with 0 + 9 = 4, a contradiction.
We are left with 0 + 9 = 4. But this is impossible.
Hier steht 3 + 9 = 13. Das ist falsch.
Escribió 3 + 9 = 13 en la pizarra.
Si on avait 3 + 9 = 13.
Он написал 3 + 9 = 13.
Это неверно: 3 + 9 = 13.
如果 3 + 9 = 13
"""

CLAIMED = r"""
It is impossible to have more than 7 + 8 = 16.
7 + 8 = 16. It is not possible to reach 20.
7 + 8 = 16\nAnswer: Incorrect input
7 + 8 = 16 and 3 * 3 = 9, which do not match.
We check whether 7 + 8 = 16 is a square.
He forgot his hat, so 7 + 8 = 16 are left.
They missed the bus, so they paid 7 + 8 = 16.
**Add a + b:**\n7 + 8 = 16
Then 3 + 3 = 7. Then 7 + 8 = 16. This last one is false.
Roughly, 12.31 * 2 = 24.45.
So 7 + 8 = 16.
We add: 7 + 8 = 16.
If she has 7 and he has 8, they have 7 + 8 = 16.
If she has seven, then 7 + 8 = 16 are there.
He did not eat them, so 7 + 8 = 16 remain.
Not all are red. There are 7 + 8 = 16.
Tom says it is hard, but 7 + 8 = 16.
That is wrong. The sum is 7 + 8 = 16.
7 + 8 = 16. No other number fits.
7 + 8 = 16. This is the answer.
7 + 8 = 16, so option B is wrong.
7 + 8 = 16. The correct answer is (C).
Is it much? There are 7 + 8 = 16.
Steps:\n1. 7 + 8 = 16\n2. Done
The number of students is 7 + 8 = 16.
"sum": "7 + 8 = 16", "next": 1
The ball falls again and again: 7 + 8 = 16.
In SI units, 7 + 8 = 16.
"""

CONVERTED = r"""
That is 6 / 3 = .5 hour which is 30 minutes.
Half a cup is 1/2 a cup = 4 ounces.
It is $0.50/minute * 2 hours = $60.
Die Fahrt dauert 4 Stunden + 15 Minuten = 255 Minuten.
En total 3 horas + 20 minutos = 200 minutos.
Il faut 2 heures + 45 minutes = 165 minutes.
In tutto 2 ore + 50 minuti = 170 minuti.
São 5 horas + 10 minutos = 310 minutos.
Samen 2 uur + 12 minuten = 132 minuten.
Razem 3 godziny + 30 minut = 210 minut.
Всего 2 часа + 25 минут = 145 минут.
一共 3 小时 + 25 分钟 = 205 分钟
Das kostet 4 Euro + 75 Cent = 475 Cent.
Cuesta 6 pesos + 50 centavos = 650 centavos.
Ещё 5 рублей + 60 копеек = 560 копеек.
Das Brett ist 2 Meter + 35 Zentimeter = 235 Zentimeter lang.
Questo pesa 3 chili + 200 grammi = 3200 grammi.
Man wartet 2 Wochen + 3 Tage = 17 Tage.
Hace falta 1 día + 6 horas = 30 horas.
Insgesamt 1 Stunde + 45 Minuten + 30 Minuten = 2 Stunden und 15 Minuten.
C'est 2 jours + 3 heures + 20 minutes = 3080 minutes.
It takes 3 hours + 20 minutes = 200 minutes.
The wavelength is 2 * 310.5 nm = 6.21 * 10^-5 cm.
That is 3 * 20 Gyr = 60 * 10^9 years.
The plate is 4 cm * 3 cm * 2 cm = 24 cm^3 large.
The area left is 1400 cm^2 - 400 cm^2 = 1000 cm^2 in the end.
"""

NOT_CONVERTED = r"""
We drove 30 min + 40 min = 80 min, or 1.2 hours.
For miles it is $0.22/mile * 320 miles = $67.20.
It weighs 3 lb + 4 lb = 8 lb, or 112 ounces.
They have 3 dozen + 4 dozen = 8 dozen.
Die Fahrt dauert 4 Stunden + 15 Stunden = 18 Stunden.
En total son 3 manzanas + 4 manzanas = 8 manzanas.
Zusammen sind es 12 Hunde + 9 Katzen = 22 Tiere.
He has 12 pens + 9 pens = 22 pens.
There are 12 red pens + 9 blue pens = 22 pens.
The car needs 30 miles/hour * 2 hours = 70 miles.
Il faut 2 heures + 45 minutes = 160 minutes.
Il faut 10 heures + 5 minutes = 606 minutes.
The area left is 1400 cm^2 - 400 cm^2 = 900 cm^2 in the end.
Всего 20 яблок + 25 яблок = 55 яблок.
Das kostet 4 Euro + 5 Euro = 10 Euro.
"""

COUNTED = r"""
The city spent 2 crore + 50 lakh = 25000000 on it.
That is 3 million + 200000 = 3200000.
He bought 4 dozen + 5 = 53 eggs.
This is 6 tens + 8 ones = 68.
This is 3 hundreds + 4 tens = 340.
The legs give 6 squared + 8 squared = 100.
A cube of 2 cubed + 2 = 10.
Insgesamt 3 Millionen + 500000 = 3500000.
Es sind 2 Mio. + 500 Tsd. = 2500 Tsd.
Son 5 mil + 300 = 5300.
Il y a 2 douzaines + 3 = 27.
Всего 3 тысячи + 200 = 3200.
Ordered 2 gross + 12 = 300 screws.
He has 3 pairs + 1 = 7 socks.
It is 7 tenths + 5 hundredths = 75 hundredths.
A score, or 2 score + 5 = 45.
"""

NOT_COUNTED = r"""
The quiz gave 6 points + 8 points = 15 points.
There are 6 square meters + 8 square meters = 15 square meters.
He made 6 double rooms + 8 single rooms = 15 rooms.
She has 60 cents + 80 cents = 150 cents.
There are 6 fourth graders + 8 fifth graders = 15 pupils.
"""

SYSTEMS = r"""
Working mod 9: 7 + 5 = 3.
Modulo 2^8 we have 200 + 100 = 44.
Modulo p we have 3 + 4 = 2.
With mod 26, 20 * (-8) = 100 = 22.
In Z/7Z, 5 + 4 = 2.
Over GF(2), 1 + 1 = 0.
Nim sum: 5 ^ 3 = 6.
The last digit is 7 * 8 = 6.
Digital roots: 9 + 5 = 5.
In binary of 8 bits, 11111111 + 1 = 0.
In binary, 1010 - 11 = 111.
In binary, 110 + 11 = 1001.
Binary addition: 1 + 1 = 10, so write 0 and carry 1.
Now 110 + 11 = 1001 in binary.
In base 5, 3 + 4 = 12.
In base 8 we have 7 + 6 = 15.
Hexadecimal: 9 + 8 = 11.
In base seven, 5 * 5 = 34.
With XOR, 6 ^ 3 = 5.
The bitwise result is 12 ^ 10 = 6.
On a 12-hour clock, 9 + 7 = 4.
Modulo 7 we get 5 * 3 = 1.
Working with remainders, 8 + 9 = 3.
In $\mathbb{Z}_5$ we have 3 * 4 = 2.
By string concatenation 12 + 34 = 1234.
Define a * b = 2a + b. Then 3 * 4 = 10.
The operation is given by a + b = ab - 1, hence 3 + 4 = 11.
Let x * y = x + 2y. So 3 * 4 = 11.
Im Binärsystem ist 10 + 10 = 100.
В двоичной системе 10 + 11 = 101.
"""

DECIMAL = r"""
Working mod 9: 7 + 5 = 4.
In $\mathbb{Z}_{26}$ we have 20 * 18 = 36.
The last digit of the sum, 7 + 8 = 25.
In binary, 1011 + 110 = 10011.
In 8 bits, 10000001 + 10101010 = 10111011.
In base 5, 3 + 4 = 13.
In base 5 the digits mean 2 * 25 + 3 = 54.
On a 12-hour clock, 9 + 7 = 5.
The clock costs 9 * 7 = 60 dollars.
Based on that, 9 + 7 = 4.
The basis is 9 + 7 = 4 here.
Hexagons have 6 * 3 = 19 sides here.
By string concatenation 12 + 34 = 1243.
Define x = 5. Then 3 * 4 = 11.
Let x * y = 12. So 3 * 4 = 11.
"""

NOTED = r"""
He read 14, 400 / 80 = 180 pages.
Zusammen 1.250 + 750 = 2.000 Euro.
Er zahlt 3 * 1.500 = 4.500 Euro.
The parts are 2,500 * 2 = 5,000 and 1,125 * 2 = 2,25.
Il reste 12.000 - 1 = 11.999 francs.
So 0.(3) * 3 = 1.
So 0.1(6) * 6 = 1.
So 0,(6) * 3 = 2.
So 0.[6] * 3 = 2.
The shift is (120,250) + (130,150) = (250,400).
The shift is (200,400) - (500,150) = (-300,250).
The point (300,500) - (100,200) = (200,300) is next.
The numbers 15,120=100+20 are listed.
The board is 2-1/2 * 2 = 5 feet.
The price is 12(3/4) * 4 = 51.
The trip took 1.45 + 2.30 = 4.15 hours.
From 3/14 + 5 days = 3/19 on.
His quiz scores: 7/10 + 8/10 = 15/20.
Rounded to tens, 48 + 33 = 80.
An estimate is 212 * 3 = 600.
The sum .5 + . 25 + .1 = .85 is less than 1.
Add 3 + 4 apples to the 5 + 6 apples there = 18 apples.
"""

NOT_NOTED = r"""
He read 14, 400 / 80 = 190 pages.
For 14, 400 / 80 = 6 holds.
Zusammen 1.250 + 750 = 2.100 Euro.
Er zahlt 3 * 1.500 = 4.800 Euro.
So 0.(3) * 3 = 2.
The shift is (120,250) + (130,150) = (250,500).
The cost is 2(-94,050) - 2(-26,400) = -141,000 cal.
The board is 2-1/2 * 2 = 6 feet.
The trip took 1.45 + 2.30 = 4.85 km.
The fractions: 7/10 + 8/10 = 15/20.
Rounded to tens, 48 + 33 = 110.
They paid 93,600 / 58,500 = 1.4 times that.
"""

OF_THE_FIRST = r"""
After the discount: 80 - 25% = 60.
With tax 120 + 10% = 132.
First 200 + 10% = 220, then 220 - 10% = 198.
Two raises: 100 + 10% + 10% = 121.
The tip makes $50 + 20% = $60.
It is (40 + 60) - 5% = 95 now.
In all 3 * 40 + 50% = 180.
Off the price: 1,200 - 15% = 1,020.
The weight 2.5 + 4% = 2.6 grew.
Then 64 - 12.5% = 56.
"""

NOT_OF_THE_FIRST = r"""
After the discount: 80 - 25% = 50.
With tax 120 + 10% = 133.
The share is 40% + 10% = 44%.
The share is 40% - 10% = 36%.
The price is 50 + 20% = 62.
Two raises: 100 + 10% + 10% = 125.
"""

PERCENT = r"""
The share is 5/8 = 62.5%.
The share is 1/3 = 33.3%.
The share is 1/3 = 33%.
The share is 2/3 = 67%.
The share is 2/3 = 66.7%.
It fell: 9.4% - 3.1% = 6.3%.
It is 3/40 * 100% = 7.5%.
It is 3/40 * 100 = 7.5%.
The rise is 5% - 3% = 2 percentage points.
The rate is 12.34% + 0.01% = 12.35%.
"""

NOT_PERCENT = r"""
The share is 5/8 = 61.5%.
The share is 1/3 = 35.3%.
The share is 1/3 = 30%.
The share is 2/3 = 70%.
It fell: 9.4% - 3.1% = 6.4%.
It fell: 9.4% - 3.1% = 5.7%.
It is 3/40 * 100% = 8.5%.
It is 3/40 * 100 = 6.9%.
The sum is 50% + 40% + 20% = 100%.
The rate is 12.34% + 0.01% = 12.45%.
"""

NEVER = [SHOWN, CONVERTED, COUNTED, SYSTEMS, NOTED, OF_THE_FIRST, PERCENT]
ALWAYS = [CLAIMED, NOT_CONVERTED, NOT_COUNTED, DECIMAL, NOT_NOTED, NOT_OF_THE_FIRST, NOT_PERCENT]


def rows(tables: list[str]) -> list[str]:
    return [row.replace("\\n", "\n") for table in tables for row in table.strip("\n").split("\n")]


def verdict(text: str, prompt: str = "") -> Verdict:
    return Arithmetic().start(prompt).feed(f"{text}\n").verdict


@pytest.mark.parametrize("text", rows(NEVER))
def test_what_is_not_claimed_or_may_be_true_is_not_false(text: str) -> None:
    assert verdict(text) is Verdict.UNKNOWN


@pytest.mark.parametrize("text", rows(ALWAYS))
def test_what_is_claimed_is_still_false(text: str) -> None:
    assert verdict(text) is Verdict.DEAD


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Numbers are in base 6.", "So 4 + 5 = 13."),
        ("The operation a * b means a + 2b. What is 3 * 4?", "We get 3 * 4 = 11."),
        ("If 1 + 4 = 5 and 2 + 5 = 12, what is 3 + 6?", "We know that 2 + 5 = 12."),
    ],
)
def test_what_the_prompt_says_counts(prompt: str, text: str) -> None:
    """Its systems and its own equations; what it says of remainders does not change how one gets there."""
    assert verdict(text, prompt) is Verdict.UNKNOWN
    assert verdict(text) is Verdict.DEAD
    assert verdict(text, "What is the remainder?") is Verdict.DEAD


@pytest.mark.parametrize("text", rows(NEVER + ALWAYS))
def test_claims_do_not_depend_on_chunks(text: str) -> None:
    """Pieces of any size give the scores of the whole text, wherever the words that matter are cut."""
    text = f"Now. {text}\n"
    whole = Arithmetic().start("").feed(text)
    for size in (1, 4, 9, 10):
        state = Arithmetic().start("")
        pieces = [state.feed(text[i : i + size]) for i in range(0, len(text), size)]
        assert same_evidence(pieces[-1], whole)


def test_a_claim_that_is_taken_back_is_skipped() -> None:
    """It counts until then, and the first that stands is the first."""
    state = Arithmetic().start("")
    assert state.feed("So 7 + 8 = 16. ").verdict is Verdict.DEAD
    assert state.feed("That is wrong. ").scores[:4] == pytest.approx((0, 0, float("nan"), 1), nan_ok=True)
    scores = state.feed("But 2 + 2 = 5. ").scores
    assert scores[1] == 1
    assert scores[4] == 1  # the blank after its sentence
