# Tests that a reader of the handouts can do what they say. FULL=1 runs every command
# of every block, which takes minutes.
bats_require_minimum_version 1.5.0

setup() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  unset MAKEFLAGS MFLAGS LAB_LANG STAGE LAB BUILD ALL OWN FORCE
  [ -d solutions ] || skip "the labs are completed from solutions/"
}

@test "each command of a text is run or says why not, and what it names exists" {
  local text failed=0
  for text in README.md handouts/*.md; do
    tests/kit/transcript -n "$text" || failed=1
  done
  return $failed
}

@test "a text whose commands fail, print other things or are missed is noticed" {
  cd "$BATS_TEST_TMPDIR"
  says() { # WORDS: of what transcript prints about text.md
    run "$BATS_TEST_DIRNAME/transcript" "$@" text.md
    [ "$status" = 1 ]
  }
  cp -r "$BATS_TEST_DIRNAME/../../"{Makefile,scripts,labs,solutions} .
  mkdir tests
  cp "$BATS_TEST_DIRNAME/../points" tests
  printf '%s\n' '```' '$ sh -c "exit 3"' '```' '```sh' 'echo 17 apples' '```' >text.md
  says
  [[ $output == *'text.md:3: status 3: sh -c "exit 3"'* && $output == *'1 failed, 0 not run'* ]]
  printf '%s\n' '```' '$ echo "17 pears"' '4 apples' '...' '```' >text.md
  says
  [[ $output == *'not printed: # apples'*'text.md:5: not as shown'* ]]
  printf '%s\n' 'See `make tset`.' '```' '$ make bench BENCH=none; scripts/none' 'make check STAGE=01' \
    '```' '<!-- note -->' '```' 'make check STAGE=99' >text.md
  says -n
  [[ $output == *'no target tset'*'no scripts/none'*'no benchmark none'* ]]
  [[ $output == *'a comment that means nothing'*'a command that nobody runs'*'without an end'* ]]
}

@test "every command of the texts runs, and prints what is shown" {
  [ -n "${FULL:-}" ] || skip "FULL=1 runs them"
  unshare -rnpf --mount-proc true 2>/dev/null || skip "network and process namespaces are not allowed here"
  local text failed=0
  make -s tools
  for text in README.md handouts/*.md; do
    rm -rf "$BATS_TEST_TMPDIR/tree"
    mkdir -p "$BATS_TEST_TMPDIR/tree/build" "$BATS_TEST_TMPDIR/tree/tests"
    cp -a Makefile README.md .gitignore scripts labs solutions handouts www "$BATS_TEST_TMPDIR/tree"
    cp -a build/tools "$BATS_TEST_TMPDIR/tree/build"
    cp -a tests/*.* tests/points tests/tools tests/explore tests/kit "$BATS_TEST_TMPDIR/tree/tests"
    # shellcheck disable=SC2016  # for the other shell
    (cd "$BATS_TEST_TMPDIR/tree" && timeout -k 5 300 unshare -rnpf --mount-proc --kill-child \
      bash -c 'ip link set lo up && exec tests/kit/transcript "$1"' - "$text" 3>&- 4>&-) || failed=1
  done
  return $failed
}
