"""What English words are, from the word lists in TextBlob's wheel: nothing is downloaded, nothing is trained.

TextBlob (S. Loria; MIT) ships the tag lexicon (E. Brill's, 94,000 words with their most frequent Penn tag) and the
sentiment lexicon (2,900 words with polarity and subjectivity) of the pattern library (T. De Smedt and
W. Daelemans. 2012. Pattern for Python. JMLR 13).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec

from p5t5.core.errors import UserError

INSTALL = "pip install 'p5t5[explanations]'"
SUBJECTIVE, POLAR = 0.3, 0.1  # what an opinion has at least

# In the sentiment lexicon, and no opinions: they count, compare, place or strengthen.
_NO_OPINIONS = set(
    """
    more most much many less least few little other others another first second last next new old
    own same such very really quite pretty too so only just even still already ever full whole half
    enough sure able able certain general particular possible available different various similar
    several main major minor previous recent early late long short high low large small big left
    right top middle black white red blue green yellow brown gray grey live far close actually
    probably basically especially usually normally likely maybe single double
    """.split()  # noqa: SIM905
)


def is_installed() -> bool:
    return find_spec("textblob") is not None


class English:
    """Tags and opinions of lower-cased words. Raises UserError where TextBlob is not installed."""

    def __init__(self) -> None:
        try:
            from textblob.en import lexicon, sentiment
        except ImportError as error:
            raise UserError(f"explanations from reviews need TextBlob; {INSTALL}.") from error
        self._lexicon, self._sentiment = lexicon, sentiment
        self.name = f"textblob {version('textblob')}"
        self.tag = lru_cache(maxsize=1 << 18)(self._tag)
        self.polarity = lru_cache(maxsize=1 << 18)(self._polarity)

    @staticmethod
    def is_no_opinion(word: str) -> bool:
        """Words that look like opinions and only count, compare, place or strengthen."""
        return word in _NO_OPINIONS

    def _tag(self, word: str) -> str:
        """The most frequent Penn tag; of unknown words NN, NNS or what the ending tells; of signs and numbers ""."""
        if not word[0].isalpha():
            return ""
        if "'" in word or "’" in word:
            return "'"
        known = self._lexicon.get(word) or self._lexicon.get(word.capitalize())
        if known:
            return known
        for ending, tag in (
            ("ly", "RB"),
            ("ing", "VBG"),
            ("ed", "VBN"),
            ("able", "JJ"),
            ("ous", "JJ"),
            ("ss", "NN"),
        ):
            if word.endswith(ending):
                return tag
        return "NNS" if word.endswith("s") else "NN"

    def _polarity(self, word: str) -> float:
        """−1 to 1 for a word that tells an opinion, 0 for others."""
        if word in _NO_OPINIONS:
            return 0.0
        senses = self._sentiment.get(word)
        # "sound" and "bass" are adjectives there (a sound judgement) that people use as nouns.
        if not senses or (self.tag(word).startswith("NN") and set(senses) <= {None, "JJ"}):
            return 0.0
        polarity, subjectivity, _ = senses[None]  # over all senses
        return float(polarity) if subjectivity >= SUBJECTIVE and abs(polarity) >= POLAR else 0.0
