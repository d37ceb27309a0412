"""Detection of file encodings: certain ones are decoded, ambiguous ones are refused with line and byte."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.web.text_encoding import Undecodable, UnknownCharset, decode_text

HEADER = "name;email;department\n"

UNICODE_ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
#: Byte order marks other than UTF-8's.
BYTE_ORDER_MARKS = {
    "utf-16-le": b"\xff\xfe",
    "utf-16-be": b"\xfe\xff",
    "utf-32-le": b"\xff\xfe\0\0",
    "utf-32-be": b"\0\0\xfe\xff",
}


@pytest.mark.field(13, 14)
@pytest.mark.parametrize("encoding", UNICODE_ENCODINGS)
def test_unicode_is_read_with_and_without_a_byte_order_mark(encoding: str) -> None:
    text = f"{HEADER}Łukasz;l@example.com;Sales\n阿达;a@example.com;Sales\n"
    body = text.encode(encoding)
    assert decode_text(body).text == text
    if mark := BYTE_ORDER_MARKS.get(encoding):
        assert decode_text(mark + body) == (text, encoding)
    assert decode_text(body, encoding).text == text


WESTERN_NAMES = [
    "Jürgen Müller",
    "Jäger Weiß",
    "JÉRÔME",
    "José Núñez",
    "João Gonçalves",
    "Ångström",
    "Björk Guðmundsdóttir",
    "Hélène\nFrançois\nAnaïs\nBenoît",
    "Peña\nNúñez",
]


@pytest.mark.field(13)
@pytest.mark.parametrize("names", WESTERN_NAMES)
def test_windows_1252_is_read_if_no_other_encoding_gives_words(names: str, now: Callable[[str], None]) -> None:
    text = HEADER + "".join(f"{name};a@example.com;Sales\n" for name in names.splitlines())
    decoded = decode_text(text.encode("cp1252"))
    assert decoded == (text, "windows-1252")
    now(f"read as {decoded.encoding}")


@pytest.mark.field(13)
@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Dvořák", "cp1250"),
        ("Łukasz", "cp1250"),
        ("Łódź", "iso8859-2"),
        ("Peńa", "iso8859-2"),
        ("Иван", "cp1251"),
        ("Ия", "cp1251"),
        ("Анна", "koi8-r"),
        ("Γιώργος", "cp1253"),
        ("Yıldız", "cp1254"),
        ("שלום", "cp1255"),
        ("علي", "cp1256"),
        ("Jānis", "cp1257"),
        ("José", "mac-roman"),
        ("García", "mac-roman"),
        ("Zoë", "mac-roman"),
        ("Jürgen", "cp850"),
        ("Jäger", "cp850"),
        ("Malmö", "cp437"),
        ("Weiß", "cp850"),
        ("Málaga", "cp850"),
        ("Ärger", "cp850"),
        ("山田", "cp932"),
        ("赵", "gbk"),
        ("赵伟", "gbk"),
        ("김철수", "cp949"),
        ("林", "big5"),
    ],
)
def test_another_encoding_is_refused_unless_it_is_declared(name: str, encoding: str) -> None:
    text = f"{HEADER}Ada;a@example.com;Sales\n{name};b@example.com;Sales\n"
    with pytest.raises(Undecodable, match=r"byte 0x.*UTF-8") as refused:
        decode_text(text.encode(encoding))
    assert refused.value.line == 3
    assert decode_text(text.encode(encoding), encoding).text == text


#: Common names, by an encoding that Excel or other programs of their country write.
NAMES = {
    "cp1250": "Novák Dvořák Černý Kučera Horák Němec Pokorný Růžička Fiala Łukasz Małgorzata Wójcik Kowalczyk Zając "
    "Król Żak Szabó Tóth Kovács Nagy Horváth Kiss Molnár Őze Erdős Čović Đorđević Šimić Žižek Ilić Ștefan Ion",
    "cp1251": "Иван Анна Пётр Юлия Ольга Ян Ия Наталья Зоя Олександр Їжак Ґалаґан Ђорђе Љубица",
    "cp1253": "Γιώργος Μαρία Άννα Νίκος Ελένη Ήρα",
    "cp1254": "Yıldız Çağlar Şükrü Öztürk Gökçe İnci Işık Doğan Güneş Ağaoğlu",
    "cp1257": "Jānis Ēriks Kārlis Bērziņš Žukauskienė Šarūnas Ąžuolas Ķirsis Õnne",
    "mac-roman": "José García Núñez Zoë Hélène François Jürgen Müller Weiß João Åse Søren Ärger Éric",
    "cp850": "José García Núñez Zoë Hélène François Jürgen Müller Weiß Ärger Éric Málaga Ángel Björn",
    "cp932": "山田 太郎 鈴木 花子 ひろし タナカ",
    "gbk": "王 李 张 刘 陈 杨 赵 黄 周 吴 欧阳 李娜 王芳 张伟",
    "big5": "林 陳 黃 張 李 王 吳 劉 蔡 楊",
    "cp949": "김 이 박 최 정 철수 영희",
}
ENCODED_NAMES = st.sampled_from(sorted(NAMES)).flatmap(
    lambda encoding: st.tuples(
        st.just(encoding), st.lists(st.sampled_from(NAMES[encoding].split()), min_size=1, max_size=8)
    )
)


@pytest.mark.field(13)
@given(ENCODED_NAMES)
def test_no_name_in_another_encoding_is_misread(sample: tuple[str, list[str]]) -> None:
    encoding, names = sample
    encodable = [name for name in names if name.encode(encoding, "ignore").decode(encoding) == name]
    text = HEADER + "".join(f"{name};a@example.com;Sales\n" for name in encodable)
    try:
        decoded = decode_text(text.encode(encoding)).text
    except Undecodable:
        decoded = text
    assert decoded == text


@pytest.mark.field(13, 14)
def test_an_invalid_byte_is_named_with_its_line() -> None:
    with pytest.raises(Undecodable, match="byte 0xFF at 37 is not utf-8, as its sender has declared") as refused:
        decode_text(HEADER.encode() + b"Ada;a@b;Sales\r\n\xff", "utf-8")
    assert refused.value.line == 3
    with pytest.raises(Undecodable, match="utf-16-le, as its byte order mark says"):
        decode_text(b"\xff\xfen")


@pytest.mark.field(14)
@pytest.mark.parametrize(
    "charset", ["base64", "rot13", "utf-7", "unicode_escape", "idna", "nonsense", "", "\x00", "mbcs"]
)
def test_an_unknown_charset_is_refused(charset: str) -> None:
    if charset:
        with pytest.raises(UnknownCharset):
            decode_text(b"name", charset)
    else:
        assert decode_text(b"name", charset).encoding == "utf-8"


@pytest.mark.field(14)
@pytest.mark.parametrize(
    "charset",
    ["UTF-8", "utf8", "windows-1252", "ISO-8859-1", "latin1", "iso-8859-15", "UTF-16", "utf-16le", "shift_jis"],
)
def test_a_declared_charset_is_used_under_each_of_its_names(charset: str) -> None:
    text = HEADER + ("山" if charset == "shift_jis" else "ü") + "\n"
    assert decode_text(text.encode(charset), charset).text == text


@pytest.mark.field(13)
@given(st.binary(max_size=200), st.sampled_from([None, "utf-16", "utf-32", "cp1252", "utf-8"]))
def test_decoding_never_replaces_bytes(body: bytes, charset: str | None) -> None:
    try:
        text, encoding = decode_text(body, charset)
    except Undecodable:
        return
    unmarked = text.encode(encoding)
    assert body in (unmarked, BYTE_ORDER_MARKS.get(encoding, b"\xef\xbb\xbf") + unmarked)
