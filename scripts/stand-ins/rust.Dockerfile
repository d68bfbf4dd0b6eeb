# A stand-in for the official image of Rust: this machine's toolchain, with the C compiler and linker that it needs, and make.
ARG BASE
FROM $BASE
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev make && \
    rm -rf /var/lib/apt/lists/*
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY toolchain /usr/local
ENV CARGO_HOME=/usr/local/cargo
