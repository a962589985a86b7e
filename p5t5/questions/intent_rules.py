"""What a masked question asks for: the intent of each of its parts, by the words that ask."""

from __future__ import annotations

import re
from dataclasses import dataclass

from p5t5.questions.feelings import BARE, DISLIKED, SEEN, SIMILAR, UNSEEN

_I = re.IGNORECASE
M, U = r"⟦\d+⟧", r"⟦u\d*⟧"
_WHO = (
    rf"(?:i|we|you|he|she|they|it|user|users|someone|somebody|people|anyone|{U}|my \w+|the user|customers?)"
)
_TITLED = rf"(?:{M}|⟦x\d*⟧)"

LOOKUP = re.compile(
    rf"\b(?:(?:(?<![a-z] )|(?<=and )|(?<=but )|(?<=so ))who (?:directed|wrote|made|composed|stars?|starred|plays?|played|is the (?:author|director|writer|maker|brand)|is in|was in|acted|produced|published|painted|sings?|created|sells?)|who(?:['’]s| is| are| was)? (?:in|the \w+ (?:of|in))"
    rf"|when (?:did|was|were|is|does|do|has|will|can)|what year|which year|in (?:what|which) year|how (?:many|much) (?:\w+ ){{0,6}}?(?:do you have|are there|have you|does the|do you (?:sell|stock|offer)|in (?:the|your)|is in|are in|from (?:the )?(?:\d|⟦c)|did (?:user|⟦u)|have (?:i|user|⟦u)|has (?:user|⟦u))"
    rf"|number of (?:movies|films|books|items|products|titles|\w+) (?:from|in|by|of|with|do|does|are|user|⟦u)|how (?:much|expensive|long|old|heavy|big|many pages|many minutes|many strings|loud) (?:is|are|does|do|has|was|will|did)"
    rf"|how many (?:pages|minutes|chapters|strings|watts|parts|volumes|oscars|copies|ratings|reviews|people|users|customers)|what (?:does|do) (?:the )?{M} (?:cost|weigh|measure)|what(?:['’]s| is| was) the (?:price|weight|length|runtime|genre|author|director|year|plot|release|average|title|name|brand|category|publisher|isbn|cast|ending)"
    rf"|what (?:genre|kind of (?:movie|film|book)|category|brand|colou?r|size|language|price|format)s? (?:is|are|was|does|has)|(?:is|are|was|do you have|have you got|got|do you (?:sell|stock|carry)) (?:the |a |an )?{_TITLED}[^?]{{0,20}}(?:in (?:your|the) (?:catalogu?e|list|shop|store|collection|library|database|range|stock)|in stock|available|based on|out on|on netflix|in colou?r|a true story|still made|sold out)"
    rf"|do you (?:have|sell|stock|carry|know) (?:the |a |an )?{_TITLED}\s*\??$|what is {_TITLED} about\b|what happens in|where (?:was|is|can|does|do)(?!\s+(?:one|i|we|you|a \w+) (?:start|begin|go))|list (?:all|every)|show me (?:everything|all)(?: (?:that )?(?:user|⟦u)|.*\b(?:watched|bought|read|rated|seen))|everything (?:that )?(?:user|⟦u)|(?:watch|purchase|order|rating|reading) history of"
    rf"|(?<!is the (?=last thing ))(?:last|latest|first|most recent|previous) (?:movie|film|item|book|thing|product|order|purchase|rating|read) (?:of |by |that |which )?(?:user|⟦u|i )|(?<!count of )how often|(?<!count of )how many times|what(?:['’]s| is) the (?:difference|average)|average (?:rating|score|stars) (?:of|for)|(?:^|\bthe )(?:genres?|year|director|author|price|brand|category|release (?:year|date)) of (?:the )?⟦|which (?:movies|films|books|items|products|ones) (?:did|has|have) (?:user|⟦u|i))",
    _I,
)
_PAST = re.compile(
    rf"\b(?:what|which|how many|how much|did|has|have|when|where)\b[^.?!]*?\b(?:did|has|have)?\b[^.?!]*?(?:{U})[^.?!]*?\b(?:watch|watched|buy|bought|read|rate|rated|give|gave|given|see|seen|saw|order|ordered|review|reviewed|score|like|love|hate|enjoy|finish|return|like best)\b",
    _I,
)
_DID = re.compile(rf"\b(?:did|has|have)\b[^.?!]*{U}", _I)
_MY_PAST = re.compile(
    r"\bwhat (?:did|have) i (?:last |just |already |recently )?(?:watch|watched|buy|bought|read|see|seen|rate|rated|give|given)|\bdid i (?:ever |already )?(?:watch|buy|read|see|rate)",
    _I,
)
EXPLAIN = re.compile(
    rf"\b(?:(?<!get )(?<!see )(?<!understand )(?<!understood )(?<!know )why\b(?! not\b)|explain|reasons? (?:why|to|for|you|that|behind|i|we|⟦u)|what(?:['’]s| is| are| was) the reasons?|for what reason|convince me|justify|justification|how come|on what grounds|what makes|sell {M} to me|talk me into|what speaks for|what would (?:i|{U}|user) (?:appreciate|say|like|love|enjoy|see)"
    rf"[^?]{{0,20}}(?:about|in|of)|what does {U} (?:like|love|see)|what(?:['’]s| is) (?:so )?(?:great|good|special|it) (?:about|in)|what do people (?:like|love|see)|tell me why|give me (?:a|one|any) (?:good )?reason|sell me (?:on )?{_TITLED}|what would (?:i|we|he|she|they|{U}) get out of|what(?:['’]s| is) in it for|rationale|the case for|appeal of|what(?:['’]s| is) (?:the )?appeal|appeals? to)",
    _I,
)
_TRUE = re.compile(
    rf"\b(?:is|isn['’]t|was) (?:it|that) (?:true|right|correct|so|accurate|the case|likely|certain|a fact|a safe bet|fair to say)|\b(?:is|am i) (?:that )?(?:right|correct)\b(?! (?:up|on|for|in|at)\b)|\bcorrect\?|\bright\?|\btrue or false|\bconfirm\b|\bdoes {M} follow\b|\bcan i expect {U}",
    _I,
)
_NUMBER = r"(?:\d{1,3}(?:\.\d)?|one|two|three|four|five|six|seven|eight|nine|ten)"
_GIVES = re.compile(
    rf"\b(?:would|will|does|did|do|could|can|might|is|am|if)\b[^.?!]*\b(?:give|gave|gives|rate|rates|score|scores|award|be|get|grant)\b[^.?!]*(?:{M}|it)[^.?!]{{0,25}}?\b(?:an?|with|at|only|as|the full|full|just|exactly|really)?\s*\b{_NUMBER}\b(?:\s*(?:-\s*)?(?:stars?|points?|out of|/|of (?:5|five|10|ten))|\s*[?.!]|\s*$)"
    rf"|\b(?:would|will|does|did|do|could|can|might)\b[^.?!]*\b(?:give|gave|gives|award)\b[^.?!]*?\b{_NUMBER}\s*(?:-\s*)?(?:stars?|points?|out of|/)[^.?!]*(?:to|for)\s+{M}"
    rf"|\bis {_NUMBER} the rating|\b{_NUMBER} stars? from {U} for {M}",
    _I,
)
_NEXT_VERIFY = re.compile(
    rf"^(?:[^.?!]*,)?\s*(?:\W*\b(?:will|would|is|does|could|might|do you think|can|am)\b)[^.?!]*{M}[^.?!]*\b(?:next\b(?! (?:to|door))|follow|come after)",
    _I,
)
RATE = re.compile(
    rf"\b(?:how many (?:stars?|points|thumbs)|(?:what|which) (?:star |number of )?(?:rating|score|grade|mark|stars|number of stars|note)|what (?:would|will|might|could|do you think|should) (?:{_WHO}|my \w+)(?:\s+\w+){{0,3}} (?:give|rate|score|award|grade)|how (?:would|will|might|highly|high|do you think|much) (?:would |will )?{_WHO}(?:\s+\w+){{0,3}} (?:rate|score|grade|like)"
    rf"|(?:predict|guess|estimate|forecast|tell me|give me|what['’]s|what is|what about)(?: me)?(?: (?:the|my|your|a|an|his|her|{U}(?:['’]s)?|predicted|expected|likely|probable|estimated|star)){{0,4}} (?:ratings?|scores?|stars?|grade|mark|number of stars|estimate)|(?:your|my|the) (?:estimate|guess|prediction|rating|score) (?:for|of|on)"
    rf"|(?:star|stars|rating|score) (?:guess|prediction|estimate)|(?:rating|stars|score|grade|mark)s? (?:{U}|user|i|we|he|she|they|of {U}|from {U}|from me|for {M}|of {M}|would|will)|rate (?:the )?{_TITLED}|my (?:rating|score|stars) (?:for|of)|what number (?:would|will|do|should)|(?:give|put) (?:a |some )?(?:score|number|figure|rating|stars|grade) (?:to|for|on)"
    rf"|(?:where|on a scale)\b[^.?!]*\bscale|put a (?:figure|number)|out of (?:five|ten|\d+)\b[^.?!]*\b(?:would|will|what|where)\b|(?:would|will) {_TITLED} (?:get|score|receive|be rated)|what does {_TITLED} get|(?:for me|me), what is {M}|how good (?:would|will) (?:i|we|{U}) find)",
    _I,
)
_RATED_STATEMENT = re.compile(
    rf"\b(?:i|we|she|he|{U}) (?:would )?(?:rated?|gave|scored)\b|\bmy ratings?(?: so far)?\s*:", _I
)
CHOOSE = re.compile(
    r"\b(?:which (?:one|of|film|movie|book|is|would|should|do|to)?|pick (?:one|between|from|the|out)|choose|choice|choosing|decide between|can['’]?t decide|cannot decide|either|rather|prefer|(?<!was )(?<!were )(?<!even )better(?:,| for|:|\?)?|best option|select|rank these|rank|vs\.?|versus|single one|just one of|best bet|only (?:time|room|money|space) for (?:a single )?one|torn between|if (?:i|we|you|they) had to (?:take|pick|choose|buy|watch|read)|which (?:one )?(?:first|to start with)|between|out of (?!(?:\d|five|ten|a hundred)\b)|one of (?:these|those|them)|from (?:this|that) (?:list|shortlist)|first:|help me (?:choose|pick|decide))",
    _I,
)
_OR = re.compile(
    rf"{_TITLED}[\s,\"”)]*(?:\bor\b|\bvs\.?\b|\bversus\b)[\s,\"“(]*(?:else |rather |maybe )?(?:the |a |an |my )?{_TITLED}",
    _I,
)
LIKE = re.compile(
    rf"\b(?:(?:would|will|might|could|do you (?:think|reckon|believe|suppose)|is it likely|am i|is|are|do|does|should|shall|can|d['’]you|you think|reckon|wonder if|if|whether|'ll|['’]d)\b[^.?!]*\b(?:like|enjoy|love|hate|dislike|be into|be a fan|appreciate|adore|go for|dig|something for|for me|my (?:kind|cup|thing|taste|sort)|suit|worth|be happy|be pleased|be disappointed|fit|hit with|be keen|stomach|be good|take to|warm to|get on with|get along with|fall for|up my (?:street|alley)|good (?:fit|pick|choice|buy|idea|recommendation|match)|go down well|be (?:impressed|bored|satisfied|delighted))\b"
    rf"|(?:should|shall|must|ought) (?:i|we|{U}|user|he|she|they|one)(?: really| also| even| maybe)? (?:watch|see|buy|get|read|try|bother|go|give|have|pick up|skip|order|check out|put|recommend|play|invest|rent)|worth (?:watching|seeing|reading|buying|my|the|it|a|getting|playing)|(?:would|can|could|do|should|shall) (?:you|we|i) (?:recommend|suggest|advise|offer)\s+(?:the |me to |that i |getting |watching |buying |reading )?(?:⟦|get|buy|watch|see|read)|how (?:would|does|will|do) (?:{_WHO})(?: \w+)? (?:feel|find)|what (?:would|will|does|do|might) (?:{_WHO})(?: \w+)? think (?:of|about)|yes or no|thumbs up or|my (?:kind|sort|type|cup) of|like or dislike|(?:good|right|suitable|safe) (?:for|pick|choice|idea|recommendation|bet|match)"
    rf"|should {M} be|recommend {M} to|(?:hit|miss) with|for (?:me|us|him|her|them|my \w+)\s*\?|would {M} (?:suit|please|be)|is {M} (?:any good|(?:really )?as (?:good|bad|great) as|good|worth|for|right|something|my|a good)|does {M} (?:belong|suit|fit))",
    _I,
)
RECOMMEND = re.compile(
    r"\b(?:recommend\w*|recs?|rekomend|recomend|suggest\w*|propose|advise|advice|what(?:['’]?s| is)? next|next|now what|what (?:after|else|now|then|should|shall|could|can|do|to|would|will|comes?|goes?|follows?|movie|film|book|other|more|about)|whats? (?:next|good|worth|popular|missing|hot|new|now)|something|anything|any (?:good|other|more|ideas?|tips|suggestions?|recommendations?|\w+s\b)"
    r"|more\b|others?\b|another|ideas?|tips|hit me|find me|show me|give me|i (?:need|want|fancy|feel like)|we need|need a|looking for|in the mood for|top \w+|best\b|popular|most (?:read|watched|liked|loved|bought|popular)|bestsell\w*|best sellers?|which|surprise me|what (?:are|were|is|was) (?:the|your|some|everyone|everybody|people|others?)|where do i go from|so\s*\?|and now|pick(?:s)? for|for (?:tonight|user|me|us|my|the)|must[- ](?:see|read|have)s?"
    r"|continue|carry on|go on|list|name|movie night|gift|present|got any\w*|got something|is there|are there|do you have|have you got|movie\?|film\?|book\?|bored|watch|read|see|buy|get)\b",
    _I,
)
_GREETING = re.compile(
    r"^(?:\W|\b(?:hi|hello|hey|hiya|howdy|yo|good (?:morning|evening|afternoon|day|night)|greetings|there|you|all|everyone|lol|haha\w*|ok(?:ay)?|thanks?|thank you|thx|bye|goodbye|cheers|test|testing|help|please|sup|what(?:['’]?s| is) up|how are you(?: doing)?|how(?:['’]?s| is) it going|who are you|what are you|are you (?:a |an )?(?:robot|bot|human|ai|real|there|chatgpt|person|machine)|what can (?:you do|i ask)|nice|cool|wow|hmm+|yes|no|yep|nope|sure|sorry|today|so much|very much|a lot|\d+)\b)*$",
    _I,
)
_SERVICE = re.compile(
    r"\b(?:my (?:order|account|parcel|package|password|subscription|refund|invoice|delivery|login|e-?mail|payment|credit card|profile|data)|opening hours|customer service|return (?:my|this|an|the)|refund|cancel|unsubscribe|log ?in|sign ?up|password|shipping (?:cost|time)|delivery (?:time|cost)|(?:ship|deliver) to|store hours|in your shop|your (?:address|website|app)|tell me a joke|joke|weather|what time is it|your name|how old are you|where are you|do you love me|meaning of life|capital of|translate|who made you|are you (?:a |an )?(?:robot|bot|human|ai|real))\b",
    _I,
)


_FEATURES = (
    re.compile(
        r"\b(?:focus(?:ing|ed)? on|mention(?:s|ing)?|talk(?:ing)? about|speak(?:ing)? (?:of|about)|because of|regarding|with regard to|in terms of"
        r"|when it comes to|respect to|especially|word on|feature|thinking of|by)\s+(?:its|the|their|how)?\s*[\"“']?([a-z][\w\-]{2,})", _I,
    ),
    re.compile(r"\bthe ([a-z][\w\-]{2,}) of\b", _I),
)  # fmt: skip


def feature_of(masked: str) -> str:
    """The word that an explanation is to be about: "focusing on its humour", "the sound of ⟦0⟧"; "" where none is said."""
    for pattern in _FEATURES:
        match = pattern.search(masked)
        if match and match.group(1).lower() not in (
            "the",
            "user",
            "item",
            "this",
            "that",
            "which",
            "what",
            "reason",
            "reasons",
        ):
            return match.group(1)
    return ""


@dataclass(frozen=True)
class Part:
    """A stretch of the masked question that asks for one thing; ``span``: where it stands."""

    intent: str
    start: int
    end: int


def is_greeting(text: str) -> bool:
    """Whether there is nothing but greetings and small talk, numbers and signs."""
    return _GREETING.match(text) is not None


def is_service(masked: str) -> bool:
    """Whether it asks about accounts, parcels, the weather: nothing that a recommender knows."""
    return _SERVICE.search(masked) is not None and "⟦0⟧" not in masked


def intent_of(part: str, roles: list[str]) -> str:
    """The intent of a masked part; ``roles``: the feeling said of each item in it. "" where it asks for nothing."""
    items = len(roles)
    bare = sum(role in (BARE, UNSEEN) for role in roles) + len(re.findall("⟦x", part))
    blamed = bool(roles) and all(role == DISLIKED for role in roles)  # "explain the fuss about …"
    if EXPLAIN.search(part) and not blamed and not re.search(r"\bwhy not\b", part, _I):
        return "explain"
    if (
        items
        and (
            _GIVES.search(part)
            or (_TRUE.search(part) and (re.search(_NUMBER, part, _I) or _NEXT_VERIFY.search(part)))
        )
        and not re.match(r"\W*(?:how|what|which|if|given|since|as|i)\b", part, _I)
    ):
        return "verify"
    if (_PAST.search(part) and _DID.search(part)) or _MY_PAST.search(part):
        return "lookup"
    if (
        re.search(
            r"\b(?:my|this|the|a|following|customer)\b[^.?!]*\b(?:reviews?|comments?|feedback)\b", part, _I
        )
        and not items
    ):
        if re.search(r"\b(?:headline|title|summar\w*|sum\b|tl;?dr|shorten|gist|heading)", part, _I):
            return "headline"
        if re.search(r"\b(?:stars?|rating|score)\b", part, _I):
            return "review_score"
    rate = RATE.search(part)
    found = LOOKUP.search(part)
    average = re.search(r"\baverage\b", part, _I)
    if found and not (
        rate and not average and rate.start() <= found.start() and not re.search(r"\bdid\b", part, _I)
    ):
        return "lookup"
    if (
        items
        and _NEXT_VERIFY.search(part)
        and not _OR.search(part)
        and not re.match(r"\W*(?:what|which)", part, _I)
        and bare
    ):
        return "verify"
    named = items or "⟦x" in part
    if rate and (
        bare
        or (not items and re.search(r"\bstars\b|\brating\b", part, _I))
        or (items and "rated" not in roles and not _RATED_STATEMENT.search(part))
    ):
        return "rate"
    if (bare > 1 and _OR.search(part)) or (bare > 1 and CHOOSE.search(part)):
        return "choose"
    if (
        LIKE.search(part)
        and named
        and _is_asked(part)
        and (bare or SIMILAR not in roles)
        and _asks_like(part, roles)
    ):
        return "like"
    if SIMILAR in roles:
        return "similar"
    if re.search(
        r"\b(?:similar to|anything like|something like|movies like|like|resembl\w+|comparable to|alternatives? to|in the vein of|close to)\s+(?:the |a |an )?⟦x",
        part,
        _I,
    ) and not re.search(r"\b(?:i|we|you|they)(?:['’]d)? like ⟦x", part, _I):
        return "similar"
    if re.search(r"⟦x\d*⟧[ -]?(?:like|type|style|similar|esque)\b", part, _I):
        return "similar"
    if RECOMMEND.search(part):
        return "recommend"
    return ""


def _is_asked(part: str) -> bool:
    """Whether the part is a question by its mark or its first words."""
    return "?" in part or re.search(
        rf"^\W*how (?:would|will|do|does)\b|(?:^|[,;:]|\b(?:so|and|but|if|wonder|know))\s*(?:would|will|should|shall|could|might|is|are|am|do|does|can|would|d['’]you|recommend|tell me if|wonder if|if i (?:would|will|['’]d)|whether) ?|\b(?:do you think|you think|reckon|yes or no|would (?:i|we|{U}))\b",
        part, _I,
    ) is not None  # fmt: skip


def _asks_like(part: str, roles: list[str]) -> bool:
    """Whether an item without a feeling is asked about, not one named beside a wish for more."""
    if re.search(r"\b(?:what|which)\b[^.?!]*\b(?:should|would|could|will|do)\b", part, _I) and not re.search(
        rf"\b(?:would|will|should)\b[^.?!]*\b(?:like|enjoy|watch|see|read|buy|get)\s+(?:the |a )?{_TITLED}",
        part,
        _I,
    ):
        return False
    if (
        re.search(r"\b(?:anything|something|others?|else|more|another|ideas?|suggestions?)\b", part, _I)
        and all(role not in (BARE,) for role in roles)
        and "⟦x" not in part
    ):
        return False
    return (
        any(role in (BARE, UNSEEN) for role in roles) or "⟦x" in part or all(role == SEEN for role in roles)
    )
