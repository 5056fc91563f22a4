# The gateway in a container. To build and run:
#
#   docker build -t gateway .
#   docker run -d --name gateway --read-only --cap-drop ALL --security-opt no-new-privileges -p 502:502 \
#       -v "$PWD/plant":/etc/gateway:ro -v gateway-state:/var/lib/gateway gateway
#
# /etc/gateway holds plant.yaml (with `state_dir: /var/lib/gateway`) and what it includes. Nothing else is written.
#   another file:      docker run ... gateway --config /etc/gateway/line3.yaml
#   a changed file:    docker kill --signal=HUP gateway      (a mistake in it changes nothing; `docker logs gateway`)
#   how is it:         docker exec gateway gateway status --state-dir /var/lib/gateway
#   the page:          `web: {listen: "http://0.0.0.0:8080", users: ...}` and -p 127.0.0.1:8080:8080
#   a serial line:     --device /dev/ttyUSB0 --group-add dialout
#
# It does not run as root. Port 502: Docker lets everybody inside a container use any port; elsewhere (Podman,
# Kubernetes) say --sysctl net.ipv4.ip_unprivileged_port_start=502, or listen on 5020 inside and publish it as 502.

ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY gateway gateway
# Compiled here: the root of the container is read-only, and it starts in half the time.
RUN python -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --no-cache-dir --disable-pip-version-check ".[web,serial,tls]" \
    && /opt/gateway/bin/pip uninstall --yes --disable-pip-version-check pip \
    && /opt/gateway/bin/python -m compileall -q /opt/gateway

FROM python:${PYTHON_VERSION}-slim
COPY --from=build /opt/gateway /opt/gateway
RUN useradd --system --uid 10502 --user-group --home-dir /var/lib/gateway --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway -m 0700 /var/lib/gateway \
    && install -d /etc/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 10502:10502
WORKDIR /var/lib/gateway
VOLUME ["/var/lib/gateway"]
EXPOSE 502/tcp 8080/tcp
STOPSIGNAL SIGTERM
# The loop that serves registers must answer. 3: something in the plant is wrong, which another container would not mend.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 \
    CMD ["/bin/sh", "-c", "gateway status --state-dir /var/lib/gateway --json >/dev/null || [ $? -eq 3 ]"]
ENTRYPOINT ["gateway"]
CMD ["--config", "/etc/gateway/plant.yaml"]
