"""Raw text to tokens with code-point offsets, cut as the model's training data was cut."""

import re
from typing import NamedTuple

# Words of English and its like: numbers and dates, initials and abbreviations, clitics parted from
# their word as treebanks part them, hyphenated words whole; Chinese and Japanese one character each.
_WORD = re.compile(
    r"""
      \d+(?:[.,:/-]\d+)*%?                    # 1,200.50  1996-08-22  12:30
    | (?:[^\W\d_]\.){2,}                      # U.S.
    | [\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff]
    | (?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Inc|Corp|Co|Ltd|No)\.
    | ['’](?:s|re|ve|ll|d|m|t)\b              # clitics
    | (?:(?![\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff])[^\W_])+
      (?:[-&](?:(?![\u3400-\u9fff])[^\W_])+)*
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Token(NamedTuple):
    """`text[start:end]` of the raw text, in code points."""

    start: int
    end: int


def tokenize(text: str, unit: str) -> list[Token]:
    """Tokens of a raw text.

    char: every code point is a token, white space too, so that nothing shifts; word: words and marks,
    white space left out.
    """
    if unit == "char":
        return list(map(Token, range(len(text)), range(1, len(text) + 1)))
    return [Token(*match.span()) for match in _WORD.finditer(text)]
