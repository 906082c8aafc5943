# One image, several roles: scripts/start.sh starts all of the service or one program of it.
# Only what the classic builder knows is used here, so every Docker Engine can build it.

FROM debian:trixie-slim AS packages
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv
COPY requirements.txt requirements-spark.txt /
# `--build-arg SPARK=true` adds the client for a Spark cluster.
ARG SPARK=
# --no-deps: the files are complete, and a package that they do not name must not come in.
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
      --requirement /requirements.txt ${SPARK:+--requirement /requirements-spark.txt} \
 && /opt/venv/bin/pip check \
 && /opt/venv/bin/pip uninstall --yes pip
RUN cd /opt/venv/lib/python3*/site-packages \
    # Of Swagger UI two files are served (api/docs.py).
 && find flask_swagger_ui/dist -type f ! -name swagger-ui.css ! -name swagger-ui-bundle.js ! -name LICENSE -delete \
    # The packages' own tests.
 && find . -type d -name tests -prune -exec rm -r {} + \
    # For compiling against Arrow and NumPy; nothing here compiles.
 && rm -rf pyarrow/include pyarrow/src numpy/_core/include numpy/_core/lib numpy/random/lib \
    # Arrow's RPC and its cloud file systems; tables are exported from memory.
 && rm -rf pyarrow/libarrow_flight.so* pyarrow/_flight*.so pyarrow/libarrow_s3.so* pyarrow/_s3fs*.so \
    # Of vizly the page needs echarts.min.js; its three-dimensional charts and maps nobody does.
 && rm -rf vizly/assets/maps vizly/assets/echarts-gl.min.js

FROM debian:trixie-slim
RUN mkdir /etc/postgresql-common \
    # The service makes its own cluster, in its volume.
 && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      postgresql-17 python3 redis-server supervisor zstd \
    # LLVM and Z3 serve Postgres's JIT only, which scripts/service/postgresql.conf turns off.
 && rm -rf /usr/lib/*/libLLVM* /usr/lib/*/libz3.so* \
      /usr/lib/postgresql/17/lib/llvmjit* /usr/lib/postgresql/17/lib/bitcode \
    # The sources of locales; C.UTF-8, the only one in use, needs none.
 && rm -rf /usr/share/i18n \
    # An unused certificate, made while building: a key that every copy of the image would share.
 && rm -rf /etc/ssl/private/* /etc/ssl/certs/ssl-cert-snakeoil.pem \
    # Nobody here changes to another user.
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
 && groupadd --gid 10001 etl \
 && useradd --uid 10001 --gid etl --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin etl \
 && install --directory --owner etl --group etl --mode 700 /var/lib/experiment-etl
COPY --from=packages /opt/venv /opt/venv

WORKDIR /app
COPY api api
COPY worker worker
COPY etl etl
COPY scripts scripts
COPY supervisord.conf pyproject.toml ./
COPY data /data
# Nothing may be written here at run time, so the byte code and the pipeline's queries have to be there already.
RUN /opt/venv/bin/python -m compileall -q api worker etl scripts/service \
 && /opt/venv/bin/python -m etl.pipeline

ENV PATH=/opt/venv/bin:/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    API_BIND=0.0.0.0:8000 \
    DATA_DIR=/data \
    STATE_DIR=/var/lib/experiment-etl \
    RUN_DIR=/tmp/experiment-etl \
    # For `docker exec CONTAINER psql`.
    PGHOST=/tmp/experiment-etl \
    PGDATABASE=experiment_etl \
    PGUSER=etl
RUN setpriv --reuid etl --regid etl --clear-groups scripts/service/cluster.sh >/tmp/cluster \
 && mv /tmp/cluster cluster.tar.zst
# The version is pyproject.toml's; a test compares.
LABEL org.opencontainers.image.title="Experiment ETL" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.description="CSV exports of a lab in, features in Postgres out"
USER etl
EXPOSE 8000
VOLUME /var/lib/experiment-etl
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["/app/scripts/healthcheck.sh"]
# As process 1 a program loses the signals that it does not handle yet. These wait until it does, so that a
# `docker stop` right after the start is not overheard.
ENTRYPOINT ["env", "--block-signal=TERM,INT,QUIT", "/app/scripts/start.sh"]
CMD ["all"]
