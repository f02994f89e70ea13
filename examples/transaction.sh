#!/bin/sh
# One transaction over a message, a job, a key and another job (examples/transaction.json), with
# SIGKILL of the server at some moment around it: all of it happened, or none. Rounds: $1 (10).
# Needs `rekindle` on the PATH; works in an empty folder.
set -eu

rounds=${1:-10}
example=${EXAMPLES:-$(dirname "$0")}/transaction.json
grpc=127.0.0.1:0
http=127.0.0.1:0

# serve: starts the server and waits until it is ready; its pid is $server.
serve() {
    rm -f ready
    mkfifo ready
    rekindle serve --data store --grpc "$grpc" --http "$http" >ready 2>>server.log &
    server=$!
    exec 3<ready
    while read -r word place <&3; do
        case $word in
            grpc:) grpc=${place#http://} ;;
            http:) http=${place#http://} ;;
            next:*)
                export REKINDLE_ADDR="$grpc" REKINDLE_HTTP="$http"
                return
                ;;
        esac
    done
    echo "the server did not start:" >&2
    cat server.log >&2
    exit 1
}
trap 'kill -9 $server 2>/dev/null || true' EXIT

# field NAME: a field of a line of JSON.
field() {
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

serve
rekindle queue create orders --visibility 1h >/dev/null
rekindle job type set invoice --lease 1h >/dev/null
rekindle kv put round 0 >/dev/null
version=$(rekindle kv get round --json | field version)

done_rounds=0
before=0
round=0
while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    echo "order $round" | rekindle queue send orders >/dev/null
    rekindle job submit invoice --payload "{\"round\":$round}" >/dev/null
    message=$(rekindle queue receive orders | field token)
    claimed=$(rekindle job claim invoice)
    job=$(echo "$claimed" | field id)
    sed -e "s/MESSAGE_TOKEN/$message/" -e "s/JOB_TOKEN/$(echo "$claimed" | field token)/" \
        -e "s/ROUND_VERSION/$version/" -e "s/ROUND/$round/g" "$example" >transaction.json

    # Somewhere before, in or behind it; what it answered nobody trusts.
    (rekindle transact transaction.json >/dev/null 2>&1 || true) &
    transact=$!
    sleep "$(printf 0.%04d $((round * 7 % 100)))"
    kill -9 $server
    wait $server 2>/dev/null || true
    wait $transact
    serve

    value=$(rekindle kv get round)
    status=$(rekindle job show "$job" --json | field status)
    receipts=$(rekindle job list --type receipt --count)
    orders=$(rekindle queue list --json | grep '"orders"' | field leased)
    found="$value $status $receipts $orders"
    if [ "$found" = "$round completed $((done_rounds + 1)) 0" ]; then
        done_rounds=$((done_rounds + 1))
        version=$(rekindle kv get round --json | field version)
        continue
    fi
    if [ "$found" != "$((round - 1)) processing $done_rounds 1" ]; then
        echo "round $round is neither all nor nothing: $found" >&2
        exit 1
    fi
    # Nothing of it: it can be done still, and then it is all there.
    before=$((before + 1))
    rekindle transact transaction.json >/dev/null
    [ "$(rekindle job show "$job" --json | field status)" = completed ]
    done_rounds=$((done_rounds + 1))
    version=$(rekindle kv get round --json | field version)
done

echo "$rounds rounds: all of it $((rounds - before)) times, nothing of it $before times, part of it never"
kill $server
wait $server
trap - EXIT
