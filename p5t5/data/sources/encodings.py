"""Which encoding a text is in: UTF-8 where it can be, else Western European by a rule, else as charset-normalizer says."""

from __future__ import annotations

import codecs
import re

from p5t5.core.errors import UserError

# Letters and signs that Western European texts hold; what else cp1252 could mean (ÿ, ¤, ¦) is hardly ever meant.
_WESTERN = set(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþŒœŠšŽžŸ"
    "€‚„…†‘’“”•–—™›‹¡¢£§©ª«®°±²³´·º»¼½¾¿×\xa0\xad"
)
_HIGH_RUN = re.compile(rb"[\x80-\xff]{3,}")
_HIGH = re.compile(rb"[\x80-\xff]")
_CENTRAL = _WESTERN | set("ĄąĆćČčĎďĐđĘęĚěŁłŃńŇňŐőŘřŔŕŚśŞşŤťŢţŮůŰűŹźŻż") - set(
    "ÀÃÅÆÈÊÌÏÑÒÕØÙÛÞàãåæèêìïðñòõøùûþ"
)
# A sign such as ³ or ¿ between two letters is a letter of another encoding (cp1250's ł and ż).
_SIGN_IN_WORD = re.compile(r"[^\W\d_][ª²³¹º¿¼½¾±¢£§©®°´»«¡×][^\W\d_]")
_OTHERS = (
    "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "shift_jis", "euc_jp",
    "gb18030", "big5", "euc_kr", "cp932", "cp949",
)  # fmt: skip


def checked(encoding: str) -> str:
    """The encoding that a user named. UserError where there is none of that name."""
    try:
        codec = codecs.lookup(encoding)
        b"".decode(encoding)
    except (LookupError, UnicodeError, AssertionError) as error:
        raise UserError(f"--encoding: there is no encoding {encoding!r}; try utf-8 or cp1252.") from error
    return codec.name


def detect(start: bytes) -> str:
    """The encoding of a file that starts so. UTF-8 where nothing better fits: its bad rows are then counted."""
    if wide := _utf_16(start):
        return wide
    body = start[:-4] if len(start) >= 1 << 16 else start  # the last character may be cut
    try:
        body.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        if error.start >= len(body) - 3 and len(start) >= 1 << 16:
            return "utf-8"
    if _damaged_utf_8(body):
        return "utf-8"
    for encoding, letters in (("cp1252", _WESTERN), ("cp1250", _CENTRAL)):
        if _is_latin(body, encoding, letters):
            return encoding
    return _by_statistics(body) or "utf-8"


def _utf_16(start: bytes) -> str:
    """Text without a byte order mark in which every second byte is zero."""
    if len(start) < 8 or start.startswith(codecs.BOM_UTF8):
        return ""
    start = start[: len(start) // 2 * 2][:4096]
    even, odd = start[0::2].count(0) / len(start[0::2]), start[1::2].count(0) / len(start[1::2])
    if odd > 0.7 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 and odd < 0.1 else ""


def _damaged_utf_8(body: bytes) -> bool:
    """Whether most characters that are not ASCII are good UTF-8: the others are damage, no other encoding."""
    text = body.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(char > "\x7f" for char in text) - bad
    return good > bad


def _is_latin(body: bytes, encoding: str, letters: set[str]) -> bool:
    """Whether nearly all that is not ASCII is one of ``letters``, alone among ASCII, and no sign stands in a word."""
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        return False
    high = [char for char in text if char > "\x7f"]
    if sum(char not in letters for char in high) > 0.02 * len(high) or _SIGN_IN_WORD.search(text):
        return False
    return sum(map(len, _HIGH_RUN.findall(body))) <= 0.3 * len(high)


def _by_statistics(body: bytes) -> str:
    """charset-normalizer's best guess among _OTHERS, "" where it is not installed or none fits."""
    if len(_HIGH.findall(body)) < 4:
        return ""
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return ""
    lines = [line for line in body.splitlines() if _HIGH.search(line)][:500]
    best = from_bytes(b"\n".join(lines), cp_isolation=list(_OTHERS)).best()
    return best.encoding if best is not None else ""
