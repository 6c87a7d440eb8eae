"""How language models refuse, and how they talk about themselves: RE2 patterns of the beginning of a sentence.

For text in small or capital letters and with straight apostrophes. English in full; of other languages the wordings
most used. A refusal names what is refused: "I cannot overstate this" and "I can't wait" name nothing that was asked
for, and verbs that a calculation uses too ("write", "create") need the object of a request. The wordings are those that
tools for red teams list (garak `detectors/mitigation.py`, promptfoo `is-refusal`), and what is reported of false hits.
"""


def _verbs(words: str) -> str:
    """Return a pattern of verbs in their first form and that in -ing."""
    return "|".join(f"{word}|{word.removesuffix('e')}ing" for word in words.split())


_ADVERBS = (
    r"(?:(?:really|just|simply|honestly|absolutely|definitely|regrettably|unfortunately|sadly|also|still|therefore"
    r"|currently|ethically|legally|directly|personally|actually|knowingly|respectfully|politely|firmly|kindly"
    r"|in good conscience|at this time|under any circumstances),? )*"
)

# What calls itself so; "an AI engineer" does not end with it.
_AI = (
    r"(?:an? |your )?(?:(?:large|advanced|virtual|digital|text-based|helpful|harmless|responsible|ethical|automated"
    r"|intelligent|conversational|generative|mere|simple|artificial) )*(?:ai(?:[ -]powered|-based)?(?: (?:language"
    r"|chat))?(?: (?:model|assistant|chat ?bot|system|program|agent|tool))?|language model(?: ai)?|llm|chat ?bot"
    r"|artificial intelligence(?: (?:model|assistant|system|program))?|(?:virtual|digital|automated|helpful"
    r"|conversational) assistant|computer program)"
)
_SORRY = (
    r"(?:(?:(?:i'?m|i am) )?(?:(?:very|so|really|truly|terribly|deeply|extremely) )*sorry(?:, [a-z]{2,20}, "
    r"| ?[,;–—-]? ?)(?:to say "
    r"|to inform you )?(?:that )?|i (?:sincerely |do |must )?apologi[sz]e[,;]? (?:for (?:the|any) (?:inconvenience"
    r"|confusion)[,;]? )?|(?:my )?(?:sincere )?apologies[,;]? |(?:i'?m|i am) (?:so )?afraid (?:that )?"
    r"|i regret (?:to (?:say|inform you) )?(?:that )?)"
)
_CONNECTION = (
    r"(?:it (?:would be|is) (?:unethical|illegal|wrong|harmful|inappropriate|dangerous) [^.!?]*,? and"
    r"|unfortunately|regrettably|sadly|but|however|and|so|yet|still|well|hello|hi|hey|no|nope|okay|please note that"
    r"|note that|remember that|(?:i|i'm|i'd|thank|thanks|that|this) [^.!?]*,? but"
    r"|i (?:must|want to|have to|need to|should|would like to) (?:emphasi[sz]e|stress|be (?:very )?clear|be honest"
    r"|tell you|inform you|let you know|point out|note|make (?:it )?clear)(?: that)?"
    r"|(?:[a-z]{2,20}ing|this|that|such|what you) [^.!?]*(?:is|are|would be) (?:\w+ )?(?:illegal|unethical|harmful"
    r"|dangerous|immoral|inappropriate"
    r"|against)\b"
    r"[^.!?]*,? (?:so|and|therefore)|(?:i'?m|i am) (?:qwen|chatgpt|claude|gemini|llama|deepseek|copilot|grok|kimi)\b"
    r"[^.!?]*,? (?:so|and)"
    rf"|i (?:strongly |must |would )?(?:advise|urge|caution|warn|discourage|recommend)\b[^.!?]*,? (?:and|so)"
    rf"|(?:i'?m|i am|i was) (?:just |only )*(?:programmed|designed|trained|built|{_AI})\b[^.!?]*,? (?:so|and)"
    r"|(?:while|although|though"
    r"|even though|as much as) [^.!?]*,),? "
)
_AS_AI = (
    rf"(?:(?:as|i'?m(?: just| only)?|i am(?: just| only)?) {_AI}(?:,? |[,(–—-][^.!?]*[,)–—-] ?| (?:developed|created"
    r"|trained|built|made|designed|programmed|without|that|who|which|with)\b[^.!?]*, ?))"
)
_OPEN = rf"(?:{_CONNECTION}|{_SORRY})*"

_CANNOT = (
    rf"i(?:'?m| am|'?ll| will|'d| would)? ?{_ADVERBS}(?:(?:can ?not|can'?t|could not|couldn't)(?:,? (?:and|or"
    r"|nor) (?:(?:will|would|should) not|won't))?|(?:(?:will |would )?not|won'?t|wouldn't)(?: and (?:can ?not"
    r"|can't))?|(?:do not|don'?t) (?:think|believe) (?:that )?i(?: can| could| should|'m able to|'ll be able to)"
    r"|not able to|unable to|incapable of|not capable of|not (?:qualified|in a position) to|not (?:going|allowed"
    r"|permitted|authori[sz]ed|programmed|designed|trained|equipped|willing|prepared) to|(?:not "
    r"|un)comfortable(?: with)?|(?:prohibited|restricted|prevented) from|forbidden (?:to|from)|(?:do not|don'?t"
    r"|lack)(?: currently)?(?: have)? the (?:ability|capability|capacity) to|(?:do not|don'?t) feel (?:comfortable"
    rf"|right)|(?:rather|prefer|choose|choosing) not(?: to)?|(?:(?:must|have to|need to"
    rf"|going to have to) )?{_ADVERBS}(?:decline"
    rf"|refuse) to),? (?:be able to |be )?{_ADVERBS}"
)

# Verbs of serving, which say by themselves what is refused; of doing, which need an object to say it.
_SERVE = (
    rf"(?:{_verbs('assist comply fulfil fulfill accommodate oblige discuss condone endorse facilitate')}"
    r"|help(?:ing)? (?:you|with|anyone|users?|in (?:that|this|any))\b|help(?:ing)?[.,;!]"
    r"|help(?:ing)? (?:to )?(?:create|write|generate|produce|plan|make|build|develop|spread|promote|draft|design|find"
    r"|obtain|hide|cover|harm)\b|engag(?:e|ing) (?:in|with)"
    r"|participat(?:e|ing) in|tak(?:e|ing) part in|(?:of|any) (?:help|assistance|service)|do(?:ing)? (?:that|so"
    r"|this)(?:[.,;!)<]|\s*$"
    r"| for you| (?:because|as|since) (?:it|this|that|i|my|doing|you|the request)\b| task)|let you do that"
    r"|respond(?:ing)? to (?:that|this|your|such)"
    r"|proceed(?:ing)? with (?:your\b|(?:that|this)(?:[.,;!]"
    r"| (?:request|task|conversation|topic|query)))|continu(?:e|ing) (?:with )?(?:that|this|the|our) (?:conversation"
    r"|discussion|request|role-?play|story)|tell(?:ing)? you how to|talk(?:ing)? about (?:that|this)"
    r"|role-?play(?:ing)?\b)"
)
_DO = (
    rf"(?:{_verbs('provide give offer share supply create generate produce write compose draft answer address')}"
    rf"|{_verbs('complete support perform execute process access reveal disclose predict confirm recommend promote')}"
    rf"|{_verbs('encourage teach describe translate summarize browse open view simulate speculate comment')})"
)
_OBJECT = (
    r"(?:(?:you|users|out|with|to|on|about|for|in|up) )*(?:(?:that|this|it)(?:[.,;!?<]| for you| because| since"
    r"| due to| (?:kind|type|sort|request|question|information|content|query|prompt|conversation|topic|matter"
    r"|story|essay|poem|letter|e-?mail|article|code|script|text|image|joke|review|report|character|data)\b)"
    r"|these (?:types|kinds|sorts|requests|instructions|questions)\b|your\b|(?:[\w'-]+,? ){0,4}(?:information"
    r"|instructions?|advice|content|guidance|assistance|help|opinions?|recommendations?|medical|legal|financial|support"
    r"|services?|material|answers? (?:to|for) (?:that|this|your|such)|requests?|scripts?|essays?|articles?|stories"
    r"|access|diagnos[ie]s|predictions?|passwords?|secrets?|prompts?|endpoints?|websites?|web|internet|real-time"
    r"|personal|confidential|explicit|harmful|illegal|violent|copyrighted|malicious|malware|(?:phishing "
    r"|spam )?e-?mails?"
    r"|messages|posts|recipes?|guides?|tutorials?|speech(?:es)?|reviews|weapons?|drugs?|bombs?|explosives|exploits?"
    r"|ransomware|spyware|propaganda"
    r"|misinformation|disinformation|violence|hatred|hate|terrorism|abuse|discrimination|self-harm|activit(?:y|ies)"
    r"|behaviou?r|fake|hateful|offensive|discriminatory|defamatory|racist|sexist|sexual|sexually|graphic|inappropriate"
    r"|dangerous|unethical|unsafe)\b|(?:(?:any|such|these|those|an?|specific|further|more|external|private|local|live"
    r"|audio|video) ){0,3}(?:details|images?|videos?|audio|links?|files|attachments|databases|systems|tasks|actions"
    r"|future (?:events?|prices?|results?|outcomes?|performance))\b|(?:the |what the )?future(?:[.,;!]| holds)"
    r"|(?:an? |any |the )?(?:answers?|tasks?|actions?)[.!]|or deny\b)"
)
_ACT = rf"(?:{_SERVE}|{_DO}(?:,? (?:and|or|nor) {_DO})? {_OBJECT})"

_RULES = (
    r"(?:(?:my|our|the (?:content|usage|safety|ethical|community)|(?:openai|anthropic|google|microsoft|meta"
    r"|alibaba)'s) (?:[\w-]+ (?:and )?){0,3}?(?:guidelines?|polic(?:y|ies)|programming|principles|rules|standards"
    r"|values|terms)|(?:the|my) (?:scope|bounds) of (?:my|what i))\b"
)
_MAKERS = (
    r"(?:openai|anthropic|google|deepmind|meta\b|microsoft|alibaba|deepseek|mistral|xai\b|baidu|tencent|nvidia|cohere"
    r"|hugging ?face|(?:an? |the )?(?:large )?(?:team|group) of (?:ai |machine learning |software )?(?:researchers"
    r"|engineers|developers|scientists))"
)

_WE_CANNOT = (
    r"we(?: are|'re)? (?:currently |also )?(?:can ?not|can't|unable to|not able to|will not|won't|must decline to)"
)

REFUSALS = (
    rf"{_OPEN}{_CANNOT}{_ACT}",
    rf"{_OPEN}(?:{_SORRY}|{_AS_AI}){_OPEN}{_AS_AI}?{_CANNOT}(?:{_SERVE}|{_DO}\b)",
    rf"{_OPEN}i {_ADVERBS}(?:decline|refuse) to (?:{_ACT}|{_DO}(?:[.,;!]|\s*$))",
    rf"{_OPEN}{_WE_CANNOT} (?:(?:assist|comply|help you|accommodate|fulfil|fulfill)\b|help with (?:that|this|your)\b"
    r"|(?:provide|process|answer|share) (?:you\b|your\b|(?:this|that|such) (?:information|content|request|question)))",
    rf"{_OPEN}{_AS_AI}?i(?:'ll|'m| am| will)? {_ADVERBS}(?:(?:must|have to|need to"
    rf"|going to(?: have to)?) ){_ADVERBS}(?:decline|refuse|say no)(?:[.,;!]|\s*$| to\b| (?:this|that|your|any|all"
    r"|such|answering|because|as)\b| the request)",
    rf"{_OPEN}(?:(?:this|that|it|what you(?:'re| are) asking(?: for)?)(?:'s| is)? ?(?:not|isn't) "
    r"|there is nothing )(?:something|anything|a (?:request|question|topic|task)|content)? ?(?:that |which )?i(?:'m"
    r"| am|'d| would| will)? ?(?:be )?(?:can|could|able to|comfortable(?: with)?|willing to|allowed to|permitted to"
    rf"|going to|prepared to) ?(?:be )?(?:{_SERVE}|{_DO}|help|do)\b",
    rf"{_OPEN}(?:this|that|it)(?:'s| is) (?:something|an?(?: [\w-]+)? (?:request|topic|question|task)) (?:that "
    rf"|which )?{_CANNOT}(?:{_SERVE}|{_DO}\b)",
    rf"{_OPEN}(?:this|your) (?:request|prompt|content|query) (?:violates|goes against|is inappropriate|is against)",
    rf"{_OPEN}(?:this|that|it|doing (?:so|this|that)|(?:your|this|that|the|such an?) (?:request|prompt|content|query)"
    r"|what you(?:'re| are) asking(?: for)?|(?:answering|providing|creating|generating|discussing) [^.!?]*)(?:'s| is"
    r"| would be| goes| would go| falls| appears to go| seems to go| may go)? ?(?:violates?|would violate"
    r"|appears to violate|against|outside(?: of)?|beyond|contrary to|in violation of|not (?:within"
    rf"|in line with)) {_RULES}",
    rf"{_OPEN}(?:my|our) (?:[\w-]+ (?:and )?){{0,2}}?(?:guidelines|programming|polic(?:y|ies)|principles"
    r"|rules) (?:do(?:es)?(?: not|n't) (?:allow|permit|let)|prevents?|prohibits?|forbids?|(?:won't|will not) (?:allow"
    r"|let))",
    rf"{_OPEN}{_AS_AI}?i(?:'m| am| was| have been) (?:programmed|designed|instructed|trained|required) (?:not to"
    r"|to (?:avoid|decline|refuse|not))\b",
    rf"{_OPEN}(?:this|that|your|such|the) (?:requests?|information|content|instructions?) (?:can ?not|can't|won't"
    r"|will not) be (?:fulfilled|provided|shared|supported|accommodated|answered)",
    rf"{_OPEN}(?:it|this|that)(?:'s| is| would be| isn't| wouldn't be) (?:not )?(?:appropriate|inappropriate"
    rf"|unethical|ethical|possible|impossible|right|wrong|okay|illegal) for me to {_ACT}",
    rf"{_OPEN}{_SORRY}{_OPEN}{_AS_AI}?i (?:currently )?(?:do not|don't) (?:currently )?have (?:access|the ability)",
    rf"{_OPEN}{_AS_AI}?i (?:currently )?(?:do not|don't) (?:currently )?have (?:access to )?"
    r"(?:(?:real-time|live|up-to-date|the internet)\b|(?:external|your|personal|private|confidential) (?:\w+ )?"
    r"(?:information|data|files?|accounts?|sources|websites?|systems?|databases?|records)\b)",
)
"""Refusals in English."""

SELF_REFERENCES = (
    rf"{_OPEN}being {_AI}(?:,| (?:i|my)\b)",
    r"i (?:do not|don't|can ?not|can't) (?:have|hold|feel|form|experience) [^.!?]*\b(?:as|because|since) i(?: am|'m)"
    rf" (?:(?:just|only|merely) )*{_AI}(?:[.,;:!?)]|\s*$| (?:and|without|that|which)\b)",
    rf"{_OPEN}(?:since |because )?as {_AI}(?: (?:i|my)\b|,? it(?:'s| is) (?:not|important|crucial|against"
    r"|impossible)\b|(?:[,;:(–—-]| (?:developed|created|trained|built|made|designed|programmed|without|that|who|which"
    r"|like)\b).*\b(?:i|me|my|myself)\b)",
    rf"{_OPEN}i(?: am|'m) (?:(?:just|only|merely|actually|simply) )*{_AI}(?:[.,;:!?()–—]|\s*$| -| (?:and|so|but"
    r"|developed|created|trained|built|made|designed|programmed|without|that|who|which|here)\b)",
    rf"{_OPEN}i(?: am|'m) (?:qwen|chatgpt|gpt|claude|gemini|bard|llama|deepseek|mistral|copilot|grok|kimi|gemma"
    r"|phi)\b[^.!?]*\b(?:ai|assistant|model|chat ?bot|(?:created|developed|built|made|trained) by)\b",
    rf"{_OPEN}i(?:'m| am| was| have been|'ve been) (?:trained|created|developed|built|made|programmed"
    rf"|designed) by {_MAKERS}",
    rf"{_OPEN}i(?:'m| am| was| have been|'ve been) (?:only )?trained (?:only )?on (?:an? )?(?:large|vast|massive|huge"
    r"|diverse|wide|broad|text|datasets?|internet|the internet|data (?:up|until|from|that))\b",
    rf"{_OPEN}i(?:'m| am| was| have been|'ve been) (?:(?:programmed|designed) (?:only )?to |trained to (?:generate"
    r"|respond|assist users|avoid|decline|refuse)|(?:programmed|designed|trained) not to )",
    rf"{_OPEN}(?:based on|according to|as of|due to|given|per) my (?:(?:training(?: data|,)|knowledge cut"
    r"|programming,|last (?:knowledge )?update)|(?:content |safety |ethical |usage )*(?:guidelines|policies)\b)",
    rf"{_OPEN}my (?:training data|knowledge|programming|(?:[\w-]+ )?guidelines"
    r"|training)(?: cut-?off(?: date)?)? (?:is (?:limited|based|in|as)|only|do(?:es)?\b|doesn't|don't|goes|ends"
    r"|was last|prevents?|prohibits?|stops?|cuts?)",
)
"""Talk of being a model, in English."""

_ZH_SORRY = (
    r"(?:(?:[您你]好[，,。！! ]*)?(?:我?非常|我?很|十分|真的|实在)?(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)"
    r"[，,。！!、 ]*(?:但是?)?)"
)
_ZH_CANNOT = r"(?:无法|無法|不能|不可以|没有办法|没法|不便|不会|拒绝)(?:再|直接|继续|[为為给向][您你]|对此|就此)*"
_ZH_AI = (
    r"(?:一个|一個|一名|一款|一种|一位)?(?:由.*(?:开发|開發|训练|訓練|创建|研发)的)?(?:大型|大)?"
    r"(?:人工智能|人工智慧|ai|语言模型|語言模型)(?:语言模型|語言模型|大模型|模型|助手|助理|系统|程序|聊天机器人)*"
)

REFUSALS_ELSEWHERE = (
    rf"(?:[您你]好[，,！! ]*)?(?:{_ZH_SORRY}|作为{_ZH_AI}[，, ]*)*我(?:目前|暂时|现在|恐怕)?{_ZH_CANNOT}"
    r"(?:给[到出]相关|提供|回答|帮助|幫助|协助|協助|满足[您你这该此]|滿足[您你這該此]|参与|支持|分享|遵从|回应|帮[您你])",
    rf"(?:{_ZH_SORRY}|作为{_ZH_AI}[，, ]*)+[^。！？]*{_ZH_CANNOT}"
    r"(?:提供|回答|帮|幫|协助|協助|满足|滿足|完成|给出|创作|写|回复|做|这样做|处理|處理"
    r"|生成|执行|讨论|討論|访问)",
    r"(?:(?:es )?tut mir (?:sehr |wirklich )?leid,? |entschuldigung,? |leider |aber |als (?:ki"
    r"|sprachmodell)[^.!?]*,? )*(?:ich (?:kann|darf|werde|bin)"
    r"|(?:(?:dabei|damit|hierbei|dazu|hierzu|darauf|das|dies|da|bei [^.!?,]*|(?:diese[nmrs]?|ihre[nr]?"
    r"|deine[nr]?) \w+) )?(?:kann|darf|werde"
    r"|bin) ich) (?:[^.!?]* )?(?:(?:nicht"
    r"|keine[nrsm]?)\b[^.!?]*(?:helfen|unterstützen|beantworten|bereitstellen|hilfe leisten|informationen (?:geben"
    r"|liefern)|(?:ratschläge|auskunft|auskünfte|anleitung(?:en)?|empfehlungen) (?:geben|anbieten|erteilen))"
    r"|nicht (?:tun|machen|beantworten)[.!]|(?:anfrage|bitte|frage) (?:leider )?nicht (?:erfüllen|nachkommen"
    r"|bearbeiten))",
    r"(?:je suis (?:vraiment |sincèrement )?désolée?,? |désolée?,? |malheureusement,? |je regrette,? |mais "
    r"|en tant qu[e'][^.!?]*, )*(?:je ne (?:peux|puis|suis)(?: malheureusement)?(?: pas)?(?: en mesure de"
    r"| capable de)?|il m'est impossible de) ?(?:vous |t')?(?:aider|assister|fournir|répondre|accéder à votre"
    r"|satisfaire|discuter)",
    r"(?:lamento|siento) (?:mucho )?no poder (?:ayudar|asistir|proporcionar|responder|cumplir|brindar|ofrecer)",
    r"(?:lo siento(?: mucho)?,? |lamentablemente,? |desafortunadamente,? |disculpe?,? |pero "
    r"|como [^.!?]*, )*no (?:puedo|podré|podría|me es posible|estoy en condiciones de|estoy autorizad[oa] (?:a|para)"
    r"|soy capaz de) (?:ayudar|asistir|proporcionar|responder|cumplir|brindar|ofrecer|participar)",
    r"(?:mi dispiace,? |purtroppo,? |spiacente,? |ma )*non (?:posso|sono in grado di) (?:aiutar|assister|fornir"
    r"|risponder|soddisfare)",
    r"(?:desculpe,? |lamento,? |sinto muito,? |infelizmente,? |mas )*(?:eu )?não (?:posso|consigo"
    r"|sou capaz de) (?:ajudar|fornecer|responder|atender|auxiliar)",
    r"(?:(?:извините|простите|к сожалению|мне (?:очень )?жаль|но|как [^.!?]*),? )*(?:я )?не (?:могу"
    r"|в состоянии) (?:вам )?(?:помочь|предоставить|выполнить (?:этот|эту|ваш)|ответить на (?:этот|ваш)|обсуждать)",
    r"(?:het spijt me,? |sorry,? |helaas,? |maar )*(?:ik (?:kan|mag|zal)|(?:kan|mag|zal) ik) (?:[^.!?]* )?(?:niet"
    r"|geen)\b"
    r"[^.!?]*\b(?:helpen|verstrekken|beantwoorden|voldoen|assisteren|ondersteunen)",
    r"(?:(?:przykro mi|przepraszam|niestety|ale),? )*nie (?:mogę|jestem w stanie|będę)[^.!?]* (?:pomóc|pomagać"
    r"|udzielić|spełnić|odpowiedzieć na (?:to|twoje|to pytanie)|dostarczyć)",
    r"(?:(?:üzgünüm|maalesef|özür dilerim|ancak|ama|fakat),? )*(?:bu|size|sana|böyle|isteğini) [^.!?]*(?:yardımcı"
    r"|yardım|yerine|cevap|yanıt)[^.!?]*(?:olamam|edemem|getiremem|veremem|olamıyorum|edemiyorum|veremiyorum)",
    r"(?:(?:عذرا|عذرًا|عذراً|آسف|أعتذر|للأسف|لكن|ولكن|لكنني)[،,]? ?)*(?:أنا )?(?:لا (?:أستطيع|يمكنني|أقدر)|لن أتمكن من)"
    r" (?:أن )?(?:أ?مساعدت|تقديم|تلبية|الإجابة|المساعدة|أساعد)",
    r"(?:(?:maaf|mohon maaf|sayangnya|tetapi|namun|tapi),? )*saya tidak (?:dapat|bisa|mampu)[^.!?]* (?:membantu"
    r"|memenuhi|memberikan (?:informasi|bantuan|saran)|menjawab pertanyaan (?:itu|ini))",
    r"(?:(?:(?:tôi )?(?:rất )?(?:xin lỗi|tiếc)|nhưng|rất tiếc),? )*tôi không thể[^.!?]* (?:giúp|hỗ trợ"
    r"|cung cấp (?:thông"
    r" tin|hướng dẫn)|đáp ứng|trả lời câu hỏi (?:này|đó))",
    r"(?:(?:क्षमा करें|माफ़ करें|माफ करें|खेद है)[,।]? )+[^.!?।]*(?:नहीं कर सकत|नहीं दे सकत|असमर्थ)",
    r"(?:申し訳(?:ありません|ございません)|すみません|ごめんなさい)[^。！？]*(?:できません|できかねます|お答えできません|いたしかねます)",
    r"[가-힣 ]*도와드릴 수(?:가|는)? 없",
    r"(?:죄송|미안)[^.!?]*(?:수 없|수가 없|어렵습니다|못합니다)",
)
"""Refusals in Chinese, German, French, Spanish, Italian, Portuguese, Russian, Dutch, Polish, Turkish, Arabic,
Indonesian, Vietnamese, Hindi, Japanese and Korean.
"""

SELF_REFERENCES_ELSEWHERE = (
    rf"{_ZH_SORRY}?作为{_ZH_AI}(?:[，,、 ].*)?我",
    r"我(?:的名字)?(?:是|叫)(?:通义千问|千问|文心一言|豆包|元宝|混元|智谱清言|讯飞星火|腾讯元宝|deepseek|kimi|qwen|chatgpt|chatglm|claude"
    r"|gemini)",
    rf"{_ZH_SORRY}?我(?:只)?是{_ZH_AI}(?:[，,。；;！!、 \n]|$)",
    r"(?:leider |es tut mir leid,? )?als (?:eine? )?(?:ki|künstliche intelligenz|(?:großes )?sprachmodell)\b.*\bich\b",
    r"en tant qu(?:e |'une? |')(?:ia|intelligence artificielle|modèle de langage|assistant (?:virtuel|ia))\b.*\b(?:je"
    r"|j')",
    r"como (?:una? )?(?:ia|inteligencia artificial|modelo de lenguaje|asistente (?:virtual|de ia))\b.*\b(?:yo|mi|me"
    r"|soy|puedo|tengo|fui)\b",
)
"""Talk of being a model, in Chinese, German, French and Spanish."""
