# Larder's own image: the operator, the activator and the larder command, as an unprivileged user on a read-only root.
# BASE may be any image with Python 3.11; nothing but the base and the package is in the result.
ARG BASE=python:3.11-slim

FROM ${BASE} AS tools
# python3 of Debian comes without pip; the official Python image has it.
RUN python3 -c 'import ensurepip' 2>/dev/null \
 || (apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv)
RUN python3 -m venv /tools && /tools/bin/pip install --no-cache-dir "hatchling>=1.25"

# The dependencies alone: this layer changes only when they do.
FROM tools AS dependencies
RUN python3 -m venv --without-pip /opt/larder
COPY pyproject.toml /source/pyproject.toml
RUN python3 -c 'import tomllib; print(*tomllib.load(open("/source/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    >/requirements.txt \
 && /tools/bin/pip --python /opt/larder/bin/python install --no-cache-dir -r /requirements.txt \
 && echo /opt/larder/app >"$(/opt/larder/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"

FROM dependencies AS application
COPY pyproject.toml README.md LICENSE /source/
COPY operator /source/operator
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /source \
 && /tools/bin/pip --python /opt/larder/bin/python install --no-cache-dir --no-deps --target /app /wheels/*.whl

FROM ${BASE}
COPY --from=dependencies /opt/larder /opt/larder
COPY --from=application /app /opt/larder/app
ENV PATH=/opt/larder/app/bin:/opt/larder/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
CMD ["larder", "--help"]
