# The project's images. Targets:
#   slim     operator, parameter servers and page: no PyTorch, no compiler, no package manager
#   trainer  workers and evaluator: what users build their own images FROM
# Both run as a numeric non-root user on a read-only root. BASE is any Debian with Python 3.11 or newer.
#
# Two builds have the same bytes (docs/release.md). So bytecode is compiled without the times of its sources, which
# `buildah --timestamp` writes anew, and what a program leaves of its own times and caches is removed.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS base
# SOURCE_DATE_EPOCH: Debian's bytecode holds a hash of its source instead of a time.
RUN export DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH=315532800 && apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig /var/log/* \
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
 && apt-get install -y --no-install-recommends python3-venv python3-dev gcc libc6-dev busybox-static \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /uv && PIP_CERT=${SSL_CERT_FILE:-} /uv/bin/pip install --no-cache-dir uv==${UV_VERSION}
ENV UV_PROJECT_ENVIRONMENT=/opt/asgd UV_PYTHON=/usr/bin/python3 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_NO_CACHE=1
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
 && /uv/bin/uv pip install -q --no-deps --python /opt/asgd/bin/python --prefix /app /dist/*.whl \
 && cd /app/lib/python3*/site-packages/asgd_operator-*.dist-info && rm uv_cache.json && sed -i /uv_cache.json/d RECORD

FROM builder AS slim-builder
ARG SSL_CERT_FILE UV_DEFAULT_INDEX
# Removed is what nobody here imports: the Kubernetes client's models and calls (the operator sends plain manifests), CEL's
# extensions, numpy's tools to build extensions, tests, what only compilers and type checkers read, a second set of time zones (Debian's is there), and
# symbols where they take megabytes.
RUN UV_COMPILE_BYTECODE=0 /uv/bin/uv sync --frozen --no-dev --no-install-project --extra operator --extra page --extra s3 --extra tracing \
 && cd /opt/asgd/lib/python3*/site-packages \
 && find kubernetes/client/models kubernetes/client/api kubernetes/aio/client/models kubernetes/aio/client/api \
      -name '*.py' ! -name __init__.py -delete \
 && rm -rf cel_expr_python/ext bazel-project numpy/f2py numpy/distutils numpy/_core/include numpy/_core/_simd.* tzdata/zoneinfo \
 && find . -type d -name tests -prune -exec rm -rf {} + \
 && find . -regex '.*\.\(pyi\|a\|c\|pxd\|proto\)' -delete \
 && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} + \
 && find cel_expr_python cryptography aiohttp yaml multidict propcache frozenlist wrapt -name '*.so' -exec strip --strip-unneeded {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash .

# Of Debian: Python, the libraries that it and the packages load, certificates, time zones, and busybox for `kubectl exec`
# and `kubectl cp`. Whole packages, with their licences and their entries in dpkg's list, which scanners read.
FROM slim-builder AS slim-root
RUN python=python3.$(python3 -c 'import sys; print(sys.version_info[1])') \
 && packages="$python-minimal lib$python-minimal lib$python-stdlib python3-minimal base-files libc-bin libgcc-s1 netbase media-types tzdata ca-certificates busybox-static" \
 && loaded=$( (dpkg -L $packages; find /opt/asgd -name '*.so*') | grep -E '\.so|/bin/python3' | xargs ldd 2>/dev/null \
      | sed -n 's|.* => /[^o].*/\(.*\) (.*|*/\1|p' | sort -u) \
 && packages=$( (echo $packages | tr ' ' '\n'; dpkg -S $loaded | grep -v ^diversion | cut -d: -f1; dpkg-query -Wf '${Package}\n' 'gcc-*-base') | sort -u) \
 && mkdir /slim && (printf '%s\n' /bin /sbin /lib /lib64; dpkg -L $packages | sort -u) \
      | grep -vE '^/\.$|/gconv/|/share/(man|info|locale|lintian|perl5)/|/python3[.0-9]*/(test|pydoc_data)/|/share/doc/[^/]+/[^c]' | xargs ls -d 2>/dev/null \
      | tar -C / --no-recursion -cPf - -T - | tar -C /slim -xf - \
 && cp -a --parents /etc/passwd /etc/group /etc/nsswitch.conf /etc/ssl/certs /etc/ssl/openssl.cnf /usr/lib/ssl/certs /usr/lib/ssl/openssl.cnf /slim \
 && for applet in $(busybox --list | grep -vE '^(dpkg|dpkg-deb|rpm|rpm2cpio)$'); do [ -e /slim/usr/bin/$applet ] || ln -s busybox /slim/usr/bin/$applet; done \
 && mkdir -p /slim/var/lib/dpkg && dpkg-query -s $packages > /slim/var/lib/dpkg/status \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /slim -p / /slim/usr/lib/python3*

FROM builder AS trainer-builder
ARG SSL_CERT_FILE UV_DEFAULT_INDEX PIP_VERSION=26.3
# With pip inside, for the images that users build on top of this one.
RUN /uv/bin/uv venv /opt/asgd && /uv/bin/uv pip install -q --python /opt/asgd/bin/python pip==${PIP_VERSION} \
 && /uv/bin/uv sync --frozen --inexact --no-dev --no-install-project --extra trainer --extra examples --extra s3 --extra tracing

FROM base AS trainer
COPY --from=trainer-builder /opt/asgd /opt/asgd
COPY --from=project /app /opt/asgd
RUN python -c 'import asgd.kernel._kernel, torch'
USER 65532:65532
CMD ["asgd", "--help"]

FROM scratch AS slim
COPY --from=slim-root /slim /
COPY --from=slim-builder /opt/asgd /opt/asgd
COPY --from=project /app /opt/asgd
ENV PATH=/opt/asgd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN python -c 'import asgd.kernel._kernel, numpy, aiohttp, kopf, kubernetes.aio.client, cel_expr_python, ssl; assert ssl.get_default_verify_paths().capath'
USER 65532:65532
CMD ["asgd-operator", "run"]
