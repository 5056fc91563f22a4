"""What counts as a change of the plant's files, and what beside them does not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gateway.app.blueprint import MAX_NAMES, Blueprint
from gateway.app.difference import difference
from gateway.app.watch import look, watch
from gateway.config.load import load


def test_only_what_could_be_part_of_a_plant_changes_the_look(tmp_path: Path) -> None:
    plant, table = tmp_path / "plant.yaml", tmp_path / "tags.csv"
    plant.write_text("a")
    before = look([plant, table])
    (tmp_path / "state").write_text("1")
    (tmp_path / ".hidden.yaml").write_text("1")
    os.utime(tmp_path)
    assert look([plant, table]) == before
    for name in ("new.yaml", "new.YML", "new.csv"):
        (tmp_path / name).write_text("")
        after = look([plant, table])
        assert after != before, name
        (tmp_path / name).write_text("its content is not ours")
        assert look([plant, table]) == after
        before = after
    table.write_text("")
    assert (before := look([plant, table])) != after
    table.unlink()
    assert look([plant, table]) != before
    before = look([plant])
    plant.write_text("ab")
    assert look([plant]) != before
    assert look([tmp_path / "gone" / "plant.yaml"]) != before


async def _edited_beside_a_busy_folder(folder: Path) -> None:
    plant = folder / "plant.yaml"
    plant.write_text("a")
    changed = asyncio.Event()

    async def tell() -> None:
        changed.set()

    async def keep_state() -> None:
        for i in range(10_000):
            (folder / f"state.{i}").write_text("")
            (folder / f"state.{i}").rename(folder / "state")
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(watch(lambda: [plant], tell, 0.02)), asyncio.create_task(keep_state())]
    await asyncio.sleep(0.2)
    assert not changed.is_set()
    plant.write_text("an edit")
    await asyncio.wait_for(changed.wait(), 10)
    changed.clear()
    await asyncio.sleep(0.2)
    assert not changed.is_set()
    (folder / "new.yaml").write_text("")
    await asyncio.wait_for(changed.wait(), 10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_an_edit_beside_a_state_that_is_written_all_the_time_is_seen(tmp_path: Path) -> None:
    asyncio.run(_edited_beside_a_busy_folder(tmp_path))


def test_a_reload_that_changes_many_devices_is_one_line(tmp_path: Path) -> None:
    def blueprint(count: int, every: str) -> Blueprint:
        lines = ["devices:"]
        for i in range(count):
            lines.append(f"  d{i}:")
            lines.append("    url: tcp://127.0.0.1:1502")
            lines.append(f"    unit: {i + 1}")
            lines.append(f"    every: {every}")
            lines.append("    poll:")
            lines.append(f"      - {{read: holding:0..9, to: 1/holding:{100 * i}}}")
            lines.append(f"      - {{read: holding:50..59, every: 9s, to: 1/holding:{100 * i + 50}}}")
        path = tmp_path / "plant.yaml"
        path.write_text("\n".join(lines))
        return Blueprint(load(path))

    assert difference(blueprint(100, "1s"), blueprint(100, "2s")).lines == [
        "devices d0, d1, d2, d3 and 96 more: 100 of 200 requests new"
    ]
    lines = difference(blueprint(MAX_NAMES, "1s"), blueprint(MAX_NAMES, "2s")).lines
    assert lines == [f"device d{i}: 1 of 2 requests new" for i in range(MAX_NAMES)]
