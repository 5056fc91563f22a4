"""Which metrics there are, as tables: a family and the value of a row that it shows.

The rule: base units, `_total` for what only grows, one family for what is added up over a label. A label has as many
values as the plant's file has names (devices, links, blocks, 256 unit ids), or a fixed list; never a client's address,
an error's text or a time. What is text in a row (why a link is down) is in `gateway status` and on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.metrics.text import Family

Row = Mapping[str, Any]
STATES = ("waiting", "good", "stale", "down", "disabled")
"""Of a device, as `gateway status` says them."""


class Metric(NamedTuple):
    """A family, and its value in a row; `more` is a label that tells several of one family apart."""

    family: Family
    value: Callable[[Row], Any]
    more: str = ""


def _at(*path: str, scale: float = 1.0) -> Callable[[Row], Any]:
    """What a row has at `path`; None where it has nothing."""

    def value(row: Row) -> Any:
        found: Any = row
        for key in path:
            found = found.get(key)
            if found is None:
                return None
        return found if scale == 1.0 else found * scale

    return value


def _gauge(name: str, text: str, *path: str, scale: float = 1.0) -> Metric:
    return Metric(Family(f"gateway_{name}", "gauge", text), _at(*path, scale=scale))


def _counter(name: str, text: str, *path: str) -> Metric:
    return Metric(Family(f"gateway_{name}_total", "counter", text), _at(*path))


def _counters(name: str, text: str, label: str, values: Mapping[str, tuple[str, ...]]) -> tuple[Metric, ...]:
    """One family, a sample for each value of a label."""
    family = Family(f"gateway_{name}_total", "counter", text)
    return tuple(Metric(family, _at(*path), f'{label}="{value}"') for value, path in values.items())


def _is_set(name: str, text: str, key: str, *, when_empty: bool = False) -> Metric:
    """1 when the text in a row is not empty, or when it is."""
    return Metric(Family(f"gateway_{name}", "gauge", text), lambda row: bool(row.get(key)) is not when_empty)


GATEWAY: tuple[Metric, ...] = (
    _gauge("uptime_seconds", "Time since the gateway was started.", "uptime_s"),
    _gauge("config_generation", "Reloads that changed something since the start.", "generation"),
    _is_set(
        "config_last_reload_successful",
        "1: the last reload was applied, or there was none; 0: it was refused, the configuration before it runs.",
        "reload",
        when_empty=True,
    ),
    Metric(
        Family(
            "gateway_troubles",
            "gauge",
            "What is wrong with the gateway itself: a disk that does not take the audit or what is retained, no page.",
        ),
        lambda row: len(row.get("troubles", ())),
    ),
    _gauge("tasks", "Tasks of the event loop.", "tasks"),
    _gauge("clients", "Clients connected now.", "clients"),
    _counter("requests", "Requests of clients, by whatever way.", "requests"),
    _counter("exceptions", "Requests of clients that were answered with an exception.", "exceptions"),
)
"""Of the row `gateway`."""

PROCESS: tuple[Metric, ...] = (
    Metric(
        Family("process_resident_memory_bytes", "gauge", "Memory of the process that is resident now."),
        _at("memory_kb", scale=1024),
    ),
    Metric(Family("process_open_fds", "gauge", "Open descriptors, sockets included."), _at("open_files")),
    Metric(Family("process_cpu_seconds_total", "counter", "Processor time, user and system."), _at("cpu_s")),
    Metric(
        Family("process_start_time_seconds", "gauge", "When the process was started, in seconds since 1970."),
        _at("started_s"),
    ),
)
"""Of the row `gateway`, with the names that every Prometheus client library uses."""

LOOP_LAG = Family("gateway_loop_lag_seconds", "histogram", "How late the loop came to what was due once a second.")

SERVER: tuple[Metric, ...] = (
    _counter("client_connections", "Clients that were accepted.", "connections"),
    _counter("client_connections_refused", "Clients closed at once: too many, or unwelcome.", "refused_connections"),
    *_counters(
        "clients_closed",
        "Clients that the gateway closed, by reason.",
        "reason",
        {
            "crowded": ("crowded",),
            "unwelcome": ("unwelcome",),
            "handshake": ("handshakes_failed",),
            "half_request": ("half",),
            "unfetched": ("unfetched",),
        },
    ),
    _counter("frames_broken", "Frames of clients that nobody could read; over TCP the client is closed.", "broken"),
    _counter("requests_denied", "Requests that the access rules refused.", "denied"),
    _counter("requests_dropped", "Requests over UDP that were not answered.", "dropped"),
    _counter("requests_repeated", "Requests over UDP that came again while the first was worked on.", "twins"),
    _counter("requests_faulty", "Requests answered with 04 because of a bug in the gateway.", "faults"),
    _counter("clients_slowed", "Times a client was read more slowly because of requests_per_second.", "slowed"),
    _counter("clients_held", "Times a client was not read because too many of its requests waited.", "held"),
)
"""Of the row `server`."""

AUDIT: tuple[Metric, ...] = (
    _counter("audit_lines", "Writes of clients that stand in the audit.", "lines"),
    _gauge("audit_lines_waiting", "Lines of the audit that are not on the disk yet.", "waiting"),
    _counter("audit_lines_lost", "Lines of the audit that were lost because the disk did not take them.", "lost"),
)
DIAL_IN: tuple[Metric, ...] = (
    _counter("dial_in_connections", "Connections of devices that dial in.", "calls"),
    *_counters(
        "dial_in_closed",
        "Connections of devices that dial in which were closed, by reason.",
        "reason",
        {"unknown_id": ("unknown",), "silent": ("silent",), "crowded": ("crowded",), "replaced": ("replaced",)},
    ),
)

PAGE: tuple[Metric, ...] = (
    _gauge("page_connections", "Connections of browsers and programs to the page.", "open"),
    _gauge("page_viewers", "Pages that are shown live.", "viewers"),
    _counter("page_requests", "Requests to the page, scrapes of these metrics too.", "requests"),
    _counter("page_requests_denied", "Requests to the page that the role of its user does not allow.", "denied"),
    _counter("page_resyncs", "Times a viewer was too slow and had to load everything again.", "resyncs"),
    _counter("page_logins", "Logins.", "logins"),
    _counter("page_logins_failed", "Logins with a wrong name or password.", "failed_logins"),
)
"""Of what the page has counted."""

LINE: tuple[Metric, ...] = (
    _gauge("line_open", "1: the serial line on which the gateway is a unit is open.", "open"),
    _counter("line_frames_heard", "Whole frames on the line, whoever they were for.", "heard"),
    _counter("line_frames_broken", "Frames on the line that nobody could read.", "broken"),
    _counter("line_requests", "Requests on the line that were for the gateway.", "requests"),
    _counter("line_exceptions", "Requests on the line that were answered with an exception.", "exceptions"),
)
"""Of a row of `serial`; label `line`."""

LINK: tuple[Metric, ...] = (
    _gauge("link_up", "1: the link to devices is connected.", "up"),
    _gauge("link_load_ratio", "How much of the link's time its polls ask for; above 1 they do not fit.", "load_percent",
           scale=0.01),
    _gauge("link_requests_in_flight", "Requests whose answer is still to come.", "pending"),
    _gauge("link_requests_queued", "Requests that wait to be sent.", "queued"),
    Metric(
        Family("gateway_link_units_silent", "gauge", "Units that do not answer and are left alone but for probes."),
        lambda row: len(row.get("demoted", ())),
    ),
    _counter("link_requests", "Requests sent to devices, repetitions included.", "counters", "requests"),
    _counter("link_answers", "Answers of devices, exceptions included.", "counters", "answers"),
    *_counters(
        "link_errors",
        "What went wrong with requests to devices, by kind.",
        "kind",
        {
            "timeout": ("counters", "timeouts"),
            "late": ("counters", "late"),
            "foreign": ("counters", "foreign"),
            "malformed": ("counters", "malformed"),
            "checksum": ("counters", "crc_errors"),
            "fault": ("counters", "faults"),
        },
    ),
    _counter("link_connects", "Connections to devices that were made.", "counters", "connects"),
    _counter("link_losses", "Connections to devices that were lost.", "counters", "losses"),
    _counter("link_redials", "Connections closed after a time-out and made anew.", "counters", "redials"),
    _counter("link_units_silenced", "Times a unit was found silent and left alone.", "counters", "demotions"),
    _counter("link_requests_dropped", "Requests not sent because nobody waited any more.", "counters", "dropped"),
)  # fmt: skip
"""Of a row of `links`; label `link`."""
LINK_TOOK = Family("gateway_link_round_trip_seconds", "histogram", "From sending a request to a device to its answer.")
LINK_INFO = Family("gateway_link_info", "gauge", "Always 1; the address that the link uses now.")

DEVICE: tuple[Metric, ...] = (
    _gauge("device_age_seconds", "Age of the oldest block of values; none before the first good read.", "age_s"),
    *_counters(
        "device_requests",
        "Requests to the device, by outcome.",
        "outcome",
        {"good": ("good_requests",), "failed": ("failed_requests",)},
    ),
    _gauge("device_failures_in_row", "Requests that failed since the last good one.", "failures_in_row"),
    _gauge("device_last_exception", "Code of the last exception that the device answered; 0: none.", "last_exception"),
    Metric(
        Family("gateway_device_ranges_refused", "gauge", "Ranges of registers that the device refuses to read."),
        lambda row: sum(len(hole["refused"]) for hole in row.get("holes", ())),
    ),
    *_counters(
        "device_writes",
        "Writes of clients to the device, by outcome.",
        "outcome",
        {"done": ("writes", "done"), "refused": ("writes", "refused"), "unknown": ("writes", "unknown")},
    ),
    _gauge("device_writes_waiting", "Writes of clients that the device has not answered yet.", "writes", "waiting"),
)
"""Of a row of `devices`; label `device`."""
DEVICE_STATE = Family("gateway_device_state", "gauge", "1 for the state that the device is in, 0 for the others.")
DEVICE_INFO = Family("gateway_device_info", "gauge", "Always 1; the link and the unit id of the device.")

JOB: tuple[Metric, ...] = (
    _gauge("job_interval_seconds", "How often the block is to be polled.", "every_s"),
    _gauge("job_asked_hertz", "Polls a second that the plant's file asks for.", "requested_per_s"),
    _gauge("job_achieved_hertz", "Polls a second that were answered well, of late.", "achieved_per_s"),
    _gauge("job_lag_seconds", "How late polls are sent, of late.", "lag_s"),
    _gauge("job_took_seconds", "How long a poll takes, of late.", "took_s"),
    _gauge("job_age_seconds", "Age of the block's values; none before the first good read.", "age_s"),
    _is_set("job_failing", "1: the last poll of the block failed.", "error"),
    _counter("job_polls_skipped", "Polls that were left out: the one before was not done, or it was too late.",
             "skipped"),
    _counter("job_busy", "Polls that the device answered with busy.", "busy"),
    _counter("job_mismatches", "Writes that the device acknowledged and did not keep.", "mismatches"),
)  # fmt: skip
"""Of a row of `jobs` in a device; labels `device`, `block`, `interval`."""

ROUTE: tuple[Metric, ...] = (
    _counter("forward_requests", "Requests of clients to a forwarded unit.", "requests"),
    _counter("forward_shared", "Of them those answered with the answer to another client's equal request.", "shared"),
    _counter("forward_cached", "Of them those answered from the cache.", "cached"),
    _counter("forward_refused", "Of them those not passed on.", "refused"),
    _counter("forward_failed", "Of them those without an answer of the device.", "failed"),
)
"""Of a row of `routes`; labels `unit_id`, `target`."""
ROUTE_TOOK = Family(
    "gateway_forward_round_trip_seconds", "histogram", "From a client's request to a forwarded unit to its answer."
)

UNIT: tuple[Metric, ...] = (
    _counter("unit_requests", "Requests of clients to a unit id of the gateway.", "requests"),
    _counter("unit_exceptions", "Of them those answered with an exception.", "exceptions"),
)
"""Of a row of `units`; label `unit_id`."""

INFO = Family("gateway_info", "gauge", "Always 1; the version of the gateway.")
TAG_VALUE = Family("gateway_tag_value", "gauge", "Value of a tag while it is good; none else. Texts have none.")
TAG_QUALITY = Family("gateway_tag_quality", "gauge", "Quality of a tag's value: 0 good, 1 uncertain, 2 bad.")
