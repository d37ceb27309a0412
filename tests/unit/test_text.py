"""What of a text can be seen, its clean form, and its folded form."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saga_app.saga.text import clean, clean_department, fold, hidden_character, is_visible
from tests.names import random_names

#: Members of the kind, by code point or first and last one.
INVISIBLE = [
    *(0x20, 0x09, 0x0A, 0x00, 0x7F, 0x85, 0xA0, 0xAD, 0x34F, 0x61C, (0x115F, 0x1160), 0x1680, (0x17B4, 0x17B5)),
    *((0x180B, 0x180F), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), 0x2800, 0x3000, 0x3164),
    *((0xFE00, 0xFE0F), 0xFEFF, 0xFFA0, (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
]
CODES = [code for part in INVISIBLE for code in (range(part[0], part[1] + 1) if isinstance(part, tuple) else [part])]
invisible = st.text(st.sampled_from([chr(code) for code in CODES]), max_size=8)
anything = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.field(7)
def test_no_invisible_character_makes_a_text_visible() -> None:
    for code in CODES:
        assert not is_visible(chr(code)), hex(code)
        assert clean(f"{chr(code)}Ada{chr(code)}") == "Ada", hex(code)


@pytest.mark.field(7)
@pytest.mark.parametrize("text", ["\u0301", "\u0301\u0302", "\u20dd", "\ue000", "\U000f0000", "\uffff", "\u0378", ""])
def test_marks_alone_private_characters_and_unassigned_ones_show_nothing(text: str) -> None:
    assert not is_visible(text)


@pytest.mark.field(7)
@given(invisible)
def test_text_of_invisible_characters_shows_nothing_and_stays_as_it_is(text: str) -> None:
    assert not is_visible(text)
    assert clean(text) == text


@pytest.mark.field(7)
@given(invisible, st.sampled_from(["Ada", "José", "山田", "-", "O", "علی\u200cرضا", "👩\u200d💻"]), invisible)
def test_invisible_characters_at_the_edges_are_removed(before: str, name: str, after: str) -> None:
    kept = clean(before + name + after)
    assert kept.startswith(name)
    assert is_visible(kept)
    assert clean(before + "Ada" + after) == "Ada"


WHOLE = [
    "علی\u200cرضا",
    "👩\u200d💻",
    "🏴\U000e0067\U000e0062\U000e007f",
    "❤\ufe0f",
    "葛\U000e0100",
    "ന\u0d4d\u200d",
    "1\ufe0f\u20e3",
]


@pytest.mark.parametrize("name", WHOLE, ids=ascii)
def test_what_a_script_or_an_emoji_needs_is_kept(name: str) -> None:
    assert clean(name) == clean(f" {name}\u200b") == name
    assert is_visible(name)


@given(anything | invisible | st.builds("".join, st.lists(anything | invisible, max_size=4)))
@example("a\u00a8")
@example("\u3164\ufe0f")
@example("ᾳ\u0345")
def test_clean_and_folded_forms_are_stable(text: str) -> None:
    change: Callable[[str], str]
    for change in (clean, clean_department, fold):
        once = change(text)
        assert change(once) == once


@pytest.mark.field(7)
@pytest.mark.parametrize(
    "written",
    [
        "Human Resources",
        "Human\u00a0Resources",
        "Human  Resources",
        " Human\u2003Resources\u200b",
        "Ｈｕｍａｎ Resources",
    ],
    ids=ascii,
)
def test_a_department_has_one_spelling(written: str) -> None:
    assert clean_department(written) == "Human Resources"
    assert hidden_character(clean_department(written)) is None


@pytest.mark.field(7)
def test_an_invisible_character_inside_a_department_is_found() -> None:
    for code in CODES:
        department = clean_department(f"Sa{chr(code)}les")
        assert department == "Sa les" or hidden_character(department), hex(code)
    for department in ("فناوری\u200cاطلاعات", "🏳\ufe0f\u200d🌈 Team", "क्\u200dष", "Sales", "R&D", "売上部"):
        assert hidden_character(department) is None


SAME = [
    ("lucia", "Lucía"),
    ("garcia", "García"),
    ("Jose\u0301", "José"),
    ("ÖZ", "öz"),
    ("STRASSE", "Straße"),
    ("lukasz", "Łukasz"),
    ("orsted", "Ørsted"),
    ("istanbul", "İstanbul"),
    ("isik", "Işık"),
    ("ada", "ＡＤＡ"),
    ("thor", "Þór"),
    ("aegir", "Ægir"),
    ("o'brien", "O’Brien"),
    ("nguyen", "Nguyễn"),
    ("σοφια", "ΣΟΦΊΑ"),
    ("елкин", "Ёлкин"),
    ("fi", "ﬁ"),
    ("カ\u3099", "ガ"),
    ("ｶﾞ", "ガ"),
    ("a\u0323\u0302", "ậ"),
    ("x", "x\u200b"),
    ("a b", "a\u00a0 b"),
    ("שלום", "שָׁלוֹם"),
    ("محمد", "مُحَمَّد"),
    ("angstrom", "\u212bngström"),
    ("dz", "ǅ"),
]


@pytest.mark.field(12)
@pytest.mark.parametrize(("typed", "name"), SAME)
def test_what_people_take_for_the_same_folds_to_the_same(typed: str, name: str) -> None:
    assert fold(typed) == fold(name)


@pytest.mark.parametrize(
    ("one", "other"), [("カ", "ガ"), ("कु", "कि"), ("กิน", "กาน"), ("가", "각"), ("ada", "adb"), ("Ж", "Ш")]
)
def test_letters_that_differ_stay_different(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.field(12)
def test_normal_forms_and_case_do_not_matter_for_any_name() -> None:
    for name in random_names(300, seed=12):
        forms = {fold(unicodedata.normalize(form, name)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
        assert forms == {fold(name)} == {fold(name.casefold())}, ascii(name)
