"""Tables -> device sections: what is read, what is left out and where, and that it comes back as it went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load
from gateway.maps.dial import target_of
from gateway.maps.neutral import Entry, Map, map_of
from gateway.maps.readers import kepware, own_csv
from gateway.maps.readers.imported import Imported
from gateway.maps.readers.rows import TableError, read_table
from gateway.maps.readers.section import key, section, text
from gateway.maps.registry import writer
from tests.support.process import ROOT

URL = "tcp://10.0.0.5:502"
NUMBERS = {*own_csv.NUMBERS, *kepware.NUMBERS}


def own(data: str | bytes) -> Imported:
    return own_csv.read(read_table(data.encode() if isinstance(data, str) else data, NUMBERS))


def kep(rows: str, heading: str = "Tag Name,Address,Data Type,Client Access,Scan Rate") -> Imported:
    return kepware.read(read_table(f"{heading}\n{rows}".encode(), NUMBERS))


def plant_of(found: Imported, folder: Path, to: int | None = None) -> Map:
    """What a gateway serves that has these devices."""
    for device in found.devices:
        device.name = device.name or "d"
    path = folder / "section.yaml"
    path.write_text(section(found.devices, URL, to, "table.csv").text, encoding="utf-8")
    return map_of(load(path, environ={}))


def tag(found: Imported, name: str) -> dict[str, Any]:
    (one,) = [tag for device in found.devices for tag in device.tags if tag.name == name]
    return {"at": one.at.describe(), "type": one.type, "order": one.order, "write": one.writable}


def seen(entry: Entry) -> tuple[Any, ...]:
    """What clients see of it."""
    place = (entry.device, entry.name, entry.unit, entry.table, entry.first, entry.count, entry.bit)
    value = (entry.type, entry.order, entry.scale, entry.offset, entry.engineering, entry.low, entry.high)
    return (*place, *value, entry.writable, entry.description)


# -- there and back -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden() -> Map:
    return map_of(load(ROOT / "tests" / "golden" / "plant.yaml", environ={"SECRET": "s"}))


def test_our_csv_comes_back_as_the_same_map(golden: Map, tmp_path: Path) -> None:
    table = writer("csv")(golden, target_of(load(ROOT / "config" / "mirror.yaml"), "1", None, None, "m")).text
    back = plant_of(own(table), tmp_path)
    went = [one for one in golden.entries if one.kind in ("tag", "status")]
    came = [one for one in back.entries if one.kind == "tag"]
    assert [seen(one) for one in came] == [seen(one) for one in went]
    assert [one.every_s for one in came if "status_" not in one.name and one.device != "gateway"] == [
        one.every_s for one in went if one.kind == "tag"
    ]
    blocks = [
        (one.unit, one.table, one.first, one.count, one.writable, one.every_s)
        for one in back.entries
        if one.kind == "poll"
    ]
    assert blocks == [
        (one.unit, one.table, one.first, one.count, one.writable, one.every_s)
        for one in golden.entries
        if one.kind == "poll"
    ]


def test_kepware_csv_comes_back_as_the_same_tags(golden: Map, tmp_path: Path) -> None:
    part = golden.only({1}, None)
    table = writer("kepware")(part, target_of(load(ROOT / "config" / "mirror.yaml"), "1", None, None, "m")).text
    back = {one.name: one for one in plant_of(kepware.read(read_table(table.encode(), NUMBERS)), tmp_path).entries}
    compared = 0
    for one in part.values():
        came = back.get(one.path)
        if came is not None:
            compared += 1
            bit = 0 if one.type == "bool" and not one.table.is_bits and one.bit is None else one.bit
            assert (came.table, came.first, came.count, came.bit, came.type, came.order, came.scale, came.offset) == (
                (one.table, one.first, one.count, bit, one.type, one.order, one.scale, one.offset)
            )
            assert (came.writable, came.engineering, came.description) == (
                one.writable,
                one.engineering,
                one.description,
            )
    assert compared >= 35


# -- our own csv --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        "name,type,reference,scale\npressure,int16,400011,0.5\n",
        "\ufeffname,type,reference,scale\r\npressure,int16,400011,0.5\r\n",
        "reference;scale;type;name\n400011;0,5;int16;pressure\n",
        "Name\tType\tTable\tAddress\tScale\npressure\tint16\tholding\t10\t0,5\n",
        '# made by hand\n\n"name","type","reference","scale"\n"pressure","int16","400011","0.5"\n',
        "name,type,reference,table,address,scale\npressure,int16,40011,holding,10,1/2\n",
    ],
)
def test_columns_in_any_order_and_what_spreadsheets_make_of_them(table: str, tmp_path: Path) -> None:
    for data in (table.encode(), table.encode("utf-16")):
        (entry,) = plant_of(own(data), tmp_path).entries
        assert (entry.name, entry.first, entry.type, entry.scale) == ("pressure", 10, "int16", 0.5)


def test_the_code_page_of_windows_is_read_and_told() -> None:
    found = own("name,type,reference,unit\ndruck,int16,400011,°C\n".encode("cp1252"))
    assert found.devices[0].tags[0].engineering == "°C"
    assert any("1252" in note for note in found.notes)


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ("level,int17,400001,", 7, "unknown type 'int17'"),
        ("level,int16,500001,", 13, "is not a reference"),
        ("level,int16,300001.16,", 13, "bits 0"),
        ("level,float32,465536,", 1, "runs past 65535"),
        ("level,float32,400001,0", 22, "0 would make every value the same"),
        ('level,float32,400001,"0,1"', 23, "decimals have a point"),
        (",float32,400001,", 1, "no name"),
        ("first,float32,400001,", 1, "stands here twice; first in line 2"),
        ("level,uint16,400001.3,", 7, "only `bool` fits"),
    ],
)
def test_a_row_that_cannot_be_is_named_and_the_rest_is_read(row: str, column: int, message: str) -> None:
    found = own(f"name,type,reference,scale\nfirst,int16,400100,\n{row}\nlast,int16,400101,\n")
    assert [one.name for one in found.devices[0].tags] == ["first", "last"]
    (trouble,) = found.left_out
    assert trouble.line == 3
    assert message in trouble.message
    if trouble.message.startswith("2 "):
        return
    assert trouble.column == column or "runs past" in trouble.message


@pytest.mark.parametrize(
    ("table", "line", "column", "message"),
    [
        ("", 1, 1, "is empty"),
        ("name,reference\n", 1, 1, "no column `type`"),
        ("name,type\n", 1, 1, "nothing says where values stand"),
        ("name,type,reference,Name\n", 1, 21, "stands here twice"),
        ("name,type,reference\na,int16,400001,5\n", 2, 16, "4 cells, but the heading names 3 columns"),
        ('name,type,reference\n"a"b,int16,400001\n', 2, 1, "ends before its end"),
        (b"PK\x03\x04\x00\xff", 1, 1, "is no text"),
    ],
)
def test_what_is_no_such_table_says_where(table: str | bytes, line: int, column: int, message: str) -> None:
    with pytest.raises(TableError, match=message) as caught:
        own(table)
    assert (caught.value.trouble.line, caught.value.trouble.column) == (line, column)


def test_a_point_among_decimal_commas_is_ambiguous() -> None:
    found = own("name;type;reference;scale\na;int16;400001;0,5\nb;int16;400002;1.000\n")
    assert [trouble.message for trouble in found.left_out] == [
        "`1.000`: other numbers here have decimal commas; is this point one, too?"
    ]


def test_cells_may_hold_separators_quotes_and_new_lines() -> None:
    found = own('name,type,reference,description\na,int16,400001,"x, ""y""\nz"\nb,int16,4000000,\n')
    assert found.devices[0].tags[0].description == 'x, "y"\nz'
    assert found.left_out[0].line == 4


def test_two_values_at_one_place_share_it_not(tmp_path: Path) -> None:
    found = own("name,type,reference,access\nword,uint16,400001,RW\nbit,bool,400001.3,RW\n")
    made = section([*found.devices], URL, None, "t")
    assert any("'bit' has no `to`, and clients cannot write it: 'word'" in note for note in made.notes)
    assert [one.name for one in plant_of(found, tmp_path).entries] == ["word"]


def test_a_device_of_two_unit_ids_becomes_two(tmp_path: Path) -> None:
    found = own("device,unit_id,name,type,reference\nm,1,a,int16,400001\nm,2,b,int16,400001\n")
    assert [(device.name, device.unit) for device in found.devices] == [("m", 1), ("m_2", 2)]
    assert [one.unit for one in plant_of(found, tmp_path).entries] == [1, 2]
    assert {one.unit for one in plant_of(own("name,type,reference\na,int16,400001\n"), tmp_path, to=9).entries} == {9}


@pytest.mark.parametrize(
    "value", ["plain", "a b", "on", "5", "1:30", "a: b", "[x]", "${HOME}", 'q"\\', "ä°", "a,b", "#c", "- x"]
)
def test_any_text_comes_back_from_the_yaml(value: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    tags = f"{{{key(value)}: {{at: holding:0, type: int16, unit: {text(value)}}}}}"
    path.write_text(f"devices: {{d: {{url: '{URL}', tags: {tags}}}}}\n", encoding="utf-8")
    ((name, found),) = load(path, environ={}).devices["d"].tags.items()
    assert (name, found.unit) == (value, value)


# -- kepware ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "kind", "at", "type_name"),
    [
        ("400101", "Word", "holding:100 (400101)", "uint16"),
        ("40101", "Short", "holding:100 (400101)", "int16"),
        ("4101", "DWord", "holding:100..101 (400101..400102)", "uint32"),
        ("300001", "Float", "input:0..1 (300001..300002)", "float32"),
        ("000009", "Boolean", "coils:8 (000009)", "bool"),
        ("100001", "Default", "discrete:0 (100001)", "bool"),
        ("400101", "", "holding:100 (400101)", "uint16"),
        ("400101.0", "Boolean", "holding:100.0 (400101.0)", "bool"),
        ("400101.15", "Default", "holding:100.15 (400101.15)", "bool"),
        ("400101.20H", "String", "holding:100..109 (400101..400110)", "string"),
        ("400001", "Double", "holding:0..3 (400001..400004)", "float64"),
        ("400001", "LBCD", "holding:0..1 (400001..400002)", "bcd32"),
        ("400001", "BCD", "holding:0 (400001)", "bcd16"),
        ("400001", "LLong", "holding:0..3 (400001..400004)", "int64"),
    ],
)
def test_addresses_and_types_of_kepware(address: str, kind: str, at: str, type_name: str) -> None:
    one = tag(kep(f'"line.a","{address}",{kind},R/W,1000,'.rstrip(",") + "\n"), "line.a")
    assert (one["at"], one["type"]) == (at, type_name)


def test_a_string_that_begins_with_its_low_byte_is_swapped() -> None:
    assert tag(kep("a,400101.20L,String,RO,100\n"), "a")["order"] == "BADC"


def test_an_array_becomes_its_elements(tmp_path: Path) -> None:
    found = kep("a,400101[2][2],Float Array,R/W,100\nb,000001[3],Boolean Array,RO,100\n")
    assert [(one.name, one.first, one.type) for one in plant_of(found, tmp_path).entries] == [
        ("b_0", 0, "bool"),
        ("b_1", 1, "bool"),
        ("b_2", 2, "bool"),
        ("a_0", 100, "float32"),
        ("a_1", 102, "float32"),
        ("a_2", 104, "float32"),
        ("a_3", 106, "float32"),
    ]


def test_scaling_becomes_scale_and_offset() -> None:
    heading = "Data Type,Tag Name,Address,Scaling,Raw Low,Raw High,Scaled Low,Scaled High,Negate Value"
    found = kep(
        "Short,a,400001,Linear,0,27648,-50,150,\nShort,b,400002,Linear,0,1000,0,100,1\nWord,c,400003,None,,,,,\n",
        heading,
    )
    a, b, c = found.devices[0].tags
    assert (27648 * a.scale + a.offset, a.offset) == (150, -50)
    assert (b.scale * 10, b.offset) == (-1, 0)
    assert (c.scale, c.offset) == (1, 0)


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ("a,40101#05,Word,,", 3, "no Modbus address"),
        ("a,H400101,Word,,", 3, "no Modbus address"),
        ("a,465537,Word,,", 3, "1..65536"),
        ("a,465536,Float,,", 3, "run past 65535"),
        ("a,400001.21H,String,,", 3, "even size"),
        ("a,400001.16,Boolean,,", 3, "0 to 15"),
        ("a,400001,Boolean,,", 10, "which bit of it"),
        ("a,400001,String,,", 10, "a string has its size"),
        ("a,000001,Word,,", 10, "only Boolean"),
        ("a,400001,Char,,", 10, "no type for Kepware's Char"),
        ("a,400001,Word,,Square Root", 16, "only Linear"),
        ("a,400001,Word,,Linear", 1, "Linear scaling without"),
        ("a,400001,Word,XY,", 15, "RO or R/W"),
    ],
)
def test_what_kepware_has_and_we_have_not_is_named(row: str, column: int, message: str) -> None:
    found = kep(f"z,400009.0,Boolean,,\n{row}\n", "Tag Name,Address,Data Type,Client Access,Scaling")
    (trouble,) = found.left_out
    assert (trouble.line, trouble.column) == (3, column), trouble
    assert message in trouble.message


def test_bits_that_count_from_one_are_seen_by_a_sixteenth(tmp_path: Path) -> None:
    found = kep("a,400001.1,Boolean,RO,100\nb,400001.16,Boolean,RO,100\n")
    assert [one.bit for one in plant_of(found, tmp_path).entries] == [0, 15]
    assert any("count from 1" in note for note in found.notes)


def test_the_order_of_words_is_asked_for() -> None:
    assert any("--order CDAB" in note for note in kep("a,400001,Float,RO,100\n").notes)
    assert not kep("a,400001,Word,RO,100\n").notes


def test_a_low_word_first_device_is_served_as_it_is(tmp_path: Path) -> None:
    found = kep("a,400001,Float,R/W,100\nb,400003,Short,RO,100\n")
    found.devices[0].order = "CDAB"
    a, b = plant_of(found, tmp_path).entries
    assert (a.order, a.writable, b.order, a.every_s) == ("CDAB", True, "ABCD", 0.1)


def test_names_that_cannot_stand_are_changed_and_told() -> None:
    found = kep("line/a  b,400001,Word,RO,100\n")
    assert found.devices[0].tags[0].name == "line_a b"
    assert any("becomes" in note for note in found.notes)


def test_ten_thousand_rows_take_no_second(tmp_path: Path) -> None:
    rows = "".join(f"t{i},4{i + 1:05d},Word,RO,1000\n" for i in range(10_000))
    found = kep(rows)
    made = section([*found.devices], URL, None, "t")
    assert found.tags == 10_000
    assert not made.notes
