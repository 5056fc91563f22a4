"""What our units answer besides registers: who we are, how we are, files of records, queues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from gateway import __version__
from gateway.app.blueprint import Blueprint, QueuePlan, UnitPlan
from gateway.bank import Bank, Span
from gateway.config.model_server import Identity as IdentityConfig
from gateway.front.counters import Counters
from gateway.front.diagnostics import Diagnostics
from gateway.front.exception_status import Trouble, bits_of, exception_status
from gateway.front.fifo import Queue, Queues
from gateway.front.files import File, Files
from gateway.front.identity import Identity
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.places import Placement
from gateway.polling.device import Device, State
from gateway.state.records import RecordFile, Records

Hook = Callable[[Table, int, int], None]

_TROUBLES = {State.DOWN: Trouble.DEVICE_DOWN, State.STALE: Trouble.DEVICE_STALE}


class _LiveQueue(NamedTuple):
    """A queue with a source, and its place, taken out of clients' hands."""

    queue: Queue
    source: Placement
    span: Span


class Functions:
    """Of all units."""

    def __init__(
        self, counters: Counters, records: Records, devices: Mapping[str, Device], is_failing: Callable[[], bool]
    ) -> None:
        """`is_failing()`: something else that must survive a restart could not be written."""
        self.reload_refused = False
        """The last one."""
        self._counters = counters
        self._records = records
        self._devices = devices
        self._is_failing = is_failing
        self.diagnostics = Diagnostics(counters, self.trouble)
        """Of all that comes over a network; a serial line has its own counters."""
        self._device_trouble: Trouble | None = None
        """What the states of devices amount to; None: one has changed."""
        self._contents: dict[str, RecordFile] = {}
        self._queues: dict[tuple[int, QueuePlan], _LiveQueue] = {}

    # -- how we are ---------------------------------------------------------------------------------------------

    def device_changed(self) -> None:
        """A state is another, or there are other devices."""
        self._device_trouble = None

    def trouble(self) -> int:
        """The gateway's own exception status."""
        if self._device_trouble is None:
            self._device_trouble = Trouble(0)
            for device in self._devices.values():
                self._device_trouble |= _TROUBLES.get(device.state, Trouble(0))
        found = self._device_trouble
        for is_there, trouble in (
            (self.reload_refused, Trouble.RELOAD_REFUSED),
            (self._counters.faults, Trouble.FAULT),
            (self._counters.has_refused_clients, Trouble.CLIENTS_REFUSED),
            (self._records.is_failing or self._is_failing(), Trouble.NOT_WRITTEN),
            (self._records.are_lost, Trouble.RECORDS_LOST),
        ):
            if is_there:
                found |= trouble
        return int(found)

    # -- the difference -----------------------------------------------------------------------------------------

    def take_away(self, plans: Mapping[int, UnitPlan]) -> list[tuple[int, Span]]:
        """Queues that are in none of `plans` are no more; (unit id, span) of each is to be given back."""
        wanted = {(unit_id, queue) for unit_id, plan in plans.items() for queue in plan.queues}
        gone = [(key, live) for key, live in self._queues.items() if key not in wanted]
        for key, live in gone:
            del self._queues[key]
            live.queue.empty()
        return [(unit_id, live.span) for (unit_id, _), live in gone]

    def change(self, plans: Mapping[int, UnitPlan], banks: Mapping[int, Bank]) -> None:
        """Go over to these files and queues; what is in both stays as it is."""
        self._contents = self._records.use(
            [(file.name, file.records) for plan in plans.values() for file in plan.files]
        )
        for unit_id, plan in plans.items():
            for wanted in plan.queues:
                if wanted.source is not None and (unit_id, wanted) not in self._queues:
                    self._queues[unit_id, wanted] = _begin(unit_id, wanted, wanted.source, banks)
        for unit_id, bank in banks.items():
            bank.on_put = self.hook(unit_id)
            bank.emptied = {
                plan.pointer: live.queue.empty for (unit, plan), live in self._queues.items() if unit == unit_id
            }
        self.device_changed()

    def hook(self, unit_id: int) -> Hook | None:
        """Who wants to hear of what is written into this unit, by whomever; None: nobody."""
        hooks = [live.queue.placed for live in self._queues.values() if live.source.unit_id == unit_id]
        return each_of(hooks)

    def restore(self) -> None:
        """Read the files of records; the state directory is open. What is retained was put back: that is no news."""
        self._records.restore()
        for live in self._queues.values():
            live.queue.begin()

    def install(self, blueprint: Blueprint, banks: Mapping[int, Bank]) -> None:
        """Let every unit answer what it can."""
        ours = _identity(blueprint.config.server.identity)
        own_status = exception_status(self.trouble)
        for unit_id, bank in banks.items():
            plan = blueprint.units[unit_id]
            status, files = own_status, None
            if plan.exception_status is not None:
                status = exception_status(bits_of(bank, plan.exception_status.table, plan.exception_status.first))
            if plan.files:
                files = Files(
                    {file.number: File(self._contents[file.name], file.records, file.read_only) for file in plan.files}
                )
            bank.queues = {queue.pointer: queue.size for queue in plan.queues}
            bank.recorded = files.before if files is not None else None
            bank.serve(spec.READ_EXCEPTION_STATUS, status)
            bank.serve(spec.DIAGNOSTICS, self.diagnostics.answer)
            bank.serve(spec.GET_EVENT_COUNTER, self.diagnostics.event_counter)
            bank.serve(spec.GET_EVENT_LOG, self.diagnostics.event_log)
            bank.serve(spec.REPORT_SERVER_ID, ours.report)
            bank.serve(spec.READ_FILE_RECORD, files.read if files is not None else None)
            bank.serve(spec.WRITE_FILE_RECORD, files.write if files is not None else None)
            bank.serve(spec.READ_FIFO_QUEUE, Queues(bank, bank.queues).answer if plan.queues else None)
            bank.serve(spec.ENCAPSULATED_INTERFACE, ours.answer)


def each_of(hooks: Collection[Hook]) -> Hook | None:
    """One in the place of several; None: there are none."""
    if len(hooks) <= 1:
        return next(iter(hooks), None)

    def call(table: Table, first: int, count: int) -> None:
        for hook in hooks:
            hook(table, first, count)

    return call


def _begin(unit_id: int, plan: QueuePlan, source: Placement, banks: Mapping[int, Bank]) -> _LiveQueue:
    bank = banks[unit_id]
    (span,) = bank.claim([(Table.HOLDING, plan.pointer, 1 + plan.size)])
    bank.unblock(span)
    span.stale = False
    queue = Queue(bank, plan.pointer, plan.size, banks[source.unit_id], source.table, source.first)
    queue.begin()
    return _LiveQueue(queue, source, span)


def _identity(config: IdentityConfig) -> Identity:
    return Identity(
        config.vendor,
        config.product,
        config.revision or __version__,
        config.vendor_url,
        config.product_name,
        config.model,
        config.application,
    )
