#!/bin/sh
# Make a PostgreSQL server program available to the tests. Where none is installed and apt-get may be used, Debian's package
# is installed; where that cannot be done the tests marked `postgres` are skipped with a word, unless
# MATTERLOOP_NEED_POSTGRES=1 (set in CI), which makes it an error. Nothing is started here: the tests start their own server.
set -u
home=${POSTGRES_HOME:-/usr/lib/postgresql}

server() {
    command -v postgres 2>/dev/null || ls "$home"/*/bin/postgres 2>/dev/null | sort -V | tail -n 1 | grep .
}

give_up() {
    echo "postgres.sh: $1; tests marked postgres are skipped unless MATTERLOOP_TEST_POSTGRES names a server" >&2
    [ "${MATTERLOOP_NEED_POSTGRES:-0}" = 1 ] && exit 1
    exit 0
}

if found=$(server); then
    echo "PostgreSQL server: $found"
    exit 0
fi
[ -n "${MATTERLOOP_TEST_POSTGRES:-}" ] && { echo "PostgreSQL server: the one MATTERLOOP_TEST_POSTGRES names"; exit 0; }
command -v apt-get >/dev/null 2>&1 || give_up "no server is installed and there is no apt-get"
[ "$(id -u)" = 0 ] || give_up "no server is installed and only root may install one"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if apt-get update -q >"$log" 2>&1 && apt-get install -q -y --no-install-recommends postgresql >>"$log" 2>&1 && found=$(server); then
    rm -f "$log"
    echo "PostgreSQL server: $found (installed now)"
    exit 0
fi
tail -n 5 "$log" >&2
rm -f "$log"
give_up "apt-get could not install postgresql"
