# explore SCENARIO...: runs the threads of these scenarios in every order that
# matters (handouts/explorer.md), with the learner's files from $PLAIN.
explore() {
  local status=0 out=$BATS_TEST_TMPDIR/explore
  timeout -k 2 "$(scaled 40)" "$ROOT/tests/explore/run" "$PLAIN" "$@" \
    >"$out" 2>&1 </dev/null 3>&- 4>&- || status=$?
  [ "$status" -ne 0 ] || return 0
  [ "$status" -ne 124 ] || echo "no end after $(scaled 40) s" >>"$out"
  fail "explore $*" "in every order of their steps, threads get what the header promises" \
    "$(sed '/^ok /d' "$out" | LC_ALL=C tr -c '\n\t -~' '?' | head -n 60)" || :
  printf 'repeat:   make explore STAGE=%s SCENARIO=%s\n' "${STAGE%%-*}" \
    "$(sed -n 's/^FAIL \([^ ]*\).*/\1/p' "$out" | grep . || echo "$1")"
  return 1
}
