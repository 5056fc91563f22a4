"""A bank that changes its shape while it serves: reload defines, releases and claims anew."""

from __future__ import annotations

from gateway.bank import Bank
from gateway.modbus.spec import Table


def ask(bank: Bank, text: str) -> str:
    answer = bank.answer(bytes.fromhex(text))
    assert isinstance(answer, bytes)
    return answer.hex()


def test_what_existed_keeps_its_value_and_what_is_new_is_zero() -> None:
    bank = Bank({Table.HOLDING: [(10, 2)], Table.COILS: [(3, 2)]})
    ask(bank, "10 000a 0002 04 1111 2222")
    ask(bank, "05 0004 ff00")
    bank.define({Table.HOLDING: [(11, 3)], Table.COILS: [(0, 20)]})
    assert ask(bank, "03 000b 0003") == "0306222200000000"
    assert ask(bank, "03 000a 0001") == "8302"
    assert ask(bank, "01 0000 0005") == "010110"


def test_what_was_taken_away_and_given_back_is_zero() -> None:
    bank = Bank({Table.HOLDING: [(0, 20)]})
    ask(bank, "10 0010 0001 02 7777")
    bank.define({Table.HOLDING: [(0, 5)]})
    bank.define({Table.HOLDING: [(0, 20)]})
    assert ask(bank, "03 0010 0001") == "03020000"


def test_a_released_span_is_ours_again_and_zero() -> None:
    bank = Bank({Table.HOLDING: [(0, 4)]})
    spans = bank.claim([(Table.HOLDING, 0, 2), (Table.HOLDING, 2, 1)])
    for span in spans:
        bank.unblock(span)
    bank.put_registers(Table.HOLDING, 0, bytes.fromhex("aaaa bbbb cccc"))
    assert ask(bank, "06 0001 0005") == "8602"
    assert bank.own_ranges()[Table.HOLDING] == [(3, 4)]
    bank.release(spans[:1])
    assert ask(bank, "03 0000 0004") == "030800000000cccc0000"
    assert ask(bank, "06 0001 0005") == "0600010005"
    assert ask(bank, "06 0002 0005") == "8602"
    assert bank.own_ranges()[Table.HOLDING] == [(0, 2), (3, 4)]


def test_a_shape_that_changes_voids_standing_answers() -> None:
    bank = Bank({Table.HOLDING: [(0, 4)]})
    voided: list[int] = []
    bank.on_blocked = lambda: voided.append(1)
    bank.define({Table.HOLDING: [(0, 8)]})
    spans = bank.claim([(Table.HOLDING, 0, 1)])
    bank.release(spans)
    assert len(voided) == 3


def test_protection_is_replaced_as_a_whole() -> None:
    bank = Bank({Table.HOLDING: [(0, 4)]})
    bank.protect([(Table.HOLDING, 1, 1)])
    assert ask(bank, "06 0001 0005") == "8602"
    bank.protect([(Table.HOLDING, 2, 1)])
    assert ask(bank, "06 0001 0005") == "0600010005"
    assert ask(bank, "06 0002 0005") == "8602"


def test_get_gives_wire_bytes_whatever_the_spans_say() -> None:
    bank = Bank({Table.HOLDING: [(0, 4)], Table.COILS: [(0, 16)]})
    bank.put_registers(Table.HOLDING, 1, b"\x12\x34")
    bank.put_bits(Table.COILS, 3, 3, b"\x05")
    bank.claim([(Table.HOLDING, 1, 1)])
    assert bank.get(Table.HOLDING, 0, 3).hex() == "000012340000"
    assert bank.get(Table.COILS, 3, 3) == b"\x05"


def test_a_span_may_lack_a_value_in_parts() -> None:
    bank = Bank({Table.HOLDING: [(0, 20)]})
    [span] = bank.claim([(Table.HOLDING, 0, 10)])
    bank.unblock(span)
    voided: list[int] = []
    bank.on_blocked = lambda: voided.append(1)
    bank.block_parts(span, [(3, 4, 2), (7, 9, 11)])
    assert voided == [1]
    assert ask(bank, "03 0000 0003") == "0306000000000000"
    assert ask(bank, "03 0000 0004") == "8302"
    assert ask(bank, "03 0004 0003") == "0306000000000000"
    assert ask(bank, "03 0008 0004") == "830b"
    assert ask(bank, "03 0009 0003") == "0306000000000000"
    bank.block_parts(span, [(7, 8, 11)])
    assert ask(bank, "03 0000 0007") == "030e" + "0000" * 7
    bank.unblock(span)
    assert ask(bank, "03 0000 000a") == "0314" + "0000" * 10
    bank.block_parts(span, [(0, 1, 2)])
    bank.block(span, 11)
    assert ask(bank, "03 0005 0001") == "830b"


def test_what_was_readable_in_parts_and_is_not_any_more_voids_standing_answers() -> None:
    bank = Bank({Table.HOLDING: [(0, 2)]})
    [span] = bank.claim([(Table.HOLDING, 0, 2)])
    bank.block_parts(span, [(0, 1, 2)])
    voided: list[int] = []
    bank.on_blocked = lambda: voided.append(1)
    bank.block(span, 2)
    assert voided == [1]
    assert ask(bank, "03 0001 0001") == "8302"
    bank.block(span, 11)
    assert voided == [1]
    assert ask(bank, "03 0001 0001") == "830b"
