#!/usr/bin/env bash
# Unpacks Debian's RabbitMQ, Redis with TLS, PostgreSQL with TLS and PgBouncer into .engines/, for the tests of other engines.
# Does not install them: installed, they would start as services. Needs apt-get, and root when its lists are not there yet.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p .engines/packages
cd .engines/packages
apt-cache show rabbitmq-server >/dev/null 2>&1 || apt-get update -qq

depends() { # on what these packages do
  apt-cache depends --no-pre-depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" \
    | sed -n 's/^ *|\?Depends: *\([a-z][^<>]*\)$/\1/p' | sort -u
}
libraries() { # of them, without those that every machine has, and without the compiler that PostgreSQL would use
  grep '^lib' | grep -vE '^lib(c6|gcc-s1|stdc\+\+6|llvm[0-9]*|perl.*)$' || true
}

postgres=$(apt-cache search --names-only '^postgresql-[0-9]+$' | cut -d' ' -f1 | sort -V | tail -n 1)
erlang=$(depends rabbitmq-server | grep '^erlang-')
# shellcheck disable=SC2086  # words
erlang=$({ echo "$erlang" && depends $erlang; } | grep '^erlang-' | sort -u)
direct=$(depends redis-tools pgbouncer "$postgres" erlang-base | libraries)
# shellcheck disable=SC2086  # words
apt-get download -qq rabbitmq-server $erlang redis-server redis-tools pgbouncer "$postgres" $direct $(depends $direct | libraries)
for package in ./*.deb; do
  dpkg -x "$package" ..
done
cd ..
rm -r packages
# Debian's Erlang looks for itself where it would have been installed.
sed -i "s|=/usr/lib/erlang$|=$PWD/usr/lib/erlang|" usr/lib/erlang/bin/erl usr/lib/erlang/erts-*/bin/erl
echo "unpacked: $(basename "$postgres"), $(ls usr/sbin usr/bin | grep -cE '^(rabbitmq-server|redis-server|pgbouncer)$') servers"
