#!/usr/bin/env bash
# What cargo calls in place of rustc while it builds the services with counters in them: leaves out link-time optimisation,
# which comes after the counters are put in and, with them, would take longer than all the rest. Cargo's own setting would
# change the names by which a function's counts are found, and another level of optimisation the functions.
set -euo pipefail
arguments=()
while (($# > 0)); do
    case "$1 ${2:-}" in
        "-C lto" | "-C lto="* | "-C linker-plugin-lto") shift 2 ;;
        *) arguments+=("$1") && shift ;;
    esac
done
exec "${arguments[@]}"
