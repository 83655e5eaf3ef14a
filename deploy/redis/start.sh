#!/bin/sh
# Redis with an administrator's password, and the users of deploy/redis/users, each with its own.
set -eu -f
: "${REDIS_PASSWORD:?is not set: see .env.example}"
: "${REDIS_SERVICE_PASSWORD:?is not set: see .env.example}"
: "${REDIS_WATCHER_PASSWORD:?is not set: see .env.example}"
# An append-only file, because queued logins live here; noeviction, because a queue that forgets is none.
set -- --requirepass "$REDIS_PASSWORD" --appendonly yes --appendfsync everysec --save "" --maxmemory-policy noeviction "$@"
while read -r name rules; do
  case "$name" in
    service) password=$REDIS_SERVICE_PASSWORD ;;
    watcher) password=$REDIS_WATCHER_PASSWORD ;;
    *) continue ;;
  esac
  # shellcheck disable=SC2086  # each rule is an argument of its own
  set -- "$@" --user "$name" on ">$password" $rules
done < "$(dirname "$0")/users"
# The image's own entry point gives up root.
exec docker-entrypoint.sh redis-server "$@"
