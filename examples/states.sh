#!/bin/sh
# A job through every state by curl alone, and one that kills the server, which ends under review.
# Needs `rekindle` and `curl` on the PATH; works in an empty folder.
set -eu

grpc=127.0.0.1:0
http=127.0.0.1:0

# An executor whose command kills the server that runs it.
cat >rekindle.toml <<'END'
[executors.command.killer]
argv = ["sh", "-c", "kill -9 $REKINDLE_SERVER_PID"]
END

# serve: starts the server and waits until it is ready, or dead; its pid is $server.
serve() {
    rm -f ready
    mkfifo ready
    rekindle serve --config rekindle.toml --data store --grpc "$grpc" --http "$http" \
        >ready 2>>server.log &
    server=$!
    exec 3<ready
    while read -r word place <&3; do
        case $word in
            grpc:) grpc=${place#http://} ;;
            http:) http=${place#http://} ;;
            next:*) return ;;
        esac
    done
}
trap 'kill -9 $server 2>/dev/null || true' EXIT

# post PATH BODY, get PATH: one request; what is no 2xx ends the script.
post() {
    curl -sS --fail-with-body -H 'Content-Type: application/json' -d "$2" "http://$http/v1/$1"
}
get() {
    curl -sS --fail-with-body "http://$http/v1/$1"
}
# member NAME: its text in the JSON on standard input.
member() {
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}
# is ID STATUS: how a job must stand.
is() {
    found=$(get "jobs/$1" | member status)
    echo "$1 $found"
    [ "$found" = "$2" ] || { echo "expected: $2" >&2; exit 1; }
}
# claim TYPE: its token is $token.
claim() {
    token=$(post jobs/claim "{\"types\":[\"$1\"],\"worker\":\"curl\"}" | member token)
}

serve
job=$(post jobs '{"type":"mail","payload":{"to":"ada"},"delay_ms":3600000}' | member id)
is "$job" scheduled
post "jobs/$job/retry" '{}' >/dev/null
is "$job" pending
claim mail
is "$job" processing
post "jobs/$job/heartbeat" "{\"token\":\"$token\",\"progress\":{\"percent\":40}}" >/dev/null
post "jobs/$job/release" "{\"token\":\"$token\",\"reason\":\"busy\"}" >/dev/null
is "$job" pending
claim mail
post "jobs/$job/fail" "{\"token\":\"$token\",\"error\":\"no such address\"}" >/dev/null
is "$job" scheduled
post "jobs/$job/retry" '{}' >/dev/null
claim mail
post "jobs/$job/fail" "{\"token\":\"$token\",\"error\":\"never\",\"last\":true}" >/dev/null
is "$job" failed
post "jobs/$job/retry" '{}' >/dev/null
post "jobs/$job/cancel" '{"reason":"not today"}' >/dev/null
is "$job" cancelled
post "jobs/$job/retry" '{}' >/dev/null
old=$token
claim mail
# A late completion with an old token changes nothing.
late=$(curl -sS -o late.json -w '%{http_code}' -H 'Content-Type: application/json' \
    -d "{\"token\":\"$old\"}" "http://$http/v1/jobs/$job/complete")
echo "an old token: $late $(member code <late.json)"
[ "$late" = 409 ]
is "$job" processing
post "jobs/$job/complete" "{\"token\":\"$token\",\"result\":{\"sent\":true}}" >/dev/null
is "$job" completed

# Three servers die with this one; the fourth does not.
killer=$(post jobs '{"type":"killer"}' | member id)
wait $server 2>/dev/null || true
for _ in 2 3; do
    serve
    wait $server 2>/dev/null || true
done
serve
until [ "$(get "jobs/$killer" | member status)" != processing ]; do
    sleep 0.1
done
is "$killer" needs_review
get reviews
echo
post "reviews/$killer/fail" '{"reason":"it kills servers"}' >/dev/null
is "$killer" failed
kill $server
wait $server
