"""Encodings: the same text comes out of all in which it may be written."""

import pytest

from thalweg.data.encoding import decoded

CITIES = {  # towns with letters that the language has, and encodings that people have of them
    "German": (
        "Lübeck Görlitz Füssen Gießen Württemberg Österberg",
        "cp1252 mac_roman cp850 cp437",
    ),
    "French": ("Évreux Besançon Nîmes Saint-Étienne Orléans Angoulême", "cp1252 mac_roman cp850"),
    "Spanish": ("Logroño Cádiz Mérida Málaga Jaén Ávila León", "cp1252 mac_roman cp850"),
    "Portuguese": ("Évora Guimarães Covilhã Lourinhã Olhão Mação Almeirim", "cp1252 mac_roman"),
    "Danish": ("Køge Hillerød Næstved Ærøskøbing Åbenrå Tårnby", "cp1252 mac_roman cp850"),
    "Icelandic": ("Akureyri Þorlákshöfn Seyðisfjörður Ísafjörður Ólafsvík", "cp1252"),
    "Polish": ("Białystok Rzeszów Wałbrzych Toruń Częstochowa Świdnica", "cp1250 iso8859_2 cp852"),
    "Czech": ("Děčín Přerov Třebíč Chomutov Kroměříž Břeclav Žatec", "cp1250 iso8859_2 cp852"),
    "Hungarian": ("Győr Hódmezővásárhely Érd Kőszeg Fűzfő Békéscsaba", "cp1250 iso8859_2 cp852"),
    "Turkish": ("Diyarbakır Niğde Muş Kırşehir Çankırı Şanlıurfa", "cp1254 cp857"),
    "French, hardly é": ("maître Nancy goût Île mère connaître", "cp1252"),
    "French, not of a Mac": ("être Besançon Alençon Nîmes français connaître", "cp1252"),
    "Danish, ø alone": ("København Hillerød Næstved lørdag første Køge", "cp1252"),
    "Hungarian, as Portuguese": ("férfi ár Győr fehér Érd Békéscsaba", "cp1250"),
    "Czech, few": ("Chomutov Třebíč středa zelený příjmení jméno", "cp1250"),
    "Turkish capitals": ("Şehir İstanbul İzmir Eskişehir Muğla Şanlıurfa", "cp1254"),
    "Latvian": ("Pilsēta Rīga Jūrmala Liepāja Jēkabpils Cēsis", "cp1257"),
    "Lithuanian": ("Šiauliai Klaipėda Panevėžys Kėdainiai Mažeikiai", "cp1257"),
    "Greek": ("Πόλη Αθήνα Θεσσαλονίκη Πάτρα Ηράκλειο", "cp1253"),
    "Chinese, short": ("朝向,面积,地铁 龙湖天街,朝北,㎡ 万科城,朝南,元/平 花园,西,亩", "gb18030"),
    "Russian": ("Дата Температура Влажность Ветер СЗ ЮВ", "koi8_r cp1251 cp866"),
    "several": (
        "Köln Málaga Jaén León Ávila Lübeck Malmö Bogotá Zürich Mérida Córdoba Coruña",
        "cp1252",
    ),
}
CASES = [
    (language, encoding) for language, (_, all_of) in CITIES.items() for encoding in all_of.split()
]


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_letters_with_accents_tell_their_encoding(language: str, encoding: str) -> None:
    towns = CITIES[language][0].split()
    text = "town,rooms\n" + "".join(f"{town},{i}\n" for i, town in enumerate(towns * 3))
    assert decoded(text.encode(encoding))[0] == text


def test_units_and_few_letters_tell_nothing() -> None:
    for text in ("area m²,5 °C\n7 m³,8 µg\n1 km²,“so”\n" * 3, "name\nKöln\nBonn\n", "5 €,7£\n" * 9):
        assert decoded(text.encode("cp1252")) == (text, "cp1252")


def test_japanese_words_beside_latin_letters_are_no_accents() -> None:
    text = "品名,型\nTシャツ,Lサイズ\n電池,AA型\n椅子,Bランク\n"
    assert decoded((text * 3).encode("cp932")) == (text * 3, "Shift-JIS")


def test_the_mark_at_the_end_of_a_text_of_dos_is_no_part_of_it() -> None:
    for end in ("\x1a", "\x1a\r\n"):
        assert decoded(f"a\x1a,y\r\n1,6.2{end}".encode())[0] == "a\x1a,y\r\n1,6.2"


def test_a_known_word_tells_the_encoding() -> None:
    for text, encoding in (("עיר,מחיר\nחיפה,5\n", "cp1255"), ("城市,價格\n臺中,5\n", "big5hkscs")):
        assert decoded(text.encode(encoding), word=text[: text.index(",")])[0] == text


def test_a_backslash_before_a_number_is_the_sign_of_the_yen() -> None:
    text = "店,円\n渋谷店,¥1200\n新宿店,¥80\n"
    assert decoded(text.replace("¥", "\\").encode("cp932"))[0] == text
