# Tests for stage 13, the HTTP parser.
load lib

# Nothing here has a socket: the parser is linked with programs of tests/tools
# and given bytes. The bytes are in 13-cases.txt; see parse_check.c for what is
# done with them.
CASES=tests/13-cases.txt CORPUS=tests/corpus/13
PARSER=(http_parser.c http_semantics.c http_chunked.c)

# --- TODO 1 to 3: the request line

@test "a method is a token, and one space follows" {
  likely "read_method(): what stops the scan is not looked at, or taken too early"
  parse cases "$CASES" method
}

@test "a target has only bytes that a URI may have, and one space follows" {
  likely "read_target(): % needs two digits, and [ ] are not for a path"
  parse cases "$CASES" target
}

@test "a version is HTTP, a digit, a dot, a digit; other major versions get 505" {
  likely "read_version() compares too little, or says 505 before the line has ended"
  parse cases "$CASES" version
}

# --- TODO 4: the header lines

@test "header lines are read strictly, and in order" {
  likely "a part decides by how many bytes there are, or starts at the wrong place"
  parse cases "$CASES" fields
}

@test "bytes that come one at a time are read once" {
  likely "a part begins again at its start: go on at p, not at value.at or name.at"
  loads singly
}

@test "the parser allocates nothing, prints nothing and keeps nothing" {
  likely "a call of libc that needs memory or a descriptor, or a variable of the file"
  local file object wrong stubs=none
  parse cases "$CASES" version
  parse cases "$CASES" fields
  # What is not done yet says so, and needs these.
  ! grep -q 'is not done: ' "$PLAIN"/http_*.[ch] || stubs='exit|fputs|fwrite|stderr'
  for file in "${PARSER[@]}"; do
    object=$BATS_TEST_TMPDIR/${file%.c}.o
    # Without -fno-pic a constant table with pointers in it counts as a variable.
    ${CC:-cc} -std=c17 -D_GNU_SOURCE -O1 -fno-pic -c -o "$object" "$PLAIN/$file"
    wrong=$(nm "$object" | awk -v harmless="^(http_[a-z_]*|_*(mem|str)[a-z_]*|inet_pton|to(low|upp)er|is[a-z]*|__ctype_[a-z_]*|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|bsearch|__errno_location|__assert_fail|$stubs)$" '
      $1 == "U" && $2 !~ harmless { print "calls " $2 }
      $2 ~ /^[bBdDC]$/ { print "has the variable " $3 }' | paste -sd, | sed 's/,/, /g')
    expect "look at the symbols of ${object##*/}" "" "$wrong"
  done
}

# --- TODO 5 and 6: hosts and targets

@test "HTTP/1.1 needs exactly one Host, and a valid one" {
  likely "is_authority() accepts too much, or a second Host is not noticed"
  parse cases "$CASES" host
}

@test "each of the four forms of a target has its methods" {
  likely "http_is_target(): CONNECT takes host:port only, * is for OPTIONS only"
  parse cases "$CASES" forms
}

@test "the host and the path of a target are found" {
  likely "r->host and r->path: the header says what they are for each form"
  parse lookup
}

# --- TODO 7: the body

@test "Content-Length or Transfer-Encoding tells where the body ends" {
  likely "a number is taken that is not digits only, or the list is not read to its end"
  parse cases "$CASES" framing
}

@test "a request that can be read in two ways is refused" {
  likely "decide_body() prefers one of the two fields instead of refusing both"
  parse cases "$CASES" smuggling
}

@test "a verdict is final, and the next request begins with nothing" {
  likely "something of the last request is left: http_init() has to reset it"
  parse final
}

# --- TODO 8: keep-alive

@test "a connection goes on unless somebody wants it closed" {
  likely "Connection is a list; close counts more than keep-alive"
  parse cases "$CASES" keep-alive
}

@test "generated requests come back as they were made" {
  likely "some combination of parts that no other test has"
  parse generated 13 3000
}

# --- TODO 9: limits

@test "what is too long gets a status of its own" {
  likely "over_limit() says >= for >, or a part asks it after it has looked at the byte"
  parse cases "$CASES" limits
  parse limits
}

# --- TODO 10 and 11: chunked bodies

@test "chunks are taken apart" {
  likely "a size is not strictly hexadecimal, or the CR LF behind the data is not checked"
  parse cases "$CASES" chunks
}

@test "chunk extensions are checked and dropped" {
  likely "extension_byte(): look up the state in the diagram of the handout"
  parse cases "$CASES" extensions
}

@test "trailer fields are checked and dropped" {
  likely "trailer_byte(): a line is a line, as in the head"
  parse cases "$CASES" trailers
  parse chunk-limits
}

@test "whatever the bytes are, all ways to cut them lead to the same" {
  likely "an input that a fuzzer has found: run it alone to see"
  build fuzz_parser -DSTANDALONE "${PARSER[@]}"
  may_read "$CORPUS"
  play "$BIN/fuzz_parser" "$ROOT/$CORPUS"/*
}

@test "http-parse prints the canonical form" {
  likely "the same as in another test: this one only looks at the whole program"
  local n count wrong
  [ -x "$BIN/parse_check" ] || build parse_check "${PARSER[@]}"
  count=$("$BIN/parse_check" count "$ROOT/$CASES")
  [ "$count" -ge 250 ]
  for ((n = 1; n <= count; n += 31)); do http_parse_prints "$n"; done
  for wrong in '-c 0' '-c 1e3' body; do
    # shellcheck disable=SC2086  # two words
    run_program http-parse $wrong
    expect "see the exit status of http-parse $wrong" 64 "$STATUS"
    expect_match "see what it says" 'usage: http-parse' "$ERR"
  done
}

# --- TODO 12 and 13: speed

@test "the fast scan stops where the plain one does, and needs an eighth of the loads" {
  likely "the first suspect may be in the class; the last bytes are not sixteen"
  loads long
  build parse_scan
  play "$BIN/parse_scan"
  build parse_scan -U__SSE2__ # the way of machines that have no such instruction
  play "$BIN/parse_scan"
}

@test "a usual header line is read in one go" {
  likely "read_usual_line() gives up too early, or leaves the value to read_value()"
  parse cases "$CASES" fields
  parse generated 31 3000
  loads usual
}

# --- what these tests are written with

# build TOOL [OPTIONS] [FILES]: compiles TOOL of tests/tools and files of the
# parser, with the sanitizers that the program in $BIN has, next to it.
build() {
  local tool=$1 word options=() checks=''
  shift
  for word; do options+=("${word/#http_/$BIN/http_}"); done
  case $BIN in *asan*) checks='-fsanitize=address,undefined -fno-sanitize-recover=undefined' ;; esac
  # shellcheck disable=SC2086  # a list of options
  compile "$BIN/$tool" $checks $(sources "$tool") "${options[@]}"
}

sources() { # of a TOOL: it may have parts, tool-part.c
  find "$ROOT/tests/tools" -name "$1.c" -o -name "$1-*.c" -o -name parse_cases.c
}

compile() { # PROGRAM OPTIONS AND FILES
  local program=$1
  shift
  ${CC:-cc} -std=c17 -D_GNU_SOURCE -O1 -g -I"$BIN" -o "$program" "$@" \
    >"$BATS_TEST_TMPDIR/build" 2>&1 || {
      fail "compile the parser with ${program##*/}.c" "a program" \
        "$(grep -E 'error|undefined' "$BATS_TEST_TMPDIR/build" | head -n 12)"
      return 1; }
}

# may_read FILE: even a submission that is graded may read what it is to parse.
may_read() { [ -z "${CONFINE:-}" ] || confined+=(-r "$ROOT/$1"); }

# parse ARGUMENTS: what parse_check says about the parser.
parse() {
  [ -x "$BIN/parse_check" ] || build parse_check "${PARSER[@]}" || return 1
  may_read "$CASES"
  play "$BIN/parse_check" "${@/#$CASES/$ROOT/$CASES}"
}

# loads WHAT: what parse_loads has counted. The parser itself is compiled for
# ThreadSanitizer, whose library parse_loads replaces.
loads() {
  local file objects=()
  for file in "${PARSER[@]}"; do
    objects+=("$BATS_TEST_TMPDIR/$file.o")
    ${CC:-cc} -std=c17 -D_GNU_SOURCE -O1 -fno-builtin -fsanitize=thread -c \
      -o "$BATS_TEST_TMPDIR/$file.o" "$BIN/$file" 2>"$BATS_TEST_TMPDIR/build" ||
      skip "this compiler cannot announce loads: it has no -fsanitize=thread"
  done
  compile "$BIN/parse_loads" $(sources parse_loads) "${objects[@]}" \
    -Wl,--wrap=memcmp,--wrap=memchr,--wrap=memcpy,--wrap=strncasecmp
  play "$BIN/parse_loads" "$1"
}

# Case N of the file, through the program.
http_parse_prints() {
  local expected options actual chunk
  expected=$("$BIN/parse_check" expected "$ROOT/$CASES" "$1")
  options=${expected%%$'\n'*} expected=${expected#*$'\n'}
  for chunk in 1 100000; do
    # shellcheck disable=SC2086  # "-B" or nothing
    actual=$("$BIN/parse_check" input "$ROOT/$CASES" "$1" |
      "$PLAIN/http-parse" -c $chunk ${options#* } 2>&1) || :
    [[ $expected != *' ...' ]] || actual=${actual%%$'\n'*}
    expect "give http-parse -c $chunk ${options#* } the input of line ${options%% *} in $CASES" \
      "${expected% ...}" "$actual"
  done
}
