# Tests that the tests of stage 11 run: those that need io_uring may be skipped where
# it is denied, with the reason, and nowhere else.
bats_require_minimum_version 1.5.0

setup() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  : "${TOOLS:=$PWD/build/tools}"
  STAGE=tests/11-proactor-echo.bats
}

# What denies io_uring, and how old the kernel is, seen without trying it.
permitted() {
  local version
  version=$(uname -r | sed 's/[^0-9.].*//')
  [ "$(printf '5.19\n%s\n' "$version" | sort -V | head -n 1)" = 5.19 ] &&
    grep -q '^Seccomp:.*0$' /proc/self/status &&
    { [ ! -e /proc/sys/kernel/io_uring_disabled ] ||
      [ "$(cat /proc/sys/kernel/io_uring_disabled)" = 0 ]; }
}

# outcome TOOLS: what a test that needs io_uring and one of a bonus come to.
outcome() {
  TOOLS=$1 BIN=/nonexistent run scripts/bats --formatter tap \
    --filter '^io_uring: (a line comes back|one accept serves)' "$STAGE"
}

@test "where the kernel permits io_uring, the probe says so" {
  permitted || skip "old kernel, seccomp filter, or kernel.io_uring_disabled"
  "$TOOLS/uring_probe"
  "$TOOLS/uring_probe" buffers
}

@test "a test is skipped by the probe and by nothing else" {
  [ "$(grep -c 'skip "' "$STAGE")" = 1 ]
  # Each test about io_uring begins with the question, no other one has it.
  diff <(grep -A1 '^@test "io_uring: ' "$STAGE" | grep -c '^  needs_uring') \
    <(grep -c '^@test "io_uring: ' "$STAGE")
  [ "$(grep -c '^  needs_uring' "$STAGE")" = "$(grep -c '^@test "io_uring: ' "$STAGE")" ]
}

@test "where the probe says yes, nothing is skipped" {
  "$TOOLS/uring_probe" buffers || skip "no io_uring here"
  outcome "$TOOLS"
  [ "$(grep -c '^not ok' <<<"$output")" = 2 ] # there is no program
  [[ $output != *'# skip'* ]]
}

@test "where io_uring is denied, they are skipped, and say why" {
  local error
  for error in EPERM ENOSYS; do
    mkdir -p "$BATS_TEST_TMPDIR/$error"
    ln -s "$(realpath "$TOOLS")"/* "$BATS_TEST_TMPDIR/$error"
    rm "$BATS_TEST_TMPDIR/$error/uring_probe"
    printf '#!/bin/sh\nLD_PRELOAD=%s/faults.so FAULTS=io_uring_setup:error=%s exec %s/uring_probe "$@"\n' \
      "$TOOLS" $error "$TOOLS" >"$BATS_TEST_TMPDIR/$error/uring_probe"
    chmod +x "$BATS_TEST_TMPDIR/$error/uring_probe"
    outcome "$BATS_TEST_TMPDIR/$error"
    [ "$status" = 0 ]
    [ "$(grep -c '# skip no io_uring here: io_uring_setup: ' <<<"$output")" = 2 ]
  done
}
