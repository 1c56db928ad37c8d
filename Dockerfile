# The project's images. Targets:
#   slim     operator and parameter servers: no PyTorch, no compiler
#   trainer  workers and evaluator: what users build their own images FROM
# Both run as a numeric non-root user on a read-only root. BASE is any Debian with Python 3.11 or newer.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS base
RUN export DEBIAN_FRONTEND=noninteractive && apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
 && echo 'asgd:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'asgd:x:65532:' >> /etc/group
ENV PATH=/opt/asgd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

# What is installed comes from uv.lock, hashes included. Bytecode is compiled here, for a read-only root cannot keep it.
FROM base AS builder
ARG UV_VERSION=0.13.9
# For machines behind an index or a proxy of their own; nothing of these stays in the images.
ARG SSL_CERT_FILE PIP_INDEX_URL UV_DEFAULT_INDEX
RUN export DEBIAN_FRONTEND=noninteractive && apt-get update \
 && apt-get install -y --no-install-recommends python3-venv python3-dev gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /uv && PIP_CERT=${SSL_CERT_FILE:-} /uv/bin/pip install --no-cache-dir uv==${UV_VERSION}
ENV UV_PROJECT_ENVIRONMENT=/opt/asgd UV_PYTHON=/usr/bin/python3 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1
WORKDIR /src
COPY pyproject.toml uv.lock ./

# The project itself, once for both images and in a layer of its own: a change of code copies no gigabytes.
FROM builder AS project
ARG SSL_CERT_FILE UV_DEFAULT_INDEX
COPY README.md ./
COPY trainer trainer
COPY operator operator
RUN /uv/bin/uv venv -q /opt/asgd \
 && /uv/bin/uv build -q --wheel --out-dir /dist \
 && /uv/bin/uv pip install -q --no-deps --python /opt/asgd/bin/python --prefix /app /dist/*.whl

FROM builder AS slim-builder
ARG SSL_CERT_FILE UV_DEFAULT_INDEX
RUN /uv/bin/uv sync --frozen --no-dev --no-install-project --extra operator --extra page --extra tracing \
 && find /opt/asgd -type d \( -name tests -o -name bazel-project \) -prune -exec rm -rf {} +

FROM builder AS trainer-builder
ARG SSL_CERT_FILE UV_DEFAULT_INDEX
# With pip inside, for the images that users build on top of this one.
RUN /uv/bin/uv venv --seed /opt/asgd \
 && /uv/bin/uv sync --frozen --inexact --no-dev --no-install-project --extra trainer --extra examples --extra tracing

FROM base AS trainer
COPY --from=trainer-builder /opt/asgd /opt/asgd
COPY --from=project /app /opt/asgd
RUN python -c 'import asgd.kernel._kernel, torch'
USER 65532:65532
CMD ["asgd", "--help"]

FROM base AS slim
COPY --from=slim-builder /opt/asgd /opt/asgd
COPY --from=project /app /opt/asgd
RUN python -c 'import asgd.kernel._kernel, numpy, aiohttp, kopf, kubernetes.aio.client, cel_expr_python'
USER 65532:65532
CMD ["asgd-operator", "run"]
