#!/bin/sh
# A loop repairs a broken crate, a test in each iteration, while its server is killed three times
# with SIGKILL. At the end every bug is fixed, once, and nothing was counted twice: exit code 0 says
# that all of it held.
#
# Needs `rekindle`, `cargo` and `git` on the PATH, and Linux; no network. Works in a temporary folder
# and leaves nothing.
set -eu

for program in rekindle cargo git; do
    command -v $program >/dev/null || { echo "$program is not on the PATH" >&2; exit 1; }
done
example=${EXAMPLES:+$EXAMPLES/loop-fix-tests}
example=${example:-$(cd "$(dirname "$0")" && pwd)}
bugs=5
here=$(mktemp -d "${TMPDIR:-/tmp}/loop-fix-tests.XXXXXX")
here=$(cd "$here" && pwd -P)
cd "$here"
: >server.log
: >agent.log

# Whoever runs this may be git or cargo itself: a hook, a test.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE RUSTFLAGS RUSTDOCFLAGS CARGO_BUILD_TARGET RUST_BACKTRACE
export CARGO_TARGET_DIR="$here/target" CARGO_TERM_COLOR=never
# What steps see of the server's environment; they build where their worktree is.
export AGENT_LOG="$here/agent.log"
inherit=PATH,HOME,USER,CARGO_HOME,CARGO_TERM_COLOR,RUSTUP_HOME,RUSTUP_TOOLCHAIN,AGENT_LOG
export REKINDLE__LOOPS__INHERIT=$inherit

server=''
# started: the processes that a server started for loops: the store is in their arguments (a shim,
# which watches a command), or in their environment (the command, and whatever that started).
store="[/]${here#/}/data/" # A pattern, so that whoever looks for it is not found.
started() {
    for file in $(grep -la -e "$store" /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null); do
        pid=${file#/proc/}
        echo "${pid%%/*}"
    done | sort -u
}
# kill_started: ends them, and what they begin meanwhile.
kill_started() {
    while pids=$(started) && [ -n "$pids" ]; do
        kill -9 $pids 2>/dev/null || true
    done
}
end() {
    code=$?
    trap - EXIT HUP INT TERM
    if [ $code -ne 0 ]; then
        {
            echo "FAILED. The log of the agent:"
            cat agent.log
            echo "What the server said:"
            cat server.log
        } >&2 || true
    fi
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
    kill_started
    cd /
    rm -rf "$here"
    exit $code
}
trap end EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "$*" >&2
    exit 1
}
# wait_for WHAT COMMAND…: until the command says yes, for a minute at most.
wait_for() {
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "waited in vain: $what"
        sleep 0.1
    done
}

# serve: starts the server and waits until it is ready; its pid is $server. The first start takes
# free ports, the others the same.
grpc=127.0.0.1:0
http=127.0.0.1:0
serve() {
    rm -f ready
    mkfifo ready
    rekindle serve --data data --grpc "$grpc" --http "$http" --loop-commands \
        >ready 2>>server.log 3<&- &
    server=$!
    exec 3<ready
    while read -r word place <&3; do
        case $word in
            grpc:) grpc=${place#http://} ;;
            http:) http=${place#http://} ;;
            next:*)
                export REKINDLE_HTTP="$http"
                return
                ;;
        esac
    done
    fail "the server did not start"
}

# look: how the execution stands: its $status, the iterations that are $used, and the $iteration and
# $step that run (step 0 is the run). What was used never becomes less, whenever it is looked.
used=0
look() {
    before=$used
    rekindle loop show "$execution" --json >shown.json || fail "the server shows no execution"
    status=$(sed 's/.*"status":"\([a-z_]*\)".*/\1/' shown.json)
    used=$(number iterations)
    begun=$(sed -n 's/.*"step":{[^}]*"iteration":\([0-9]*\),"step":\([0-9]*\)}.*/\1 \2/p' shown.json)
    iteration=${begun% *}
    step=${begun#* }
    [ "$used" -ge "$before" ] || fail "used iterations went back from $before to $used"
    case $status in
        failed | cancelled | needs_review)
            rekindle loop show "$execution" >&2
            fail "it is $status"
            ;;
    esac
}
# number NAME: of what is used.
number() {
    sed "s/.*\"used\":{[^}]*\"$1\":\([0-9]*\).*/\1/" shown.json
}
# runs N: whether the run of iteration N, or of a later one, goes on, and its agent has begun.
runs() {
    look
    [ "$status" != completed ] || fail "it was completed before iteration $1 was seen"
    [ "$status" = running ] && [ "$step" = 0 ] && [ "$iteration" -ge "$1" ] \
        && grep -q "^iteration $iteration " agent.log
}
completed() {
    look
    [ "$status" = completed ]
}
nothing_started() {
    [ -z "$(started)" ]
}
no_workspace() {
    [ -z "$(ls data/loops/workspaces)" ]
}
# kill_server N: when iteration N is seen to run, or a later one.
killed=0
kill_server() {
    wait_for "iteration $1 runs" runs "$1"
    [ "$iteration" -gt "$killed" ] || fail "iteration $iteration was killed in before"
    killed=$iteration
    kill -9 "$server"
    wait "$server" 2>/dev/null || true
    server=''
}
# went_on HOW: what is used after the start, beside what was before the kill.
went_on() {
    old=$used
    look
    echo "killed in iteration $killed, $1: $old used before, $used after"
}

# The project, as its authors have it: a repository, with the agent in it.
cp -R "$example/broken" project
rm -rf project/target
cp -R "$example/agent" project/agent
git init --quiet project
cd project
git config user.name agent
git config user.email agent@localhost
git config commit.gpgsign false
git config core.hooksPath none
git add .
git commit --quiet --message "durations"
if cargo test --offline >../before.log 2>&1; then
    fail "the crate is not broken"
fi
grep '^test result: ' ../before.log || { cat ../before.log >&2; exit 1; }
cd ..

serve
plan=$(rekindle loop start "$example/plan.md")
execution=$(rekindle loop list --plan "$plan" --json | sed 's/.*"id":"\([^"]*\)".*/\1/')

kill_server 1
serve
went_on "its agent goes on and is taken over"

kill_server 2
wait_for "the agent ends without a server" nothing_started
serve
went_on "its agent ended meanwhile, on record"

kill_server 4
kill_started
serve
went_on "its agent too: it is done again"

wait_for "it is completed" completed
echo
rekindle loop show "$execution"
echo
cat agent.log

# Nothing was counted twice: an iteration costs 0.02, and one attempt died.
[ "$(number cost_micros)" -le $((used * 20000)) ] || fail "it cost more than $used iterations do"
[ "$(number attempts)" -le 1 ] || fail "more than one attempt was charged"
grep -q "\"progress_micros\":9000000," shown.json || fail "not all 9 tests are told to pass"

# What it worked in is gone, and the branch has its work.
wait_for "the worktree goes" no_workspace
wait_for "no process is left" nothing_started
kill "$server"
wait "$server" || fail "the server did not end well"
server=''
cd project
[ "$(git worktree list | wc -l)" -eq 1 ] || fail "the repository still has the worktree"
git merge --quiet --ff-only rekindle/fix
echo
git log --format='%h %s'
[ "$(git log --format=%s | grep '^fix ' | sort -u | wc -l)" -eq $bugs ] || fail "a fix is missing"
[ "$(git log --format=%s | grep -c '^fix ')" -eq $bugs ] || fail "a bug was fixed twice"
[ -z "$(git status --porcelain)" ] || fail "something is not committed"
cargo test --offline >../after.log 2>&1 || { cat ../after.log >&2; fail "the tests fail"; }
grep '^test result: ' ../after.log
