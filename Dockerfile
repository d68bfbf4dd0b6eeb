# One image with all services and the `assent` command. Which of them a container runs is its command, as in
# docker-compose.yml. Works with BuildKit and with the builder before it.

# The manifests, with crates that are empty: it changes, and so the dependencies are built again, only if a manifest does.
FROM debian:bookworm-slim AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete && \
    find . -type d -empty -delete && \
    for crate in $(find . -mindepth 2 -name Cargo.toml -exec dirname {} +); do \
        mkdir "$crate/src" && touch "$crate/src/lib.rs" && echo 'fn main() {}' > "$crate/src/main.rs" && \
        if grep -q build-dependencies "$crate/Cargo.toml"; then echo 'fn main() {}' > "$crate/build.rs"; fi || exit 1; \
    done

FROM rust:1.95-slim-bookworm AS build
ENV CARGO_TARGET_DIR=/target
# For the allocator, which is built from C.
RUN command -v make > /dev/null || { apt-get update && apt-get install -y --no-install-recommends make; }
WORKDIR /src
COPY --from=manifests /src .
COPY scripts scripts
# The profile of `make profile`, if there is one: Cargo.lock is named because something must be there, and a pattern begins the
# other path because BuildKit looks into a folder whose name it is given.
COPY Cargo.lock targe[t]/profile/*.profdata /target/profile/
RUN scripts/release.sh && find . -name '*.rs' -delete
COPY . .
# Newer than the empty crates: cargo compares times, and the files may be older than this image. Backtraces keep their
# function names, without the bulk of debug information; cargo's own setting for it would change the names by which a
# function's counts are found in the profile.
RUN find . -name '*.rs' -exec touch {} + && scripts/release.sh && strip --strip-debug /target/programs/*

FROM debian:bookworm-slim
RUN groupadd --gid 10001 assent && \
    useradd --no-create-home --shell /usr/sbin/nologin --uid 10001 --gid assent assent
COPY --from=build /target/programs/ /usr/local/bin/
USER assent
CMD ["assent", "--help"]
