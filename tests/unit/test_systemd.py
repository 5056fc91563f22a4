"""What systemd is told, over a real datagram socket; which sockets that were handed over fit which listener."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.app.service import MAX_OVERDUE_S, Service, told
from gateway.polling.wheel import Turn, Wheel
from gateway.systemd import Handed, HandedOver, Notifier, Place
from tests.support.fake import ManualTime
from tests.support.service import Ear, listening, port_of


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.close()


def notifier_of(ear: Ear, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": ear.name, **more})


# -- sd_notify -------------------------------------------------------------------------------------------------------


def test_nobody_is_told_without_the_variable(ear: Ear) -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.status("12 devices good")
    assert not notifier.is_wanted
    with pytest.raises(TimeoutError):
        ear.hear(0.01)


def test_every_word_reaches_an_abstract_socket(ear: Ear) -> None:
    notifier = notifier_of(ear, WATCHDOG_USEC="3000000")
    notifier.ready()
    notifier.status("12 devices good,\n1 down")
    notifier.alive()
    notifier.reloading()
    notifier.stopping()
    heard = [ear.hear() for _ in range(5)]
    notifier.close()
    assert heard[:3] == [{"READY": "1"}, {"STATUS": "12 devices good, 1 down"}, {"WATCHDOG": "1"}]
    assert heard[3]["RELOADING"] == "1"
    assert int(heard[3]["MONOTONIC_USEC"]) > 0
    assert heard[4] == {"STOPPING": "1"}


def test_a_path_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("notify")  # a path from the root may be too long for a socket where tests run
        link = f"/proc/self/cwd/{heard.getsockname()}"
        notifier = Notifier({"NOTIFY_SOCKET": link})
        notifier.ready()
        assert heard.recv(100) == b"READY=1"
        notifier.close()


def test_the_variables_are_taken_out_of_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    assert Notifier(environ).watchdog_s == 1.0
    assert environ == {"PATH": "/bin"}


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier(environ).watchdog_s == 0.0


@pytest.mark.parametrize("usec", ["", "soon", "-5", "1.5"])
def test_what_is_no_time_asks_for_no_watchdog(usec: str) -> None:
    assert Notifier({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": usec}).watchdog_s == 0.0


def test_the_same_status_is_told_once(ear: Ear) -> None:
    notifier = notifier_of(ear)
    for text in ("1 device good", "1 device good", "1 device down"):
        notifier.status(text)
    assert [ear.hear()["STATUS"] for _ in range(2)] == ["1 device good", "1 device down"]
    notifier.close()


def test_an_address_that_is_none_of_ours_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "vsock:2:1234"})
    assert not notifier.is_wanted
    assert "NOTIFY_SOCKET=vsock:2:1234 is neither a path nor @NAME" in caplog.text


def test_a_socket_that_has_gone_is_one_warning_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    ear = Ear()
    notifier = notifier_of(ear, WATCHDOG_USEC="1000000")
    ear.close()
    notifier.ready()
    notifier.alive()
    assert len(caplog.records) == 1
    assert not notifier.is_wanted
    assert notifier.watchdog_s == 0.0


def test_what_a_full_queue_did_not_take_comes_later_in_order(ear: Ear) -> None:
    notifier = notifier_of(ear)
    full = 0
    while not notifier._unsent:  # until the socket's queue is full
        notifier.status(f"number {full}")
        full += 1
    notifier.ready()
    heard = [ear.hear() for _ in range(full - 1)]
    notifier.status("after")
    heard += [ear.hear() for _ in range(3)]
    assert heard[-3:] == [{"STATUS": f"number {full - 1}"}, {"READY": "1"}, {"STATUS": "after"}]
    notifier.close()


# -- what the service says -------------------------------------------------------------------------------------------


class Plant:
    """What the service tells of."""

    def __init__(self) -> None:
        self.scheduler = ManualTime()
        self.wheel = Wheel(self.scheduler)
        self.is_reload_refused = False
        self.devices = Counter(good=2)

    def states(self) -> Counter[str]:
        return self.devices


def beats(ear: Ear, plant: Plant, count: int = 1, service: Service | None = None) -> Service:
    service = service or Service(notifier_of(ear, WATCHDOG_USEC="10000000"))
    for _ in range(count):
        service._beat(plant)
    return service


def test_the_first_beat_tells_that_it_is_ready_and_alive(ear: Ear) -> None:
    beats(ear, Plant())
    assert [ear.hear() for _ in range(3)] == [{"READY": "1"}, {"STATUS": "2 devices good"}, {"WATCHDOG": "1"}]


def test_a_wheel_that_stands_still_is_not_called_alive(ear: Ear) -> None:
    plant = Plant()
    plant.wheel.add(Turn(1.0, lambda: True))
    service = beats(ear, plant)
    assert [ear.hear() for _ in range(3)][-1] == {"WATCHDOG": "1"}
    plant.scheduler.now_s += 1.0 + MAX_OVERDUE_S + 0.1  # its timer never comes
    beats(ear, plant, 3, service)
    with pytest.raises(TimeoutError):
        ear.hear(0.01)


def test_no_devices_and_an_empty_wheel_are_alive(ear: Ear) -> None:
    plant = Plant()
    plant.devices.clear()
    beats(ear, plant)
    assert [ear.hear() for _ in range(3)] == [{"READY": "1"}, {"STATUS": "no devices"}, {"WATCHDOG": "1"}]


def test_a_reload_is_told_at_its_beginning_and_its_end(ear: Ear) -> None:
    service = beats(ear, Plant())
    ear.forget()
    service.reloading()
    service.reloaded()
    assert "RELOADING" in ear.hear()
    assert ear.hear() == {"READY": "1"}


def test_a_reload_that_the_end_interrupts_does_not_say_ready(ear: Ear) -> None:
    plant = Plant()
    service = beats(ear, plant)
    ear.forget()
    service.reloading()
    service.stopping()
    service.reloaded()
    beats(ear, plant, 1, service)
    heard = [ear.hear() for _ in range(4)]
    assert heard[1:] == [{"STOPPING": "1"}, {"STATUS": "stopping"}, {"WATCHDOG": "1"}]


@pytest.mark.parametrize(
    ("states", "refused", "text"),
    [
        ({}, False, "no devices"),
        ({"disabled": 3}, False, "no devices"),
        ({"good": 1}, False, "1 device good"),
        ({"good": 12, "down": 1}, False, "12 devices good, 1 down"),
        ({"down": 2, "disabled": 1}, True, "0 devices good, 2 down; the last reload was refused"),
        ({"good": 1, "waiting": 2, "stale": 3, "down": 4}, False, "1 device good, 2 waiting, 3 stale, 4 down"),
    ],
)
def test_the_line_for_systemctl_status(states: dict[str, int], refused: bool, text: str) -> None:
    assert told(Counter(states), refused=refused) == text


# -- sockets that are handed over ------------------------------------------------------------------------------------


def place(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> Place:
    scheme = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    return Place(host, port, kind, f"{scheme}://{host}:{port}")


def handed(*sockets: socket.socket) -> HandedOver:
    return HandedOver([Handed(sock, "gateway.socket", sock.getsockname()) for sock in sockets])


def taken(all_: HandedOver, where: Place) -> int:
    """How many fit; their copies are closed."""
    found = asyncio.run(all_.take(where))
    for sock in found:
        sock.close()
    return len(found)


def test_a_socket_fits_the_listener_with_its_address_and_kind() -> None:
    with listening() as tcp, listening(kind=socket.SOCK_DGRAM) as udp:
        all_, port = handed(tcp, udp), port_of(tcp)
        assert taken(all_, place("127.0.0.1", port)) == 1
        assert taken(all_, place("localhost", port)) == 1
        assert taken(all_, place("127.0.0.2", port)) == 0
        assert taken(all_, place("0.0.0.0", port)) == 0
        assert taken(all_, place("127.0.0.1", 0)) == 0
        assert taken(all_, place("127.0.0.1", port, socket.SOCK_DGRAM)) == 0
        assert taken(all_, place("127.0.0.1", port_of(udp), socket.SOCK_DGRAM)) == 1


def test_a_socket_is_taken_as_often_as_reloads_want_it() -> None:
    with listening() as tcp:
        all_ = handed(tcp)
        assert [taken(all_, place("127.0.0.1", port_of(tcp))) for _ in range(3)] == [1, 1, 1]


def strangers(all_: HandedOver, *places: Place) -> list[str]:
    return asyncio.run(all_.strangers(places))


def test_what_no_listener_has_is_told_with_what_to_do() -> None:
    with listening() as tcp:
        port = port_of(tcp)
        assert strangers(handed(tcp), place("127.0.0.1", port)) == []
        (other,) = strangers(handed(tcp), place("0.0.0.0", port))
        assert other == (
            f"systemd hands over tcp 127.0.0.1:{port} (gateway.socket), and tcp://0.0.0.0:{port} is another address: "
            f"nobody answers there. Write ListenStream=0.0.0.0:{port} into the socket unit"
        )
        (none,) = strangers(handed(tcp), place("127.0.0.1", port, socket.SOCK_DGRAM))
        assert "is none of our listeners" in none
        assert "Take it out of the socket unit" in none


def test_a_connection_is_no_listener() -> None:
    with listening() as tcp, socket.create_connection(tcp.getsockname()) as client:
        accepted, _ = tcp.accept()
        with accepted:
            where = place("127.0.0.1", port_of(tcp))
            (line,) = strangers(handed(accepted), where)
            assert "write Accept=no into the socket unit" in line
            assert taken(handed(accepted), where) == 0
            assert client.fileno() > 0


def test_a_socket_of_another_kind_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        (line,) = strangers(HandedOver([Handed(sock, "x.socket", ())]))
        assert "neither TCP nor UDP (x.socket)" in line


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "100000", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_variables_that_are_not_for_us_hand_over_nothing(environ: dict[str, str]) -> None:
    assert strangers(HandedOver.of(environ)) == []
    assert environ == {}
