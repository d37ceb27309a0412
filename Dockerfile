# One image for all services; docker-compose.yaml says which one a container is.
# By itself it tries everything out, with the embedded broker:
#   docker run --rm -p 127.0.0.1:8080:8080 -e SAGA_TRUSTED=127.0.0.0/8,172.17.0.0/16 saga-onboarding
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --uid 10001 --create-home saga && install --directory --owner saga --group saga /data
WORKDIR /app

# What we depend on changes seldom: a layer of its own.
COPY setup.cfg pyproject.toml constraints.txt README.md ./
RUN pip install --constraint constraints.txt .

COPY saga_app saga_app
COPY agents agents
COPY tables tables
RUN pip install --no-deps --force-reinstall . && rm -rf /app/*

USER saga
ENV SAGA_DATADIR=/data \
    SAGA_BIND=0.0.0.0
VOLUME /data
EXPOSE 8080 6066 6067 6068
HEALTHCHECK --interval=5s --timeout=4s --retries=3 --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health/ready', timeout=3)"]
CMD ["saga", "up"]
