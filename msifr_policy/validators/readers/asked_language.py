"""The language that a prompt asks for: "translate into German", "Réponds en anglais", 请用英文回答.

A name of a language counts where an order stands before it in the same sentence ("answer in Greek"), after the label of
a language ("Output language: French"), or in an idiom that says nothing else ("auf Deutsch", 用中文). "She got 80 marks
in English" is no order, "answer in English class" names a class.
"""

import re

READ = 16_384
"""Characters of the prompt that are read from each of its ends."""

# By the labels of `language`: a language where it is told by its words, else the script.
_NAMES = {
    "en": "english englisch englische englischer anglais inglés ingles inglese inglês engels angielsku angielski"
    " английском английский ingilizce inggris anh αγγλικά",
    "de": "german deutsch deutsche deutscher allemand alemán tedesco alemão duits niemiecku niemiecki немецком немецкий"
    " almanca jerman đức γερμανικά",
    "fr": "french französisch französische französischer français francés francese francês frans francusku francuski"
    " французском французский fransızca prancis pháp γαλλικά",
    "es": "spanish spanisch spanische spanischer espagnol español castellano spagnolo espanhol spaans hiszpańsku"
    " испанском испанский ispanyolca spanyol ισπανικά",
    "it": "italian italienisch italienische italien italiano italiaans włosku итальянском итальянский italyanca italia"
    " ιταλικά",
    "pt": "portuguese portugiesisch portugiesische portugais portugués portoghese português portugees portugalsku"
    " португальском portekizce portugis",
    "nl": "dutch niederländisch niederländische néerlandais holandés neerlandés olandese holandês nederlands"
    " holenderski",
    "pl": "polish polnisch polnische polonais polaco polacco polonês pools polsku polski польском",
    "tr": "turkish türkisch türkische turc turco turks turecku турецком türkçe",
    "id": "indonesian indonesisch indonésien indonesio indonesia",
    "vi": "vietnamese vietnamesisch vietnamien vietnamita việt",
    "sv": "swedish schwedisch suédois sueco svedese svenska",
    "da": "danish norwegian dänisch norwegisch danois norvégien dansk norsk",
    "fi": "finnish finnisch finnois suomeksi",
    "cs": "czech tschechisch tchèque checo ceco česky češtině",
    "hu": "hungarian ungarisch hongrois húngaro magyarul",
    "ro": "romanian rumänisch roumain rumano română",
    "ca": "catalan katalanisch catalán català",
    "sw": "swahili suaheli kiswahili",
    "tl": "tagalog filipino",
    "han": "chinese mandarin cantonese chinesisch chinesische chinois chino cinese chinês chinees chińsku китайском"
    " китайский çince mandarin trung κινέζικα",
    "kana": "japanese japanisch japanische japonais japonés giapponese japonês japans японском japonca jepang nhật",
    "hangul": "korean koreanisch coréen coreano koreaans корейском korece korea hàn",
    "cyrillic": "russian ukrainian bulgarian russisch russische ukrainisch russe ruso russo rosyjsku русском русский"
    " українською rusça rusia nga ρωσικά",
    "arabic": "arabic persian farsi urdu arabisch arabische arabe árabe arabo arabsku арабском arapça arab",
    "hebrew": "hebrew hebräisch hébreu hebreo ebraico hebraico иврите",
    "devanagari": "hindi marathi nepali sanskrit хинди",
    "bengali": "bengali bangla",
    "thai": "thai thailändisch thaï tailandés",
    "greek": "greek griechisch griechische grec griego greco grego grieks grecku греческом yunanca ελληνικά",
    "tamil": "tamil",
    "telugu": "telugu",
    "gujarati": "gujarati",
    "kannada": "kannada",
    "malayalam": "malayalam",
    "gurmukhi": "punjabi",
    "sinhala": "sinhala",
    "georgian": "georgian georgisch géorgien",
    "armenian": "armenian armenisch arménien",
    "ethiopic": "amharic amharisch",
    "khmer": "khmer",
    "lao": "lao",
    "myanmar": "burmese",
}
_LABEL = {name: label for label, names in _NAMES.items() for name in names.split()}
_CODES = {label: label for label in _NAMES if len(label) == 2} | {
    "zh": "han", "ja": "kana", "ko": "hangul", "ru": "cyrillic", "uk": "cyrillic", "ar": "arabic", "he": "hebrew",
    "hi": "devanagari", "bn": "bengali", "th": "thai", "el": "greek", "ta": "tamil", "te": "telugu",
}  # fmt: skip

_UNSPACED = {
    "en": "英文 英语 英語 영어 อังกฤษ",
    "de": "德文 德语 德語 ドイツ語 독일어 เยอรมัน",
    "fr": "法文 法语 法語 フランス語 프랑스어 ฝรั่งเศส",
    "es": "西班牙语 西班牙文 西班牙語 スペイン語 스페인어 สเปน",
    "it": "意大利语 意大利文 イタリア語 이탈리아어",
    "pt": "葡萄牙语 葡萄牙文 ポルトガル語 포르투갈어",
    "nl": "荷兰语 オランダ語 네덜란드어",
    "pl": "波兰语 ポーランド語 폴란드어",
    "tr": "土耳其语 トルコ語 튀르키예어 터키어",
    "id": "印尼语 印度尼西亚语 インドネシア語 인도네시아어",
    "vi": "越南语 越南文 ベトナム語 베트남어",
    "han": "中文 汉语 漢語 普通话 白话文 中国語 중국어 จีน",
    "kana": "日文 日语 日語 日本語 일본어 ญี่ปุ่น",
    "hangul": "韩文 韩语 韓文 韓語 韓国語 한국어 เกาหลี",
    "cyrillic": "俄文 俄语 俄語 ロシア語 러시아어",
    "arabic": "阿拉伯语 阿拉伯文 アラビア語 아랍어",
    "hebrew": "希伯来语 ヘブライ語 히브리어",
    "devanagari": "印地语 ヒンディー語 힌디어",
    "thai": "泰语 泰文 タイ語 태국어 ไทย",
    "greek": "希腊语 希腊文 ギリシャ語 그리스어",
}
_UNSPACED_LABEL = {name: label for label, names in _UNSPACED.items() for name in names.split()}
_ANY = "|".join(_UNSPACED_LABEL)

_NAME = re.compile(_ANY)
_WORD = re.compile(r"[^\W\d_]{3,}")
_PLACE = re.compile(
    r"\b(?P<before>in|into|to(?!\s+speak\b)|using|use|speak|auf|ins|en|al|em|para|na|naar|на|po|στα|dalam|bằng|sang"
    r"|ke)[\s*_{\[\"'“<]+"
    r"(?:(?:the|het|o|el|le|only|simple|plain|fluent|formal|correct|standard|modern|brazilian|simplified|traditional"
    r"|mandarin|bahasa|tiếng|idioma|lingua)\s+){0,2}(?P<name>\w+)",
    re.IGNORECASE,
)
_IDIOMS = frozenset(("auf", "ins", "po", "στα", "bằng", "sang", "dalam"))  # which say it without an order
_ORDER = re.compile(
    r"(?:^[\W\d]*|[,;:(]\s*|\b(?:please|bitte|must|should|shall|always|only|you|will|also|then|now|so|just|and|but"
    r"|kindly|to|your"
    r"|the|all|final|full|complete|every|each|favor|veuillez|vous|usted|siempre|immer)\s+)"
    r"(?:translat\w+|rewrite|paraphrase|convert|answers?|respond|respon[sd]\w*|repl(?:y|ies)|write|explain|think|reason"
    r"|reasoning|solve|give|provide|outputs?|generate|summari[sz]e|describe|state|present|express|communicate|formulate"
    r"|continue|produce|compose|create|return|discuss|tell|list|speak|explanations?|solutions?|do|work|show"
    r"|übersetze\w*|antwort\w*|schreib\w*|erkläre?\w*|beantwort\w*|löse|formuliere"
    r"|répon\w+|tradui\w+|écri\w+|expliqu\w+|rédige\w*|résou\w+|donne\w*|résume\w*"
    r"|contest\w+|traduc\w+|traduzca|escrib\w+|expli\w+|resuelv\w+|traduz\w+|escrev\w+|resolva"
    r"|rispond\w+|traduci|scriv\w+|spieg\w+|risolv\w+|antwoord\w*|vertaal\w*|schrijf\w*|leg"
    r"|ответ\w+|отвеча\w+|перев[её]д\w+|напиши\w*|объясн\w+|реши\w*|пиши\w*)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\bif|\bwhen|\bthan|\binstead of|\bnot|\bnever|n['’]t|\bnicht|\bnunca|\bno|\bnon|\bне)\b[^,;]*$", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"(?:\bnot|\bnever|n['’]t|\bavoid|\binstead of|\bnicht|\bnunca)\b[^,;]*$", re.IGNORECASE)
_TRANSLATION = re.compile(r"(?:translat|convert|übersetz|tradu|перев)", re.IGNORECASE)
# English names are adjectives too: what follows must be no noun that they describe ("in Polish cities").
_ENGLISH_NAMES = (
    "english german french spanish italian portuguese dutch polish turkish indonesian vietnamese swedish danish"
    " norwegian finnish czech hungarian romanian catalan chinese japanese korean russian ukrainian bulgarian arabic"
    " persian greek georgian armenian hebrew thai burmese"
)
_ADJECTIVES = frozenset(_ENGLISH_NAMES.split())
_NO_NOUN = re.compile(
    r"[\s*_]*(?:[^\w\s*_-]|\Z|\n)|\s+(?:language|only|please|text|prose|and|or|but|with|using|without|step|so|for|by"
    r"|even"
    r"|regardless|instead|as|before|then|when|from|because|including|about|below|here|not|unless|in|on|at|to|the|this"
    r"|that|these|what|how|why|if|a|an|your|all|every|each|wherever|whenever|first)\b",
    re.IGNORECASE,
)
_ASKS_TO_SPEAK = re.compile(r"(?:^[\W\d]*|\b(?:please|always|you|you (?:to|must|should|will|can))\s+)$", re.IGNORECASE)
_ASKS_TO_USE = re.compile(r"(?:^[\W\d]*|[,;:(]\s*|\b(?:please|only|always|must|should|you|and)\s+)$", re.IGNORECASE)
_LANGUAGE_WORDS = ("language", "sprache", "idioma", "langue", "lingua", "taal", "язык", "语言", "語言", "言語", "언어")
_LABELLED = re.compile(
    r"(?:\b(?:following|response|output|answer|target|reply|reasoning|required|preferred|writing"
    r"|explanation)\s+language\s*"
    rf"(?:[:=]|is|should be|must be)|(?:^|\n)\W*(?:{'|'.join(_LANGUAGE_WORDS)})"
    r"\s*[:=：]|\b(?:the|your|our) users? (?:speaks?|writes? in|prefers?)\b)[\s\"'*]*(?P<name>\w+)",
    re.IGNORECASE,
)
_CUE = re.compile(r"(?:\A|\n)\W*(?P<name>\w+)(?:[ \t]+(?:translation|version|answer|text))?[ \t*]*[:：]\s*\Z")
_VERSION = re.compile(
    r"\b(?P<name>\w+)\s+(?:(?:translation|version)(?:\s+of\b|:)|is\s+(?:the\s+only\s+language\s+)?allowed\b)"
    r"|\blanguage\s+other\s+than\s+(?P<only>\w+)",
    re.IGNORECASE,
)
_WITHOUT_SPACES = re.compile(
    rf"(?<!不要)(?<!不)(?:用|以|使用|[译譯][成为為]|翻成|เป็นภาษา|ภาษา)\s*(?:简体|繁体|标准|流利的)?(?P<a>{_ANY})"
    rf"|(?P<b>{_ANY})(?:で|に(?:訳|翻訳)|로)"
)
_WITH_PREFIX = (
    (re.compile(r"\bпо-русски\b", re.IGNORECASE), "cyrillic"),
    (re.compile(r"\bпо-английски\b", re.IGNORECASE), "en"),
    (re.compile(r"\bпо-немецки\b", re.IGNORECASE), "de"),
    (re.compile(r"\bпо-французски\b", re.IGNORECASE), "fr"),
    (re.compile(r"\bпо-китайски\b", re.IGNORECASE), "han"),
    (re.compile(r"(?:باللغة|بـ?|إلى)\s*(?:اللغة\s+)?العربية"), "arabic"),
    (re.compile(r"(?:باللغة|بـ?|إلى)\s*(?:اللغة\s+)?الإنجليزية"), "en"),
    (re.compile(r"[בל]עברית"), "hebrew"),
    (re.compile(r"[בל]אנגלית"), "en"),
    (re.compile(r"हि(?:ंदी|न्दी)\s+में"), "devanagari"),
    (re.compile(r"अंग्रे[जज़]ी\s+में"), "en"),
    (re.compile(r"বাংলায়"), "bengali"),
)
_SENTENCE_END = re.compile(r"[.!?。！？\n]")
REACH = 160
"""Characters before a language's name in which an order for it is looked for."""


def named_languages(prompt: str) -> frozenset[str]:
    """Return the languages, or scripts, that a prompt speaks of ("How do you say that in Greek?"), asked for or not."""
    text = _read(prompt)
    places = _PLACE.finditer(text) if _mentions(text) else ()
    named = {_LABEL.get(match["name"].lower(), "") for match in places if not _FORBIDDEN.search(_clause(text, match))}
    if not text.isascii():
        named.update(map(_UNSPACED_LABEL.__getitem__, _NAME.findall(text)))
    return frozenset(named - {""})


def asked_languages(prompt: str) -> frozenset[str]:
    """Return the languages, or scripts, that a prompt asks the answer to be in; none if it does not say."""
    text = _read(prompt)
    asked = set()
    if _mentions(text):
        asked = {_LABEL[match["name"].lower()] for match in _PLACE.finditer(text) if _is_order(text, match)}
        for match in (*_CUE.finditer(text[-REACH:]), *_VERSION.finditer(text)):
            asked.add(_LABEL.get((match["name"] or match["only"]).lower(), ""))
    lower = text.lower()
    if any(word in lower for word in (*_LANGUAGE_WORDS, " user")):
        for match in _LABELLED.finditer(text):
            name = match["name"].lower()
            asked.add(_LABEL.get(name) or _CODES.get(name) or _UNSPACED_LABEL.get(name, ""))
    if not text.isascii():
        asked.update(_UNSPACED_LABEL[match["a"] or match["b"]] for match in _WITHOUT_SPACES.finditer(text))
        asked.update(label for pattern, label in _WITH_PREFIX if pattern.search(text))
    return frozenset(asked - {""})


def _read(prompt: str) -> str:
    return prompt if len(prompt) <= 2 * READ else f"{prompt[:READ]}\n{prompt[-READ:]}"


def _mentions(text: str) -> bool:
    """Say whether a language is named at all, in a language with spaces: most prompts name none, and this is fast."""
    return not _LABEL.keys().isdisjoint(_WORD.findall(text.lower()))


def _clause(text: str, match: re.Match[str]) -> str:
    """Return what stands before the name of a language in its sentence."""
    return _SENTENCE_END.split(text[max(0, match.start() - REACH) : match.start()])[-1]


def _is_order(text: str, match: re.Match[str]) -> bool:
    """Say whether the name of a language, after what stands before such a name, is what the answer should be in."""
    name, before = match["name"].lower(), match["before"].lower()
    if name not in _LABEL or (name in _ADJECTIVES and not _NO_NOUN.match(text, match.end())):
        return False
    clause = _clause(text, match)
    if before in _IDIOMS:
        return not _DENIED.search(clause)
    if before == "speak":
        return _ASKS_TO_SPEAK.search(clause) is not None
    if before == "use":
        return _ASKS_TO_USE.search(clause) is not None
    follows = text[match.end() : match.end() + REACH].lstrip(" \t*_")
    if not clause.strip(" \t*_-#>\"'("):  # "In German, explain", "(in German)", but not "In German, nouns are"
        return follows.startswith((":", ")")) or (follows.startswith(",") and _ORDER.match(follows) is not None)
    if before == "to" and not _TRANSLATION.search(clause):
        return False
    return (clause.endswith("(") and follows.startswith(")")) or (
        _ORDER.search(clause) is not None and not _DENIED.search(clause)
    )
