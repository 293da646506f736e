# The base is named by its tag: pin its digest where you build (docs/docker.md says how).

FROM python:3.12-slim-bookworm AS builder
WORKDIR /src

# The tools that build stay in this stage.
COPY requirements/ requirements/
RUN python -m venv /tools \
 && /tools/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/build.txt

# The environment that is shipped has no pip; the tools' pip fills it from outside.
RUN python -m venv --without-pip /opt/qstash-gateway \
 && /tools/bin/python -m pip --python /opt/qstash-gateway/bin/python install \
      --no-cache-dir --only-binary :all: --require-hashes -r requirements/run.txt

COPY pyproject.toml README.md ./
COPY policies/ policies/
COPY gateway/ gateway/
# The simulator is for trying and testing; what guards the real token does not hold it.
RUN rm -r gateway/simulator \
 && /tools/bin/python -m pip wheel --no-cache-dir --no-build-isolation --no-deps --no-index --wheel-dir /wheels . \
 && /tools/bin/python -m pip --python /opt/qstash-gateway/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl \
 && find /opt/qstash-gateway/bin -type f ! -name qstash-gateway -delete


FROM python:3.12-slim-bookworm

# The base brings an installer; a gateway installs nothing.
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* \
 && install -d -m 0755 /etc/qstash-gateway \
 && install -d -m 0700 -o 65532 -g 65532 /var/lib/qstash-gateway

COPY --from=builder /opt/qstash-gateway /opt/qstash-gateway

# Nothing is written outside the audit volume, so the root file system can be read-only.
ENV PATH=/opt/qstash-gateway/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# The base brings its modules uncompiled, and later nothing can be written: each start would compile them anew.
RUN PYTHONDONTWRITEBYTECODE= qstash-gateway --help > /dev/null

VOLUME /var/lib/qstash-gateway
WORKDIR /var/lib/qstash-gateway
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
  CMD ["qstash-gateway", "probe", "--config", "/etc/qstash-gateway/config.yaml"]
ENTRYPOINT ["qstash-gateway"]
CMD ["serve", "--config", "/etc/qstash-gateway/config.yaml"]
