"""Wordings that ask for something: RE2 patterns, for text in small or capital letters.

A question mark at the end asks in any language. Without one it is an order or a word of question that asks: "Find x",
求x的值, "Berechne den Rest". In languages with spaces these stand at the beginning of a sentence or after a comma; as
nouns ("Express trains", "State taxes") or in a story ("and find three eggs") they ask nothing, so that a word that is
also a noun needs what would follow the order.
"""

LEAD = r"^[\s>*_#\"'“‘«¿(\[-]*(?:[0-9]{1,2}[.)] ?|\([a-z]\) ?|(?:question|problem|q|task|exercise)(?: [0-9]+)?[:.] ?)?"
"""What may stand before the first word of a sentence of a question."""

# What may stand before an order within a sentence, of words or of mathematics.
_AFTER = (
    rf"(?:{LEAD}(?:please |so |now |then |next |finally |also |hence,? |thus,? |therefore,? )*|, |; |\band |\bthen "
    r"|(?:\\[\])]|\$|\\end\{[a-z]+\*?\})\s*)"
)
_ORDERS = (
    r"(?:find|determine|calculate|compute|evaluate|solve|prove|show that|simplify|estimate|derive|identify|verify"
    r"|deduce|enter (?:the ordered|the answer|the value|your)|factori[sz]e|what|what's|which of|how (?:many|much|long"
    r"|far|old|often|tall|fast|wide|deep|big|large|high|heavy|likely|soon|late)|express (?:the|your|it|this|each|in"
    r"|as|[$\\0-9]))(?:[^\w(]|$)"
)
_ORDERS_AT_THE_BEGINNING = (
    r"(?:(?:explain|describe|compare|classify|factor|expand|differentiate|integrate|convert|approximate|minimi[sz]e"
    r"|maximi[sz]e|justify|sketch|construct|implement|analy[sz]e|summari[sz]e|translate|rewrite|work out|figure out"
    r"|tell me|let me know|sort|rearrange|obtain|formulate|fill in|discuss|investigate|arrange|which|who|whose|whom"
    r"|why|how|is|are|does|did|could you|would you|can (?:you|we|it|he|she|they|the)|do (?:the|you|they|we|these"
    r"|any))\b|show (?:how|why|your|all)\b|list (?:all|the|every|two|three|four|five)\b|name (?:the|all|an?|one|two"
    r"|three|any)\b|state (?:the|whether|if|all|your)\b|give (?:the|your|an?|all|two|three)\b|write (?:the|down|out"
    r"|an?|your|all|each|[$\\0-9])|count (?:the|how|all)\b|round (?:your|the|to|off|[$\\0-9])|(?:order|rank"
    r"|match) (?:the|these)\b|plot (?:the|these|an?|[$\\])|draw (?:the|an?) (?:graph|diagram|line|figure|curve)"
    r"|complete (?:the|this|each|[$\\0-9])|(?:choose|select|pick) (?:the|all|one|an?) (?:correct|best|right|most"
    r"|answer|option|statement)|(?:decide|check|say) (?:whether|if|which)\b|(?:add|subtract|multiply|divide"
    r"|sum) (?:[$\\0-9]|up the|the (?:numbers|fractions))|(?:return|output|print) (?:the|all (?:the|of)|true (?:if|or)"
    r"|whether|how many|your|an? [a-z]{3,})\b)"
)
_ORDERS_ELSEWHERE = (
    # German, Dutch, Swedish
    r"(?:berechnen?|bestimmen?|ermitteln?|finden? sie|finde|lösen?|beweisen?|zeigen? (?:sie)?,? ?dass|vereinfachen?"
    r"|erklären? sie|erkläre|wie (?:viele?|lange|groß|gross|hoch|weit|oft|alt|schnell|schwer)|was (?:ist|sind)"
    r"|welche[rsn]?|warum|bereken|bepaal|hoeveel|vereenvoudig|bewijs|toon aan|wat is|beräkna|bestäm|hur (?:många"
    r"|mycket)|visa att"
    # French, Spanish, Italian, Portuguese
    r"|calcule[rz]?|détermine[rz]?|trouve[rz]?|résou(?:s|dre|d|vez)|(?:montre|démontre|prouve)[rz]? que"
    r"|simplifie[rz]?|combien|quel(?:le)?s?|calcul[ae]n?|calcular|determin[ae]n?|determinar|encuentr[ae]n?|encontrar"
    r"|hall[ae]n?|hallar|resuelv[ae]n?|resolver|demuestr[ae]n?|demostrar|simplifique|cuánt[oa]s?|cuál(?:es)?|qué"
    r"|calcola(?:re|te)?|determina(?:re|te)?|trova(?:re|te)?|risolv(?:i|ere|ete)|dimostra(?:re|te)?|quant[oaie]s?"
    r"|qual[ei]?|quais|determine|encontre|resolva|mostre"
    # Polish, Turkish, Indonesian, Vietnamese
    r"|oblicz|wyznacz|znajdź|rozwiąż|udowodnij|ile|jak[iae]|hesapla\w*|berapa(?:kah)?|hitung(?:lah)?|tentukan(?:lah)?"
    r"|carilah|tính|tìm|hãy|giải|chứng minh)(?:[\s:,$\\]|$)"
    # Russian, Ukrainian, Greek
    r"|(?:найдите|найди|найти|вычислите|вычисли|вычислить|определите|определи|решите|реши|докажите|докажи|упростите"
    r"|сколько|какой|какая|какое|какие|каков|какова|чему|объясните|знайдіть|скільки|обчисліть|βρείτε|βρες|να βρε"
    r"|υπολογίστε|λύστε|αποδείξτε|πόσ[αοεηι]|ποι[αοεη])"
)
_ANYWHERE = (
    # Chinese
    r"多少|几(?:[个只条本人次天年岁元页张棵辆支台位块件种时分米千头倍名]|[？?。]|$)|[吗嗎呢][？?。]?\s*$"
    r"|什么|什麼|怎[样么樣麼]|如何|为何|为什么|為什麼|哪|是否"
    r"|请(?:问|计算|求|写|证明|解|找|选|列)|請(?:問|計算|求|寫|證明)"
    r"|(?:^|[，。、；,;：: $\]\)])(?:试|试着|并|再|分别|则)?"
    r"(?:求|计算|計算|证明|證明|解方程|解不等式|化简|化簡|判断|写出|算出|找出)"
    # Japanese, Korean, Thai
    r"|求め|いくつ|いくら|何(?:個|人|円|枚|本|匹|冊|回|分|時|日|年|歳|通り|番|メートル|です|か)"
    r"|なさい|せよ|(?:です|ます|でしょう)か|구하|얼마|몇 |인가|까[?.]?\s*$|시오|하세요|เท่าไ[หร]|กี่|จงหา"
    # Arabic, Hebrew, Hindi, Bengali
    r"|أوجد|احسب|(?:^|[\s،])كم |ما هو |ما هي |ما عدد|أثبت|כמה|(?:^|\s)מצאו? |(?:^|\s)חשבו? |ज्ञात क|कितन[ाेी]|क्या है"
    r"|हल क|সমাধান কর|নির্ণয়|কত|\bkaç(?:[\s,?]|$)|bao nhiêu|\b(?:bulun|bulunuz)\b"
)
_TASKS = (
    r"(?:you (?:are asked|need|have|are) to|your task is to|(?:the )?(?:task|goal|problem) is to|want(?:s)? to"
    r"|would like to|asked to|you to|help \w+) (?:find|determine|calculate|compute|know (?:how|what|which|whether)"
    r"|evaluate|solve|prove|figure out)\b"
)

ASKS: tuple[str, ...] = (
    r"(?:[?？؟\x{37e}]|\p{Greek};)[\"'”’»」』)）\]*_$\\]*\s*$",
    r"¿",
    rf"{_AFTER}(?:{_ORDERS}|{_ORDERS_ELSEWHERE})",
    rf"{LEAD}(?:please |kindly |now |then |also |finally )*(?:{_ORDERS_AT_THE_BEGINNING})",
    r"^\W*(?:given|for|you are given) [^.!?]*, (?:return|output|print|implement|write|design|count|list) (?:the|all"
    r"|true"
    r"|whether|how|an?|your)\b",
    rf"\b{_TASKS}",
    r"\b(?:wonder\w*|wants? to know|like to know) (?:what|how|which|whether)\b|\b(?:at|in|for|to|by|from|of"
    r"|on) what (?:time|age|rate|price|values?|number|percent\w*|point|year|day|date|speed|angle|ratio|fraction"
    r"|distance|power|temperature|real|positive|integers?|is|are|does|did|do)\b",
    r"=\s*\$?\s*$|[a-z] _{3,}[.:]?\s*$|^\s*(?:options|choices|answer choices)\s*[:：]\s*$",
    _ANYWHERE,
)
"""Wordings that ask something, in a sentence of any language that is spoken by many."""
