"""Wishes that no attribute of the catalogue can express ("funnier", "directed by …", "under 90 minutes"): as said."""

from __future__ import annotations

import re
from collections.abc import Sequence

from p5t5.questions.entity_linking import everyday_language, normalize
from p5t5.questions.mentions import asking_words

_I = re.IGNORECASE
_STOP = r"(?=\s*(?:[,.;!?]|$|\band i\b|\bbut\b|\bplease\b|\bpls\b|\bfor (?:user|me|us|tonight|my|the)\b|⟦u))"
_PATTERNS = [
    re.compile(pattern, _I)
    for pattern in (
        rf"\b(?:directed|written|composed|produced|filmed|shot|narrated|translated|illustrated|published|painted|created|played|made) (?:by|in|on|with|for|entirely) [^,.;!?⟦]+?{_STOP}",
        r"\b(?:films?|movies?|flicks?|books?|novels?|songs?|albums?|games?|anything|something|one) (?:of|by|from) (?:a|an|the same|that|this|some|one) "
        r"(?:director|author|maker|writer|creator|actor|actress|studio|band|singer|composer|screenwriter)s?\b",
        r"\b(?:from|by) the (?:director|author|maker|writer|creators?|people|studio|band|brand)s? (?:of|behind|who made)\b",
        r"\b(?:not|n['’]t)(?: be| that are)? too [\w\-]+",
        r"\b(?:without|no|hates?|dislikes|can['’]?t stand|not? much|too much) (?:any |too much |the )?(?:violence|gore|blood|swearing|sex|nudity|romance|ghosts|kissing|guns|drugs|aliens|zombies|vampires|subtitles|jump scares|bad language|politics|war|animals dying|clowns|spiders|plastic|batteries|leather)\b",
        r"\b(?:newest|latest|oldest|most recent|this year|last year|this month|this decade|(?:in )?recent years|these days)\b(?! ⟦)",
        rf"\b(?:starring|featuring|set in|takes? place|taking place|based on|about|dealing with|concerning|that deals? with|that deal with|centred on|centered on|told from|narrated|in the language|dubbed|subtitled|with subtitles)\b(?: (?:in|on|at))?(?! ⟦)[^,.;!?⟦]*?{_STOP}",
        r"\bwith (?!⟦|me\b|my\b|us\b|friends\b|him\b|her\b|them\b|it\b|user\b|the (?:kids|family|whales)\b|a friend\b|w/)(?:[\w'’\-]+ ?){1,5}(?:in it|in them|in the lead|ending|twist|plot|cast|soundtrack|music|budget|actors?|scenes?|shipping|effects|warranty|case|strings|legs|sound)\b",
        r"\bwith [A-Z][\w'’\-]+ [A-Z][\w'’\-]+",
        r"\b(?:under|below|less than|shorter than|longer than|over|at least|at most|max|up to|about|within)\s+\d+(?:[.,]\d+)?\s*-?\s*(?:minutes?|mins?|hours?|h|pages?|kg|kilos?|grams?|cm|watts?|inch(?:es)?)\b",
        r"\b(?:under|less than|about|over|within) (?:an|two|three|one|half an) hours?\b",
        r"\b(?:about|got) an hour\b",
        r"\b(?:black[ -]and[ -]white|feel[ -]?good|oscar[ -]?(?:winners?|winning)?|academy award\w*|award[ -]winning|prize[ -]winning|free (?:shipping|delivery)|on sale|discount(?:ed)?|second[ -]?hand|used ones|left[ -]handed|in (?:english|german|french|spanish|italian|colou?r|stock|3d|hd|4k|translation)(?: translation)?|english translation|subtitles?|true stor(?:y|ies)|happy end(?:ing)?|sad ending|plot twist|made in \w+|eco[ -]friendly|for beginners|for a beginner|foreign|by (?:a )?wom[ae]n|female|for adults)\b",
        r"\b(?:the opposite|together)\b(?= *[.!?]*$)",
        r"\b(?:but|only|just|although|though|and|something|anything|a bit|a little|slightly|much|even|,) (?:(?:a )?(?:bit|little|lot|touch|tad)|much|even|slightly|way)? ?(?:less|more) (?!(?:recent|modern|of|like|movies?|films?|books?|than|ideas?|please|pls|from|current|⟦|to\b|than|for|about|classic|suggestions?|recommendations?|by|in)\b)(?!\w+s\b)[\w\-]+",
        r"\bless (?!than|recent|classic)[\w\-]+",
        r"\b(?!newer|older|later|earlier|better|other|another|ever|never|over|under|after|together|rather|either|neither|further|whether|however|dinner|summer|winter|brother|sister|mother|father|daughter|number|order|user|player|customer|paper|letter|whatever|wherever|whoever|user|water|power|computer|offer|former|answer|matter|thriller|killer|reader|viewer|member|master|cover|river|lover|clever|super|number|younger|remember|consider|prefer|cheaper|singer|writer|teacher|helper|mixer|tuner|speaker|amplifier|headliner|corner|easter|her)(?:[a-z]{2,}i|[a-z]{2,})er\b(?= *(?:[,.;!?]|$|and\b|than\b|please\b|pls\b|one\b|stuff\b|though\b))",
        r"\b(?:cheap(?:er)?|affordable)(?= *(?:[,.;!?]|$|please|one))",
    )
]
_ADJECTIVE = re.compile(
    r"\b(?:something|anything|sth|somewhat|stuff that(?:['’]s| is))\s+(?:(?:a bit|really|very|quite|nice and|more|so|truly|super|pretty)\s+)*(?P<after>[a-z][a-z\-]{2,})(?:\s+(?:and|or|but)\s+(?P<second>[a-z][a-z\-]{2,}))?(?=\s*(?:[,.;!?]|$|to\b|for\b|please\b|tonight\b|with\b|from\b))",
    _I,
)
_BEFORE_NOUN = re.compile(
    r"\b(?P<word>[a-z][a-z\-]{2,})\s+(?:(?:one|ones|movies?|films?|books?|flicks?|guitars?|stuff|products?|things?|⟦c⟧)\b|⟦c⟧)",
    _I,
)


def unmet_wishes(masked: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Wishes of a masked question; ``spans``: what was read as conditions already."""
    text = masked
    for start, end in sorted(spans, reverse=True):
        if not masked[start:end].startswith("⟦"):
            text = text[:start] + "⟦c⟧".ljust(end - start)[: max(end - start, 3)] + text[end:]
    found: list[tuple[int, int, str]] = []
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            said = re.sub(
                r"^(?:but|only|just|although|though|and|something|anything|,)\s+",
                "",
                match.group().strip(),
                flags=_I,
            )
            said = said.replace("⟦c⟧", "").strip()
            if said and all(match.end() <= left or right <= match.start() for left, right, _ in found):
                found.append((match.start(), match.end(), said))
    for pattern, groups in ((_ADJECTIVE, ("after", "second")), (_BEFORE_NOUN, ("word",))):
        for match in pattern.finditer(text):
            for group in groups:
                word = match.group(group)
                if (
                    not word
                    or not _telling(word)
                    or any(left <= match.start(group) < right for left, right, _ in found)
                ):
                    continue
                found.append((*match.span(group), word))
    return list(dict.fromkeys(said for _, _, said in sorted(found)))


def _telling(word: str) -> bool:
    plain = normalize(word).replace(" ", "-")
    if {word.lower(), plain} & everyday_language()["words"]["filler"]:
        return False
    return plain not in asking_words() or plain in everyday_language()["words"]["moods"]
