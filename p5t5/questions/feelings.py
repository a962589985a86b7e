"""Who feels what about the items of a masked question: liked, disliked, seen, rated, or named without a word.

A feeling stands before its items ("I loved ⟦0⟧ and ⟦1⟧"), behind them ("⟦0⟧ bored me"), or in a sentence of its
own ("⟦0⟧. Never again."). Items named side by side share it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from p5t5.questions.clauses import ASKING, Group, groups_of, sentences_of
from p5t5.questions.feeling_words import AVERSE, BAD, BASE_FORMS, DISPLEASED, GOOD, PLEASED
from p5t5.questions.opinions import opinion_of, phrase_about
from p5t5.questions.said_ratings import read_ratings

LIKED, DISLIKED, SEEN, SIMILAR, BARE, UNSEEN = "liked", "disliked", "seen", "similar", "", "unseen"
_MODAL = r"(?:\b(?:would|will|might|could|should|shall|may|can|wanna|gonna)\b|['’]d\b|['’]ll\b|\bgoing to\b|\bto\b|\bdo(?:es)? (?:you|user|we|they|people)\b|\bam i\b)"
# Verbs in front of what is felt about; a "not" before them turns them round.
_LOVE = re.compile(
    r"(?:(?:❤️?|😍|👍|🥰|<3)|\b(?:lov(?:e|es|ed|ing)|luv(?:s|ed)?|lik(?:ed|es|ing)|enjoy(?:s|ed|ing)?|ador(?:e|es|ed|ing)|dig|digs|dug|prefer(?:s|red)?|devour(?:s|ed)|treasure[sd]?"
    r"|(?:big |huge |great |die[- ]?hard |massive |real )*fans? of|fond of|in love with|keen on|crazy about|mad about|obsessed with|hooked on|into|happy with|pleased with|impressed (?:by|with)"
    r"|favou?rites?(?: \w+){0,4}? (?:is|are|was|were|include|includes)|favou?rites?\s*:|can['’]?t get enough of|cannot get enough of|thumbs up (?:for|to)|best (?:\w+ )?(?:is|was|are)"
    r"|care for|get into|got into|highlights? (?:was|were|is|are)|worship(?:s|ped)?|blown away by|knocked out by|moved by|thinks?(?= ⟦\d+⟧ (?:is|was|are))|appreciate[sd]?|likes?(?=\s*:)|good(?=\s*:)|(?<!me )(?<!us )best(?=\s*:)|a yes (?:for|to)|could(?:n['’]t| not) put down|(?:giggled|laughed|flew|raced) (?:all )?through|hot on))(?!\w)",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"(?:\b(?:i|we|you|they|people|who|and|but|kids|children|parents|friends|users|guys|both|all|both of us|viewers|readers|us|girls|boys)|(?:he|she|it|wife|husband|dad|mum|mom|son|daughter|friend)\s+(?:did|does|do)|⟦u\d*⟧)(?:\s+(?:do|really|also|just|always|both|all|quite|absolutely|already|too|still|truly|definitely|totally|did|generally|mostly|only|simply|sure|secretly|even|especially))*\s*$",
    re.IGNORECASE,
)
_HATE = re.compile(
    rf"\b(?:{AVERSE}|"
    r"hat(?:e|es|ed|ing)|dislik(?:e|es|ed|ing)|detest(?:s|ed)?|despis(?:e|es|ed)|loath(?:e|es|ed)|can(?:['’]?t|not) (?:stand|bear|abide)|could(?:n['’]t| not) (?:stand|bear|finish)|(?:gave|give|giving) up on"
    r"|regret(?:s|ted)?(?: \w+ing)?|scared of|afraid of|bored (?:\w+ )?(?:by|with|of)|sick of|tired of|fed up with|disappointed (?:by|with|in)|annoyed by|sent back|returned|sold(?: my)?|walked out of|fell asleep (?:during|in|at|over|watching)"
    r"|thumbs down(?: (?:for|to|on))?|worst (?:\w+ )?(?:is|was|are)|none of that|avoid(?:ed)?|👎|🤮|refuses? to (?:watch|read|see)|allergic to|struggled (?:with|through))(?!\w)",
    re.IGNORECASE,
)
# Words behind what is felt about.
_GOOD = (
    r"amazing|awesome|great(?:est)?|brilliant|fantastic|wonderful|excellent|superb|perfect(?:ly)?|beautiful|lovely|good|nice|fun|funny|hilarious|fabulous|terrific|splendid|gripping"
    r"|thrilling|tense|intense|moving|touching|sweet|solid|delicious|underrated|genius|masterpiece|gem|dream|lifesaver|highlights?|classic|cool|sick|gr8|lit|ace|best|favou?rites?|fave|magnificent|marvell?ous|charming|delightful|outstanding"
    r"|stunning|incredible|impressive|phenomenal|love|yes|winner|top notch|spot on|heaven(?:ly)?|exciting|engaging|captivating|clever|smart|treat|joy|wow|thumbs up|first[- ]rate|to die for|riveting|epic|dark|a hit|decent|magic(?:al)?|👍|❤️?|😍|🤩|🔥|chef['’]s kiss"
)
_BAD = (
    r"awful|terrible|horrible|bad|boring|dull|garbage|rubbish|trash|crap|lame|meh|nope|never again|no thanks|waste|unbearable|unwatchable|unreadable|overrated|dreadful|disappointing|disappointment|snooze"
    r"|annoying|tedious|harsh|worst|poor|stupid|silly nonsense|weak|painful|bored|not for me|no good|no fun|thumbs down|hate|yawn|mess|a bore|dud|flop|junk|faulty|broken|👎|💩|😴|🤮|forgettable|cheap and nasty|slow|disaster|mediocre|pretentious|too long"
)
_VERB_GOOD = re.compile(
    rf"\b(?:{PLEASED}|"
    r"convinced (?:me|us)|more of (?:that|it|the same|those|this)|what an? (?!bore|mess|waste|shame|disappointment|let|flop|dud|disaster|snooze)\w+|which (?:i|we|he|she|they) (?:really )?(?:loved?|liked?|enjoyed|adored?)|(?:even )?better than (?:people|everyone|they|its|the)|favou?rites?|masterpieces?|genius|ruled|rules|rocks?|rocked|rock|blew (?:me|us|him|her|them) away|moved (?:me|us)|changed my life|killed me|cracked me up|pleased (?:me|us|him|her)|had (?:me|us) in (?:stitches|tears)|works? (?:great|well|perfectly|fine)|worked (?:great|well)|fits? perfectly"
    r"|delivers?|nailed it|is (?:just )?what i play|on repeat|(?:is|was|are|were) (?:right up my|more my|my) (?:\w+ )?(?:alley|cup of tea|thing|jam)|my cup of tea|hit the spot|made my (?:day|week|year)|grew on me|never gets old|stole my heart|quite the contrary|but i did(?! not)|turned out to be such fun"
    r"|we all love|i (?:really )?(?:love|loved|like|liked|enjoyed|adored?) (?:it|them|that|both|all|this|every)|(?:love|loved|liked?|enjoyed|adored) (?:it|them|that|both|all|this)|(?:happy|pleased|in love) with (?:it|them)|he watches|she watches)(?!\w)",
    re.IGNORECASE,
)
_VERB_BAD = re.compile(
    rf"(?:\b(?:{DISPLEASED}|"
    r"suck(?:s|ed)?|stinks?|stank|bored (?:me|us|him|her)|bores me|annoy(?:s|ed) (?:me|us)|left (?:me|us) cold|fell flat|falls flat|put (?:me|us|him|her) to sleep|sent (?:me|us) to sleep|made (?:me|us) yawn|confused (?:me|us)|disappointed (?:me|us)|let (?:me|us) down|gave (?:me|us|him|her) nightmares"
    r"|did(?:n['’]t| not)? (?:do )?(?:nothing|anything|a thing|much) for|does(?:n['’]t| not)? (?:do )?(?:nothing|anything) for|leaves? (?:me|us) cold|keeps? falling (?:out|apart)|broke (?:after|within|down)|fell apart|never again|not (?:my|our|his|her) (?:cup of tea|thing|jam)|was(?:n['’]t| not) (?:for|my|our)|is(?:n['’]t| not) (?:for|my|our)"
    r"|drove (?:me|us) (?:mad|nuts|crazy)|did not|didn['’]t(?! (?:hate|mind|expect))|not at all|i (?:really )?(?:hated?|disliked?) (?:it|them|that|all|both)|hated (?:it|them|that|every)|(?:hate|loathe|despise|dislike) (?:it|them|that|all|both)|did(?:n['’]t| not) (?:like|enjoy|love|convince|finish|work)|i did hate|drags?|dragged|gave up|sent (?:it|them) back"
    r"|returned (?:it|them)|which i (?:disliked|hated)|could(?:n['’]t| not) finish)(?!\w))",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(rf"(?<!\w)(?:(?P<good>{_GOOD}|{GOOD})|(?P<bad>{_BAD}|{BAD}))(?!\w)", re.IGNORECASE)
_NOT = re.compile(
    r"(?:\b(?:not|never|no|hardly|neither|nor|nothing|isn['’]?t|wasn['’]?t|aren['’]?t|weren['’]?t|didn['’]?t|don['’]?t|doesn['’]?t|couldn['’]?t|can['’]?t|cannot|won['’]?t|haven['’]?t)\b|n['’]t\b)(?:\W+\w+){0,3}\W*$",
    re.IGNORECASE,
)
_EXPECTED = re.compile(
    r"\b(?:didn['’]?t|did not|never) (?:expect|think)\b.*?\bbut (?:i|we|he|she|they) (?:did|do)\b",
    re.IGNORECASE,
)
_SEEN = re.compile(
    r"\b(?:watch(?:ed|ing)?|saw|seen|see(?:ing)?(?= ⟦)|finish(?:ed|ing)?|re-?read(?:ing)?|read(?:ing)?|bought|buy(?:ing)?|own(?:s|ed|ing)?|(?:have|has|had)(?! to\b)|got|get(?:ting)? (?:myself|ourselves)|picked up|ordered|purchased|played|play(?:s|ing)?|halfway through|through|after|survived|coming from|following|based on"
    r"|since|history|so far|recently|yesterday|last (?:night|week|month)|use|using|going through|been|list)\b",
    re.IGNORECASE,
)
_UNSEEN = re.compile(
    r"\b(?:haven['’]?t|have not|never|not|hasn['’]?t|didn['’]?t|did not)(?: \w+)? (?:seen|watched|read|bought|played|see|watch|yet)\b|\bnot (?:yet )?(?:seen|watched|read)\b",
    re.IGNORECASE,
)
_SIMILAR = re.compile(
    r"(?:\b(?:like|similar to|similar (?:movies?|films?|books?|things?|ones?|stuff) to|along the lines of|in the vein of|in the (?:same )?(?:style|spirit|mood|manner|league|ballpark|tradition) (?:of|as)|compar(?:able|es?) (?:to|with)|resembl(?:e|es|ing)|reminiscent of|remind(?:s|ing)? (?:me |us |one |you |people )?of|close to|closest to|akin to"
    r"|alternatives? (?:to|for)|substitutes? for|replacements? for|equivalents? (?:of|to)|same \w+ as|as [\w\-]+ as|kind of|à la|a la|near(?:est)? to|resembles|matching|such as|the likes of|in line with|related to|equal to|next best thing to|com(?:e|es|ing) (?:near|close) to|com(?:e|es|ing) near|(?:a|another|the) (?:second|new|next|modern|further|different)(?=\s*$)|another(?=\s*$)|(?:go|goes|going) (?:well |nicely )?(?:together )?with|pairs? (?:well |something |nicely )?with|next (?:door )?to|(?:clones?|cousins?|siblings?|relatives?|twins?|lookalikes?|doubles?|neighbou?rs|successors?|versions?|mou?ld|veins?|kinds?|sorts?|likes|cut|feel|flavou?rs?|shades?|echo(?:es)?|answers?) (?:of|to)|the (?:same )?(?:itch|note|chord) as)\s+(?:that |the (?:movie|film|book) |the |a |an |my |what |both )*$)",
    re.IGNORECASE,
)
_SIMILAR_BEHIND = re.compile(
    r"^\s*[-‑]?\s*(?:(?:type|style|like|similar|esque|kind(?: of)?|ish|lookalikes?|look-alikes?|substitutes?|replacements?|alternatives?|clones?|fix|vibes?|knock-?offs?|copycats?|twins?|cousins?|had a (?:sibling|twin|cousin|brother|sister))\b)(?:\s+(?:of )?(?:movies?|films?|books?|stuff|things?|ones?|thing|please|to|\w+s)\b)?",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"\b(?:but|though|although|whereas|yet|while|however|on the other hand|except|only|because)\b|,(?!\s*(?:and|or)?\s*⟦)|\band (?=i\b|we\b|he\b|she\b)|\bso\b",
    re.IGNORECASE,
)
# Of an item named in a statement, not in a question: a "no" near it is no liking.
_REFUSED = re.compile(
    r"\b(?:not|never|no|nobody|hardly|without|mistake|regret|wish)\b|n['’]t\b(?!\s+(?:get enough|put (?:it )?down|stop|wait|miss|believe how|be better|beat|seen?|read|sure|know|decide))",
    re.IGNORECASE,
)
_LIKE_IT = re.compile(
    r"\b(?:anything|something|(?:movies|films|books|things|others|ones)|more)\s+(?:like|similar to|close to|comparable to|along the lines of|resembling)\s+(?:it|that|this|those|them|these|that one|this one)\b",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(
    r"(?:\W|\b(?:god|hell|oh|heavens?|well|um+|er+|please|so)\b)*(?:(?P<no>no|nope|nah|never|ugh)|yes|yep|yeah|sure|absolutely|definitely)(?:\W|\b(?:please|thanks|way)\b)*",
    re.IGNORECASE,
)
_POLAR = re.compile(r"^\W*(?:will|would|should|could|can|does|do|is|are|am)\b", re.IGNORECASE)
_BE = re.compile(r"\b(?:be|become)(?: an?)?\s*$", re.IGNORECASE)
_COULD_NOT = re.compile(r"\b(?:could|couldn['’]t|can['’]?t|cannot)\b[^,.]{0,12}$|not$", re.IGNORECASE)
_ASKED_OF = re.compile(
    rf"{_MODAL}(?:\s+(?:i|we|you|he|she|they|user|someone|anyone|people|my \w+|⟦u\d*⟧|really|also|be|even|probably|rather|get|a))*\s*$",
    re.IGNORECASE,
)


@dataclass
class Feelings:
    """``role``: marker → liked, disliked, seen, similar, unseen or ""; ``ratings``: marker → (value, top or None)."""

    role: dict[int, str] = field(default_factory=dict)
    ratings: dict[int, tuple[float, float | None]] = field(default_factory=dict)
    groups: list[list[int]] = field(default_factory=list)


def read_feelings(text: str) -> Feelings:
    """``text``: a cleaned question whose items are markers ⟦0⟧, ⟦1⟧ …"""
    out = Feelings()
    out.ratings = read_ratings(text)
    last: Group | None = None
    for sentence in sentences_of(text):
        groups = groups_of(sentence, out.ratings)
        if not groups and last is not None:
            feeling = _alone(sentence)
            if feeling and all(out.role.get(number, BARE) in (BARE, SEEN) for number in last.numbers):
                out.role.update(dict.fromkeys(last.numbers, feeling))
            last = last if feeling is None and not ASKING.search(sentence) else None
            continue
        previous = ""
        for index, group in enumerate(groups):
            start = groups[index - 1].end if index else 0
            end = groups[index + 1].start if index + 1 < len(groups) else len(sentence)
            role = _role(sentence, start, group, end, previous, index > 0)
            if index == 0 and last is not None and start < group.start:
                opening = _alone(sentence[: group.start]) if _TURN.search(sentence[: group.start]) else None
                if opening and all(out.role.get(number) in (BARE, SEEN) for number in last.numbers):
                    out.role.update(dict.fromkeys(last.numbers, opening))
            out.role.update(dict.fromkeys(group.numbers, role))
            out.groups.append(list(group.numbers))
            previous = role
        last = groups[-1] if groups else last
    like_it = _LIKE_IT.search(text) is not None and bool(out.groups)
    if like_it and all(out.role[number] in (BARE, SEEN) for number in out.groups[-1]):
        out.role.update(dict.fromkeys(out.groups[-1], SIMILAR))
    return out


def _denied(before: str) -> bool:
    return _NOT.search(before) is not None


def _role(sentence: str, start: int, group: Group, end: int, previous: str, later: bool) -> str:
    before, behind = sentence[start : group.start], sentence[group.end : end]
    said = phrase_about(before, behind, start > 0, end < len(sentence))
    if said is not None and said.words > 1:
        return said.feeling
    word = _SIMILAR.search(before)
    if not word and _UNSEEN.search(before[-40:]) and not _LOVE.search(before[-12:]):
        return UNSEEN
    if word and _like_of(sentence[: group.start]) in ("", "as"):
        denied = re.search(
            r"\b(?:not|nothing|never|n['’]t|don['’]?t)\b(?:\s+[\w'’]+){0,5}\s*$",
            before[: word.start()],
            re.IGNORECASE,
        )
        return DISLIKED if denied else SIMILAR
    if _SIMILAR_BEHIND.match(behind) and not re.match(r"\s*like\b(?! (?:movies|films|books|stuff))", behind):
        return SIMILAR
    person = re.match(
        r"\s*(?:fans?|fanboy|fangirl|person|people|lovers?|guy|girl|nerd|geek|junkie|addict|aficionado)\b",
        behind,
        re.IGNORECASE,
    )
    if person:
        return DISLIKED if _denied(before) else LIKED
    felt = _before(sentence, start, group)
    after = "" if _POLAR.search(before) and "?" in behind else _behind(sentence, group, behind)
    if felt in (LIKED, DISLIKED):
        return felt
    if after:
        return after
    if (
        later
        and previous in (LIKED, DISLIKED, SIMILAR)
        and re.fullmatch(
            r"[\s,]*(?:and|or|nor|,|also|then|&|/)*(?:\s+(?:also|the|my|too|the likes of))*\s*",
            before,
            re.IGNORECASE,
        )
    ):
        return previous
    if felt != SEEN and _REFUSED.search(re.split(r"[,;:]|\bbut\b", before)[-1] + " … " + _statement(behind)):
        return DISLIKED
    return said.feeling if said is not None else felt or BARE


def _statement(behind: str) -> str:
    """What is stated of a group right behind it, up to a question, a turn or the next clause."""
    asking = ASKING.search(behind)
    part = behind[: asking.start()] if asking else behind
    return re.split(r"[,;:?]|\bbut\b", part)[0]


def _like_of(before: str) -> str:
    """What a "like" at the end of ``before`` is: "verb" ("I like"), "asked" ("would I like"), "as" ("films like"), ""."""
    match = re.search(
        r"\blike\s+(?:(?:the (?:movie|film|book)|the|a|an|my|both|what)\s+)?[\"“'‘]?$", before, re.IGNORECASE
    )
    if match is None:
        return ""
    lead = before[: match.start()]
    if re.search(
        rf"{_MODAL}(?:\s+(?:(?!something|anything|movies|films|books|stuff|things|more|recommend|suggest|see|watch|read|buy|find|get|want|need|have|know)[\w'’\-]+|⟦u\d*⟧)){{0,3}}\s*$",
        lead,
        re.IGNORECASE,
    ):
        return "asked"
    denied = re.search(
        r"\b(?:do not|don['’]?t|did not|didn['’]?t|does not|doesn['’]?t|never)(?:\s+(?:really|even|much))*\s*$",
        lead,
        re.IGNORECASE,
    )
    if denied or (_SUBJECT.search(lead) and not re.search(r"\b(?:but|and)\s*$", lead, re.IGNORECASE)):
        return "verb"
    return "as"


def _before(sentence: str, start: int, group: Group) -> str:
    """The feeling that the words before a group take it for their object."""
    before = sentence[start : group.start]
    best: tuple[int, str] | None = None
    cues = [(match, LIKED) for match in _LOVE.finditer(before)] + [
        (match, DISLIKED) for match in _HATE.finditer(before)
    ]
    like = _like_of(sentence[: group.start])
    if like == "verb":
        lead = re.sub(r"like\W*(?:\w+\W*)?$", "", sentence[: group.start], flags=re.IGNORECASE)
        return (
            DISLIKED
            if _denied(re.split(r"[,;:]|\bbut\b", lead)[-1]) and not _EXPECTED.search(sentence)
            else LIKED
        )
    if like == "asked":
        return LIKED if _EXPECTED.search(sentence) else BARE
    for match, feeling in cues:
        between = before[match.end() :]
        if re.match(r"\s*[,;.!)]\s", between) and "favo" not in match.group().lower():
            continue
        if re.search(r"\b(?:but|yet|whereas|while|though)\b", between, re.IGNORECASE):
            continue
        if (
            match.group().lower() in BASE_FORMS
            and not _SUBJECT.search(sentence[: start + match.start()])
            and sentence[: start + match.start()].strip()
        ) and not _denied(sentence[max(0, start + match.start() - 14) : start + match.start()]):
            best = (match.end(), BARE) if best is None or match.end() > best[0] else best
            continue
        if len(between.split()) > 7 or re.search(
            r"\b(?:what|which|how|should|would|will|is|was|does)\b", between, re.IGNORECASE
        ):
            continue
        lead = sentence[: start + match.start()]
        if _is_asked(match.group(), lead, sentence):
            best = (match.end(), BARE) if best is None or match.end() > best[0] else best
            continue
        clause = re.split(r"[,;:]|\bbut\b|\band\b", lead)[-1]
        turned = _denied(clause) and not match.group().lower().startswith(
            ("can't", "cannot", "can’t", "couldn", "could not")
        )
        if turned and _EXPECTED.search(sentence):
            turned = False
        if (
            match.group().lower() in ("care for", "get into", "got into", "into")
            and not turned
            and match.group().lower() != "into"
        ):
            turned = bool(re.search(r"\b(?:not|never|n't|could not)\b", clause, re.IGNORECASE))
        value = {LIKED: DISLIKED, DISLIKED: LIKED}[feeling] if turned else feeling
        if best is None or match.end() >= best[0]:
            best = (match.end(), value)
    if best is not None:
        return best[1] if best[1] else BARE
    return _seen_before(sentence, start, before)


def _is_asked(cue: str, lead: str, sentence: str) -> bool:
    """Whether a verb of liking is asked of somebody, "would … enjoy", and no feeling of theirs."""
    fan = cue.lower().endswith(("fan of", "fans of")) and not _BE.search(lead)
    return bool(
        not fan and _ASKED_OF.search(lead) and not _COULD_NOT.search(lead) and not _EXPECTED.search(sentence)
    )


def _seen_before(sentence: str, start: int, before: str) -> str:
    """ "seen" where the words before a group say that it was watched, bought, read; else ""."""
    seen = None
    for seen in _SEEN.finditer(before):  # noqa: B007 (the last one is wanted)
        pass
    if seen and len(before[seen.end() :].split()) <= 6:
        lead = sentence[: start + seen.start()]
        if re.search(rf"{_MODAL}(?:\s+(?:\w+|⟦u\d*⟧)){{0,3}}\s*$", lead, re.IGNORECASE) and not re.search(
            r"\bhave$|\bhave just$", lead, re.IGNORECASE
        ):
            return BARE
        return SEEN
    return BARE


def _behind(sentence: str, group: Group, behind: str) -> str:
    """The feeling that the words behind a group say of it."""
    asking = ASKING.search(behind)
    part = behind[: asking.start()] if asking else behind
    if re.search(r"(?:^|\b(?:so|well|now)\s+)[\"'“]?\s*$", part) and not part.strip():
        return ""
    neither = bool(re.search(r"\b(?:neither|nor)\b", sentence[: group.start], re.IGNORECASE))
    expected = _EXPECTED.search(sentence) is not None
    if expected:
        return LIKED
    turn = _TURN.search(part, 1) if part[:1] in ",(" else _TURN.search(part)
    near = (
        part[: turn.start()]
        if turn and turn.start() > 1 and _feeling_in(part[: turn.start()], neither)
        else part
    )
    return _feeling_in(near, neither)


def _feeling_in(part: str, neither: bool) -> str:
    found: list[tuple[int, str]] = []
    for match in _VERB_BAD.finditer(part):
        found.append((match.start(), DISLIKED))
    for match in _VERB_GOOD.finditer(part):
        found.append((match.start(), DISLIKED if neither or _denied(part[: match.start()]) else LIKED))
    for match in _ADJECTIVE.finditer(part):
        good = match.group("good") is not None
        if not re.search(
            r"(?:\b(?:is|was|are|were|be|been|really|so|such|very|pretty|quite|absolutely|just|simply|a|an|the|my|our|all|turned out|most|as|seemed|felt|found it|both|total|totally|complete|pure|sheer|too|way|far|much|rather|kind of|even|not|never|ever|an? \w+)|['’]s|[=:!,\-–—…(]|\.\.)\s*$|^\W*$",
            part[: match.start()],
            re.IGNORECASE,
        ):
            continue
        denied = _denied(part[: match.start()]) or (neither and good)
        found.append((match.start(), {True: LIKED, False: DISLIKED}[good != denied]))
    return min(found)[1] if found else ""


def _alone(sentence: str) -> str | None:
    """The feeling of a sentence that names no item: "Loved it!", "never again.", "masterpiece"."""
    asking = ASKING.search(sentence)
    part = sentence[: asking.start()] if asking else sentence
    if not part.strip() or len(part.split()) > 14:
        return None
    short = _YES_OR_NO.fullmatch(part.strip())
    if short:
        return DISLIKED if short.group("no") else LIKED
    said = opinion_of("", part)
    if said is not None and said.words > 1:
        return said.feeling
    return _feeling_in(part, False) or (
        DISLIKED
        if re.match(r"\s*(?:hated|hate)\b", part, re.IGNORECASE)
        else LIKED
        if re.match(r"\s*(?:loved|wow|love)\b", part, re.IGNORECASE)
        else None
    )
