# One image for all processes; the command says which (docs/architecture.md).
# Nothing is taken that the .lock files do not name by its hash.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements-build.lock requirements.lock ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --no-deps --no-compile \
        --requirement requirements-build.lock \
    && /opt/venv/bin/pip install --require-hashes --no-deps --no-compile \
        --no-build-isolation --requirement requirements.lock
COPY . .
# Compiled by content and not by time, so that the same source makes the same files.
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation --no-compile . \
    && /opt/venv/bin/pip uninstall --yes setuptools pip \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM python:3.11.14-slim-bookworm
# Logs are seen when they are written, and nothing is written beside the code.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/venv /opt/venv
WORKDIR /
# Without a name: nothing below / belongs to it, and only /tmp has to be writable.
USER 10001:10001
# API, receiver, metrics.
EXPOSE 3000 6001 9464
CMD ["batchsender", "--help"]
