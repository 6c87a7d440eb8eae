r"""Names of mathematical symbols: the commands of LaTeX for characters of Unicode, and which commands are alike."""

import unicodedata
from typing import Final

from msifr_policy.reading.literals import words

GREEK: Final = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron pi rho"
    " sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell"
)
"""Letters."""

FUNCTIONS: Final = words("arcsin arccos arctan sinh cosh tanh sin cos tan cot sec csc log ln lg exp max min gcd lcm")
"""Functions of numbers."""

_BEFORE_OPERANDS: Final = words("sqrt frac lceil lfloor angle cdot times")
_OTHERS: Final = words(
    "infty text mathrm mathbb begin end left right cup cap in notin setminus"
    " emptyset varnothing pm mp le ge leq geq lt gt ne neq equiv approx sim to rightarrow Rightarrow implies iff land"
    " lor wedge vee forall exists subset subseteq mid nmid parallel perp circ degree prime dagger star ast div bmod"
    " pmod mod binom over choose overline underline bar hat vec dot ddot tilde widehat sum prod int oint lim sup inf"
    " limsup liminf det rank arg Re Im operatorname rfloor rceil langle rangle lvert rvert vert Vert lVert rVert"
    " lbrace rbrace lbrack rbrack dots ldots cdots quad qquad partial nabla odot oplus otimes mho triangle square"
    " therefore because boxed fbox dfrac tfrac cfrac coth sech csch arccot arcsec arccsc arsinh arcosh artanh"
    " backslash propto cong simeq lesssim gtrsim ll gg bigcup bigcap complement aleph imath jmath Box checkmark"
    " displaystyle textstyle hline varrho varsigma"
)
COMMANDS: Final = frozenset((*GREEK, *FUNCTIONS, *_BEFORE_OPERANDS, *_OTHERS))
"""Commands that are known."""

HEADS: Final = tuple(sorted((*GREEK, *FUNCTIONS, *_BEFORE_OPERANDS), key=len, reverse=True))
r"""Commands that may be meant where a longer word is no command, since its blanks were lost: `\pir`."""


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = words(text)
    return list(zip(parts[::2], parts[1::2], strict=True))


RENAMED: Final = {
    **{old: f"\\{new} " for old, new in _pairs(
        "dfrac frac tfrac frac cfrac frac nicefrac frac sfrac frac dbinom binom tbinom binom leq le geq ge leqslant"
        " le geqslant ge neq ne varnothing emptyset degrees degree textdegree degree rightarrow to implies Rightarrow"
        " infin infty infinity infty wedge land vee lor dots ldots cdots ldots arcctg arccot arctg arctan tg tan ctg"
        " cot sh sinh ch cosh varepsilon epsilon varphi phi vartheta theta varrho rho varsigma sigma"
    )},
    **dict(_pairs(
        "lt < gt > lbrace \\{ rbrace \\} lbrack [ rbrack ] lvert | rvert | vert | mid | colon : ast * star * percent"
        " % lparen ( rparen ) textdollar \\$ euro € pounds £ imath i AA \\text{Å}"
    )),
}  # fmt: skip
"""What stands for a command in the canonical spelling."""

_SIGNS: Final = {
    **dict.fromkeys("−–—﹣－‐‑", "-"),
    **dict.fromkeys("∕⁄", "/"),
    **dict.fromkeys("∗＊", "*"),
    **dict.fromkeys("。｡．", "."),
    **dict.fromkeys("，、﹐", ","),
    **dict.fromkeys("∶﹕", ":"),
    **dict.fromkeys("′’", "'"),
    **dict.fromkeys("″”", "''"),
    **dict.fromkeys("\u2009\u200a\u202f", "\\,"),
    # Full-width exclamation marks are no factorials.
    **dict.fromkeys("！\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u00ad", ""),
    **{sign: f"\\{command} " for sign, command in _pairs(
        "× times ✕ times ✖ times · cdot ⋅ cdot ∙ cdot • cdot ・ cdot ⟨ langle 〈 langle ⟩ rangle 〉 rangle ÷ div ± pm ∓"
        " mp ∞ infty ° degree º degree ˚ degree ∪ cup ∩ cap ∈ in ∉ notin ∅ emptyset ∖ setminus ≤ le ≥ ge ⩽ le ⩾ ge ≦"
        " le ≧ ge ≠ ne ≈ approx ≡ equiv ⇒ Rightarrow → to ∧ land ∨ lor √ sqrt ∠ angle ℓ ell ℏ hbar … ldots ⌊ lfloor ⌋"
        " rfloor ⌈ lceil ⌉ rceil ∑ sum ∫ int ϕ phi ϵ epsilon ϑ vartheta µ mu"
    )},
    **{sign: rf"\mathbb{{{letter}}}" for sign, letter in _pairs("ℝ R ℤ Z ℕ N ℚ Q ℂ C")},
    "∛": r"\sqrt[3]",
    "¢": r"\text{ cents}",
    **dict.fromkeys("\u00c5\u212b", r"\text{ Å}"),
}  # fmt: skip


def command(character: str) -> str:
    """Return how LaTeX writes a character of Unicode; the character itself if it is no symbol."""
    known = _SIGNS.get(character)
    if known is not None:
        return known
    kind, _, name = unicodedata.name(character, "").partition(" LETTER ")
    if kind in ("GREEK SMALL", "GREEK CAPITAL"):
        name = name.lower().replace("lamda", "lambda")
        name = name.capitalize() if kind == "GREEK CAPITAL" else name
        return f"\\{name} " if name in GREEK else character
    if unicodedata.category(character) == "No":  # ½
        upper, stroke, lower = unicodedata.normalize("NFKC", character).partition("⁄")
        return rf"\frac{{{upper}}}{{{lower}}}" if stroke else character
    return " " if character.isspace() else unicodedata.normalize("NFKC", character)
