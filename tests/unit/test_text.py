"""Visibility of texts, their cleaned form, and their folded form for searches."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saga_app.saga.text import clean, clean_department, fold, hidden_character, is_visible
from tests.names import random_names

#: Invisible characters, by code point.
INVISIBLE = [
    *(0x20, 0x09, 0x0A, 0x00, 0x7F, 0x85, 0xA0, 0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x1680, 0x17B4, 0x17B5),
    *(*range(0x180B, 0x1810), *range(0x2000, 0x2010), *range(0x2028, 0x2030), *range(0x205F, 0x2070)),
    *(0x2800, 0x3000, 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9)),
    *(*range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
]
INVISIBLE_TEXT = st.text(st.sampled_from([chr(code) for code in INVISIBLE]), max_size=8)
ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.field(7)
def test_no_invisible_character_makes_a_text_visible() -> None:
    for code in INVISIBLE:
        assert not is_visible(chr(code)), hex(code)
        assert clean(f"{chr(code)}Ada{chr(code)}") == "Ada", hex(code)


@pytest.mark.field(7)
@pytest.mark.parametrize("text", ["\u0301", "\u0301\u0302", "\u20dd", "\ue000", "\U000f0000", "\uffff", "\u0378", ""])
def test_lone_marks_private_and_unassigned_characters_are_invisible(text: str) -> None:
    assert not is_visible(text)


@pytest.mark.field(7)
@given(INVISIBLE_TEXT)
def test_a_text_of_invisible_characters_is_not_changed(text: str) -> None:
    assert not is_visible(text)
    assert clean(text) == text


@pytest.mark.field(7)
@given(INVISIBLE_TEXT, st.sampled_from(["Ada", "José", "山田", "-", "O", "علی\u200cرضا", "👩\u200d💻"]), INVISIBLE_TEXT)
def test_invisible_characters_at_the_edges_are_removed(before: str, name: str, after: str) -> None:
    cleaned = clean(before + name + after)
    assert cleaned.startswith(name)
    assert is_visible(cleaned)
    assert clean(before + "Ada" + after) == "Ada"


#: Texts that need some of their invisible characters.
WITH_JOINERS = [
    "علی\u200cرضا",
    "👩\u200d💻",
    "🏴\U000e0067\U000e0062\U000e007f",
    "❤\ufe0f",
    "葛\U000e0100",
    "ന\u0d4d\u200d",
    "1\ufe0f\u20e3",
]


@pytest.mark.parametrize("name", WITH_JOINERS, ids=ascii)
def test_characters_that_a_script_or_an_emoji_needs_are_kept(name: str) -> None:
    assert clean(name) == clean(f" {name}\u200b") == name
    assert is_visible(name)


@given(ANY_TEXT | INVISIBLE_TEXT | st.builds("".join, st.lists(ANY_TEXT | INVISIBLE_TEXT, max_size=4)))
@example("a\u00a8")
@example("\u3164\ufe0f")
@example("ᾳ\u0345")
def test_cleaning_and_folding_are_idempotent(text: str) -> None:
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
def test_spellings_of_a_department_are_normalized(written: str) -> None:
    assert clean_department(written) == "Human Resources"
    assert hidden_character(clean_department(written)) is None


@pytest.mark.field(7)
def test_an_invisible_character_inside_a_department_is_detected() -> None:
    for code in INVISIBLE:
        department = clean_department(f"Sa{chr(code)}les")
        assert department == "Sa les" or hidden_character(department), hex(code)
    for department in ("فناوری\u200cاطلاعات", "🏳\ufe0f\u200d🌈 Team", "क्\u200dष", "Sales", "R&D", "売上部"):
        assert hidden_character(department) is None


#: What people type, and the name that they mean.
EQUIVALENT = [
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
@pytest.mark.parametrize(("typed", "name"), EQUIVALENT)
def test_spellings_that_people_consider_equal_fold_to_the_same(typed: str, name: str) -> None:
    assert fold(typed) == fold(name)


@pytest.mark.parametrize(
    ("one", "other"), [("カ", "ガ"), ("कु", "कि"), ("กิน", "กาน"), ("가", "각"), ("ada", "adb"), ("Ж", "Ш")]
)
def test_different_letters_fold_to_different_texts(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.field(12)
def test_folding_ignores_normal_forms_and_case() -> None:
    for name in random_names(300, seed=12):
        forms = {fold(unicodedata.normalize(form, name)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
        assert forms == {fold(name)} == {fold(name.casefold())}, ascii(name)
