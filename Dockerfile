# Larder's own image: the operator, the activator and the larder command, as an unprivileged user on a read-only root.
# BASE may be any image with Python 3.11; the result holds the base, the dependencies and the package.
ARG BASE=python:3.11-slim

FROM ${BASE} AS tools
# Debian's python3 comes without pip; the official Python image has it.
RUN python3 -c 'import ensurepip' 2>/dev/null \
 || (apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv)
RUN python3 -m venv /tools && /tools/bin/pip install --no-cache-dir "hatchling>=1.25"

# The dependencies by name, so that the layer that holds them changes only when they do.
FROM tools AS requirements
COPY pyproject.toml /source/pyproject.toml
RUN python3 -c 'import tomllib; print(*tomllib.load(open("/source/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    >/requirements.txt

FROM tools AS application
COPY pyproject.toml README.md LICENSE /source/
COPY operator /source/operator
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /source \
 && python3 -m venv --without-pip /opt/larder \
 && /tools/bin/pip --python /opt/larder/bin/python install --no-cache-dir --no-deps --target /app /wheels/*.whl

FROM ${BASE}
COPY --from=requirements /requirements.txt /opt/larder/requirements.txt
# Installed and cleaned up in one layer: copying hundreds of megabytes from another stage takes longer on every build.
RUN (python3 -c 'import ensurepip' 2>/dev/null \
     || (apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv)) \
 && python3 -m venv /tools && python3 -m venv --without-pip /opt/larder \
 && /tools/bin/pip --python /opt/larder/bin/python install --no-cache-dir -r /opt/larder/requirements.txt \
 && echo /opt/larder/app >"$(/opt/larder/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth" \
 && rm -rf /tools \
 && if dpkg -s python3-venv >/dev/null 2>&1; then apt-get purge -y -q --auto-remove python3-venv; fi \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY --from=application /app /opt/larder/app
# LOGNAME: kopf asks for the name of its user, and this one is in no passwd.
ENV LOGNAME=larder \
    PATH=/opt/larder/app/bin:/opt/larder/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
CMD ["larder", "--help"]
