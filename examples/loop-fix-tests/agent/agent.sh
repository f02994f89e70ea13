#!/bin/sh
# One iteration of an agent, without a model: it runs the tests, takes the first that fails, applies
# the one patch that fits (beside this script, named after the test), and commits it.
#
# Its working directory is the worktree of the execution; its instructions come on standard input.
# What it prints is kept with the iteration; what it says in $REKINDLE_REPORT is counted.
set -eu
here=$(dirname "$0")
instructions=$(cat)

# log WHAT: a line in the log, which whoever started the server may have asked for.
log() {
    line="iteration $REKINDLE_ITERATION attempt $REKINDLE_ATTEMPT: $*"
    echo "$line"
    echo "$line" >>"${AGENT_LOG:-/dev/null}"
}
# tests: runs them; what they print is in $TMPDIR/tests, how many pass in $passing.
tests() {
    cargo test --offline >"$TMPDIR/tests" 2>&1 || true
    passing=$(grep -c '^test .* \.\.\. ok$' "$TMPDIR/tests") || true
    # It was not even built.
    grep -q '^test result: ' "$TMPDIR/tests" || { cat "$TMPDIR/tests"; exit 1; }
}

# An iteration begins at the last commit. What an attempt that was cut off left half done goes, and
# the locks of git that died with it (nobody else works on this branch): this is what makes the step
# one that may be done twice.
rm -f "$(git rev-parse --git-dir)"/*.lock
rm -f "$(git rev-parse --git-common-dir)/$(git symbolic-ref HEAD).lock"
git reset --quiet --hard
git clean --quiet -d --force

tests
failing=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$TMPDIR/tests" | sort | head -n 1)
if [ -z "$failing" ]; then
    log "nothing to fix, $passing tests pass"
    echo "{\"progress\":$passing}" >"$REKINDLE_REPORT"
    exit 0
fi
name=${failing##*::}
log "takes $name"

# A model would think here, for minutes.
sleep 1
git apply "$here/$name.patch"

tests
git commit --quiet --all --message "fix $name" --message "$instructions"
log "fixed $name, $passing tests pass"
echo "{\"progress\":$passing,\"cost\":0.02}" >"$REKINDLE_REPORT"
