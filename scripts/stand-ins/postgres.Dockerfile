# A stand-in for the official image of Postgres: Debian's package, the same user, folders and environment variables.
ARG BASE
FROM $BASE
ARG MAJOR
# The user has the official image's ids. The cluster that the package makes is thrown away.
RUN groupadd --system --gid 999 postgres && \
    useradd --system --uid 999 --gid postgres --home-dir /var/lib/postgresql --shell /bin/bash postgres && \
    apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "postgresql-$MAJOR" && \
    rm -rf /var/lib/apt/lists/* /etc/postgresql "/var/lib/postgresql/$MAJOR" && \
    install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data && \
    install -d -o postgres -g postgres -m 3777 /var/run/postgresql
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/$MAJOR/bin:$PATH LANG=C.UTF-8
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
