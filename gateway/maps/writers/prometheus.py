"""prometheus.yml for this gateway: what scrapes its /metrics, complete, so that Prometheus starts with it alone.

Prometheus does not speak Modbus; values of tags are in /metrics when the plant says so (`metrics: {tags: true}`).
"""

from __future__ import annotations

import json

from gateway.maps.neutral import Map
from gateway.maps.target import ExportError, Notes, Target, Written

SCRAPE_INTERVAL_S = 5


def write(served: Map, target: Target) -> Written:
    metrics = target.metrics
    if metrics is None:
        raise ExportError(
            'Prometheus scrapes /metrics, and this plant has no page: add `web: {listen: "http://127.0.0.1:8080"}`'
        )
    notes = Notes("Prometheus")
    if metrics.has_login:
        notes.say("`metrics.open` is false: Prometheus cannot log in and would get 401; set it to true")
    if not metrics.has_tags:
        notes.say("values of tags are not in it: `web: {metrics: {tags: true}}` adds them")
    lines = [
        "# Made by `gateway export --format prometheus`.",
        "scrape_configs:",
        "  - job_name: modbus-gateway",  # what the alert rules in config/prometheus ask for
        f"    scrape_interval: {SCRAPE_INTERVAL_S}s",
        "    metrics_path: /metrics",
    ]
    if metrics.door.scheme == "https":
        lines += ["    scheme: https", "    # tls_config: {ca_file: /etc/prometheus/gateway-ca.pem}"]
        notes.say("with a certificate of your own CA, Prometheus needs its file: see `tls_config` in the text")
    lines += [
        "    static_configs:",
        f"      - targets: [{_text(metrics.door.authority)}]",
        f"        labels: {{plant: {_text(served.title)}}}",
    ]
    return Written("\n".join(lines) + "\n", notes.all(), metrics.door)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
