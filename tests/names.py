"""Names for tests: names of people in many scripts, and texts that break mail programs and indexes."""

import random

#: Letters of many scripts, combining marks, emoji, and the special characters of RFC 2047, CSV, HTML and SQL.
_PIECES = [
    *(
        "Ada",
        "Núñez",
        "Maria",
        "do",
        "Rosário",
        "Ávila",
        "Łukasz",
        "Ørsted",
        "Þór",
        "Straße",
        "İpek",
        "O’Brien",
        "D'Arcy",
    ),
    *("Jose\u0301", "Zoë", "Nguyễn", "Škvorecký", "Ἀριστοτέλης", "Владимир", "Ψυχή", "Ξένια", "Ōe", "Šārūnas"),
    *("山田太郎", "김철수", "ひらがな", "カタカナ", "ｶﾀｶﾅ", "Ａｄａ", "葛\U000e0100城", "阿达"),
    *("راما", "علی\u200cرضا", "עדה", "राम", "കൃഷ്ണൻ", "ন\u09cd\u200d", "သီရိ", "สมชาย", "ሰላም"),
    *("👩\u200d💻", "👩🏽\u200d🚀", "🏴\U000e0067\U000e0062\U000e007f", "❤\ufe0f", "🇺🇦", "𝒜𝒹𝒶", "😀"),
    *(
        "=?utf-8?q?Ada?=",
        "=?",
        "?=",
        "=?utf-8?b?QWRh?=",
        "=41",
        "_",
        "\\",
        '"',
        "'",
        "(x)",
        "<b>",
        "&amp;",
        "%",
        ",",
        ";",
        ":",
    ),
    *("Wolfeschlegelsteinhausenbergerdorff" * 2, "ÄÖÜ" * 30, "a" * 90, "é" * 75, "😀" * 20, "e" + "\u0301" * 12),
]
_SEPARATORS = ("", " ", " ", " ", "  ", "\u00a0", "-", "\u3000")


def random_names(count: int, seed: int) -> list[str]:
    """`count` distinct names of up to 200 characters, without white space at either end; the same for the same seed."""
    dice, names = random.Random(seed), set[str]()
    while len(names) < count:
        parts = [dice.choice(_SEPARATORS) + dice.choice(_PIECES) for _ in range(dice.randint(1, 8))]
        if name := "".join(parts)[:200].strip():
            names.add(name)
    return sorted(names)
