#!/usr/bin/env bash
# Durable holds a second: Stampede against Redis and PostgreSQL, on the same machine, in the same run.
#
#   loadgen/compare.sh [SECONDS a contender, default 15] [ROUNDS, default 3]
#
# Installs nothing. Needs on this machine: redis-server and redis-benchmark (7.x), the PostgreSQL server binaries (15.x:
# initdb, postgres, pgbench) and a release build (`cargo build --release --workspace`). A contender that is missing is
# named and left out.
#
# Every contender makes every hold durable before it answers, all talk to 64 connections, one request in flight on each:
#   Redis       appendonly yes, appendfsync always; one Lua script a hold: SET seat NX EX, INCR counter, LPUSH log
#   PostgreSQL  synchronous_commit on; SELECT … FOR UPDATE SKIP LOCKED LIMIT 1, UPDATE, COMMIT (pgbench, prepared)
#   Stampede    POST /v1/events/…/holds with an idempotency key, closed loop (loadgen)
# All data lies in one temporary folder, all ports are on loopback, everything that is started here is ended here.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-15}
rounds=${2:-3}
connections=64
target=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d "${TMPDIR:-/tmp}/stampede-compare.XXXXXX")
pids=()

finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
have() { command -v "$1" >/dev/null; }
await() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done; echo "did not come up: $*" >&2; return 1; }

for binary in stampede loadgen; do
    [ -x "$target/$binary" ] || { echo "missing $target/$binary: run cargo build --release --workspace" >&2; exit 2; }
done

redis_start() {
    redis_port=$(free_port)
    mkdir -p "$work/redis"
    redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$work/redis" --save "" --appendonly yes \
        --appendfsync always --daemonize no --loglevel warning >"$work/redis.log" 2>&1 &
    pids+=($!)
    await redis-cli -p "$redis_port" ping
    redis_script=$(redis-cli -p "$redis_port" script load \
        "if redis.call('SET',KEYS[1],ARGV[1],'NX','EX',420) then redis.call('INCR',KEYS[2]) redis.call('LPUSH',KEYS[3],KEYS[1]) return 1 end return 0")
}
redis_round() {
    redis-cli -p "$redis_port" flushall >/dev/null
    redis-benchmark -p "$redis_port" -c $connections -r 1000000000 -n "$((seconds * 40000))" --csv \
        evalsha "$redis_script" 3 seat:__rand_int__ held log customer 2>/dev/null | tail -1 | cut -d, -f2 | tr -d '"'
}

pg_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1; }
postgres_start() {
    local bin; bin=$(pg_bin)
    pg_port=$(free_port)
    mkdir -p "$work/pg"
    if [ "$(id -u)" = 0 ]; then chown -R nobody "$work/pg"; chmod 755 "$work"; as=(setpriv --reuid nobody --clear-groups); else as=(); fi
    "${as[@]}" "$bin/initdb" -D "$work/pg/data" -U holder --auth=trust >/dev/null
    "${as[@]}" "$bin/postgres" -D "$work/pg/data" -k "$work/pg" -p "$pg_port" -c shared_buffers=512MB \
        -c max_connections=100 -c listen_addresses= >"$work/pg.log" 2>&1 &
    pids+=($!)
    await "$bin/pg_isready" -h "$work/pg" -p "$pg_port"
    cat >"$work/hold.sql" <<'SQL'
BEGIN;
UPDATE seats SET holder = 'customer', until = now() + interval '7 minutes'
 WHERE id = (SELECT id FROM seats WHERE holder IS NULL FOR UPDATE SKIP LOCKED LIMIT 1);
COMMIT;
SQL
}
postgres_round() {
    local bin; bin=$(pg_bin)
    local sql=("$bin/psql" -q -h "$work/pg" -p "$pg_port" -U holder postgres)
    "${sql[@]}" -c "DROP TABLE IF EXISTS seats" -c "CREATE TABLE seats (id int PRIMARY KEY, holder text, until timestamptz)" \
        -c "INSERT INTO seats SELECT generate_series(1, 1000000)" -c "CREATE INDEX ON seats (id) WHERE holder IS NULL" \
        -c "VACUUM ANALYZE seats" >/dev/null 2>&1
    "$bin/pgbench" -n -h "$work/pg" -p "$pg_port" -U holder -c $connections -j 2 -M prepared -T "$seconds" -f "$work/hold.sql" postgres 2>/dev/null |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

stampede_round() {
    local dir="$work/stampede.$1" port secret key digest
    port=$(free_port)
    secret=compare-compare-compare-compare-compare
    eval "$("$target/stampede" key new)"
    "$target/stampede" serve --set "http.listen=127.0.0.1:$port" --set "data.dir=$dir" --set "auth.hs256_secret=$secret" \
        --set "auth.organizer_keys=[\"$digest\"]" --set limits.customer= --set telemetry.level=warn >"$work/stampede.log" 2>&1 &
    local pid=$!
    pids+=($pid)
    await curl -fs "http://127.0.0.1:$port/readyz"
    "$target/loadgen" onsale --url "http://127.0.0.1:$port" --organizer-key "$key" --auth-secret "$secret" --closed \
        --connections $connections --pipeline 1 --threads 1 --duration "${seconds}s" --mix hold=1 --blocks 100 --rows 100 --seats-per-row 100 \
        --json "$work/stampede.json" --quiet >/dev/null
    kill "$pid"; wait "$pid" 2>/dev/null || true
    rm -rf "$dir"
    python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); h=r["operations"]["hold"]; print(h["count"]/r["duration_s"])' "$work/stampede.json"
}

declare -A rates
if have redis-server && have redis-benchmark; then redis_start; contenders=(redis); else echo "redis-server or redis-benchmark is missing: left out"; contenders=(); fi
if [ -n "$(pg_bin)" ]; then postgres_start; contenders+=(postgres); else echo "the PostgreSQL server binaries are missing: left out"; fi
contenders+=(stampede)

for round in $(seq "$rounds"); do
    for contender in "${contenders[@]}"; do
        rate=$("${contender}_round" "$round")
        rates[$contender]+="$rate "
        printf 'round %d  %-10s %10.0f holds/s\n' "$round" "$contender" "$rate"
    done
done

for contender in "${contenders[@]}"; do echo "$contender ${rates[$contender]}"; done | python3 -c '
import statistics, sys
rows = {name: [float(x) for x in rest] for name, *rest in (line.split() for line in sys.stdin)}
own = statistics.median(rows["stampede"])
print("\n%-10s %12s %12s %12s   %s" % ("", "median/s", "min", "max", "stampede ÷ it"))
for name, rates in rows.items():
    median = statistics.median(rates)
    print("%-10s %12.0f %12.0f %12.0f   %.2f" % (name, median, min(rates), max(rates), own / median))
'
