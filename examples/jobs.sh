#!/bin/sh
# 10,000 jobs from JSONL, two workers, SIGKILL of the server in the middle, restart: every job is
# completed exactly once. Needs `rekindle` on the PATH; works in an empty folder.
set -eu

jobs=10000
# The first start takes free ports, the second one the same.
grpc=127.0.0.1:0
http=127.0.0.1:0

# serve: starts the server and waits until it is ready; its pid is $server.
serve() {
    rm -f ready
    mkfifo ready
    rekindle serve --data store --grpc "$grpc" --http "$http" >ready 2>>server.log &
    server=$!
    # Keeps reading, so that the server can go on to write.
    exec 3<ready
    while read -r word place <&3; do
        case $word in
            grpc:) grpc=${place#http://} ;;
            http:) http=${place#http://} ;;
            next:*)
                export REKINDLE_ADDR="$grpc"
                return
                ;;
        esac
    done
    echo "the server did not start:" >&2
    cat server.log >&2
    exit 1
}
trap 'kill -9 $server ${worker1:-} ${worker2:-} 2>/dev/null || true' EXIT

serve
# A claim whose answer was lost with the server comes back after this time.
rekindle job type set square --lease 5s

# Each line is the payload of a job.
i=0
while [ $i -lt $jobs ]; do
    i=$((i + 1))
    echo "{\"n\":$i}"
done >jobs.jsonl
rekindle job submit square --file jobs.jsonl --timeout 60s >submitted.jsonl 2>submit.log &
submit=$!

# The command of a worker gets the payload on standard input; what it prints is the result.
rekindle job work square --concurrency 4 -- cat 2>worker1.log &
worker1=$!
rekindle job work square --concurrency 4 -- cat 2>worker2.log &
worker2=$!

# In the middle of it:
until [ "$(rekindle job list --status completed --count)" -ge $((jobs / 3)) ]; do
    sleep 0.1
done
kill -9 $server
wait $server 2>/dev/null || true
serve

# The workers waited for the server, and go on.
wait $submit
until [ "$(rekindle job list --status completed --count)" -eq $jobs ]; do
    sleep 0.2
done
kill $worker1 $worker2
wait $worker1 $worker2
worker1='' worker2=''

# Every line was acknowledged, and has a job of its own.
[ "$(cut -d'"' -f6 submitted.jsonl | sort -u | wc -l)" -eq $jobs ]
# Each job was completed once, whoever began with it.
rekindle job list --limit 0 --json --events >listed.jsonl
[ "$(wc -l <listed.jsonl)" -eq $jobs ]
[ "$(grep -c '"event":"completed"' listed.jsonl)" -eq $jobs ]
[ "$(grep -o '"event":"completed"' listed.jsonl | wc -l)" -eq $jobs ]

echo "completed: $(rekindle job list --status completed --count) of $jobs, each of them once"
kill $server
wait $server
trap - EXIT
