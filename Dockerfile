# One image, three commands: serve | work | invoice (`docker run postfachwerk --help` lists all).

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/postfachwerk
ENV PATH=/opt/postfachwerk/bin:$PATH
WORKDIR /build
# The dependencies are a layer of their own: a change of the code does not fetch them again.
COPY requirements.txt ./
RUN pip install --require-hashes -r requirements.txt
COPY . ./
RUN pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Postfachwerk" \
      org.opencontainers.image.licenses="Apache-2.0"
# A fixed number, so that a volume or a Kubernetes security context can name it.
RUN groupadd --system --gid 10001 postfachwerk \
    && useradd --system --uid 10001 --gid postfachwerk --home-dir /var/lib/postfachwerk --create-home postfachwerk
COPY --from=build /opt/postfachwerk /opt/postfachwerk
ENV PATH=/opt/postfachwerk/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    POSTFACHWERK_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/postfachwerk
EXPOSE 8000
# Readiness of the API. Commands that do not serve (work, invoice) switch it off: see compose.yaml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["postfachwerk"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--no-worker"]
