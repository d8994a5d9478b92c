# Tests for stage 14, the web server.
load lib

# A site in a folder of its own, with a secret beside it, not below it.
make_site() {
  SITE=$BATS_TEST_TMPDIR/site
  mkdir -p "$SITE"/{sub/deep,empty,.git,.well-known} "$SITE/two words"
  cd "$SITE" || return
  echo SECRET >../outside.txt
  echo '<h1>home</h1>' >index.html
  echo '<h1>sub</h1>' >sub/index.html
  echo '<h1>two words</h1>' >'two words/index.html'
  echo hello >hello.txt
  echo deep >sub/deep/file.txt
  echo spaced >'with space.txt'
  echo percent >%41.txt
  echo SECRET >.secret
  echo SECRET >.git/config
  echo public >.well-known/public.txt
  cd "$OLDPWD" || return
}

# serve [ARGS]: a server for that site.
serve() {
  make_site
  start_server webserver -w 0 -d "$SITE" "$@"
}

# random_file NAME SIZE: bytes that no other place of a file repeats.
random_file() {
  head -c "$2" /dev/urandom >"$SITE/$1"
}

# ask STEPS: play them; CODE, HEAD and BODY are those of the first response.
ask() {
  tcp "$@"
  OUT+=$'\n' # which $(...) has taken away
  HEAD=${OUT%%$'\r\n\r\n'*} BODY=${OUT#*$'\r\n\r\n'}
  BODY=${BODY%$'\n'}
  CODE=${HEAD#HTTP/1.1 } CODE=${CODE%% *}
}

# get TARGET [FIELDS]: ask for it on a connection of its own.
get() {
  ask send "GET $1 HTTP/1.1\r\nHost: test\r\n${2:-}\r\n" response
}

# field NAME: the value of a field in HEAD.
field() {
  printf '%s\n' "$HEAD" | tr -d '\r' | sed -n "s/^$1: //p"
}

# expect_code CODE TARGET
expect_code() {
  get "$2"
  expect "send GET ${2:0:60}, and read the status" "$1" "$CODE"
}

# expect_body BODY TARGET
expect_body() {
  get "$2"
  expect "send GET $2, and read the status" 200 "$CODE"
  expect "send GET $2, and read the body" "$1" "$BODY"
}

# expect_hidden TARGET: whatever comes, it is no file.
expect_hidden() {
  get "$1"
  [[ $OUT != *SECRET* ]] ||
    fail "send GET $1" "an error, and no secret" "$CODE with a secret file"
  expect_match "send GET $1, and read the status" '^40[034]$' "$CODE"
}

has_descriptors() { [ "$(fds "$PID")" = "$1" ]; }

# --- TODO 1: from the path to the name of a file

@test "a file below the root is served" {
  serve
  expect_body hello /hello.txt
  expect_body deep /sub/deep/file.txt
  expect_code 404 /nothing.txt
  expect_code 404 /sub/nothing/file.txt
}

@test "a path is decoded, and only once" {
  likely "%25 stands for '%'; what comes out of next_byte() is not decoded again"
  serve
  expect_body spaced /with%20space.txt
  expect_body hello /%68ell%6F.txt
  expect_body hello '/hello.txt?no=%2e%2e%2F&part=/../of/the/path'
  expect_code 404 /sub%2fdeep%2ffile.txt
  expect_body percent /%2541.txt
  expect_code 404 /%41.txt
}

@test "dots and double slashes are taken out of the path" {
  likely "end_segment() has to see each segment, the last one as well"
  serve
  local path
  for path in /./hello.txt //hello.txt /sub/../hello.txt /sub/deep/../../hello.txt \
    /sub//deep/.././../hello.txt /%2e/hello.txt /sub/%2e%2E/hello.txt /sub/.%2e//hello.txt
  do
    expect_body hello "$path"
  done
}

@test "no path leads above the root" {
  likely "dots are looked for before the path is decoded, or not in each segment"
  serve
  mkdir "$BATS_TEST_TMPDIR/site-too"
  echo SECRET >"$BATS_TEST_TMPDIR/site-too/file.txt"
  local path
  for path in /../outside.txt /%2e%2e/outside.txt /..%2foutside.txt \
    /%2e%2e%2foutside.txt /sub/../../outside.txt /sub/..%2f..%2foutside.txt \
    /.%2e/outside.txt //../outside.txt /./../outside.txt /%252e%252e/outside.txt \
    /sub/%2e%2e/%2e%2e/outside.txt '/..\\outside.txt' /../site-too/file.txt \
    "/$BATS_TEST_TMPDIR/outside.txt" "/%2f$BATS_TEST_TMPDIR/outside.txt" \
    /hello.txt/../../outside.txt '/..;/outside.txt' '/..?/../outside.txt' /..
  do
    expect_hidden "$path"
  done
  expect_body hello /hello.txt
}

@test "a malformed path is refused with 400" {
  likely "next_byte() returns -1 for it, which is not a byte"
  serve
  local path
  for path in /%zz /hello%2 /% /%%41 /hello.txt%00 /hello.txt%00.html /%0g; do
    expect_code 400 "$path"
  done
}

@test "a path too long for a file is not found" {
  likely "path has PATH_LIMIT bytes, with a '/' and the final 0 in them"
  serve
  local long path
  long=$(printf '%4200s' '' | tr ' ' a)
  for path in "/${long:0:300}" "/${long:0:4091}" "/${long:0:4093}" \
    "/${long:0:4094}/" "/${long:0:4095}" "/${long:0:4096}" "/$long"
  do
    expect_code 404 "$path"
  done
}

@test "names that begin with a dot are hidden" {
  likely "end_segment() returned 404, and the path was opened all the same"
  serve
  local path
  for path in /.secret /%2esecret /.git/config /sub/../.secret /.git/../.secret \
    /sub%2f..%2f.secret
  do
    expect_hidden "$path"
    expect "send GET $path, and read the status" 404 "$CODE"
  done
  expect_body public /.well-known/public.txt
}

# --- TODO 2: the kernel guards the root

# Links out of the site, by all ways that there are.
make_links() {
  ln -s ../outside.txt "$SITE/out"
  ln -s "$BATS_TEST_TMPDIR/outside.txt" "$SITE/absolute"
  ln -s ../.. "$SITE/sub/up"
  ln -s "$BATS_TEST_TMPDIR" "$SITE/folder"
  ln -s sub/up/../outside.txt "$SITE/winding"
  ln -s out "$SITE/chain"
  ln -s loop "$SITE/loop"
  ln -s /proc/self/root/etc/passwd "$SITE/proc"
  LINKS="/out /absolute /sub/up/../outside.txt /sub/up/outside.txt
    /sub/up/hello.txt/../outside.txt /folder/outside.txt /folder/ /winding
    /chain /loop /proc"
}

@test "no symbolic link leads out of the root" {
  likely "the file was opened without RESOLVE_BENEATH"
  serve
  make_links
  ln -s hello.txt "$SITE/inside"
  ln -s ../hello.txt "$SITE/sub/upwards"
  expect_body hello /inside
  expect_body hello /sub/upwards
  local path
  for path in $LINKS; do
    expect_hidden "$path"
    expect "send GET $path, which does not exist on this site, and read the status" 404 "$CODE"
  done
}

@test "without openat2() the root is as safe" {
  likely "root->openat2 says whether the kernel has it; else open_stepwise()"
  FAULTS='openat2:error=EPERM' serve
  make_links
  expect_body hello /hello.txt
  expect_body deep /sub/deep/file.txt
  expect_code 404 /sub/nothing/file.txt
  local path
  for path in $LINKS; do
    expect_hidden "$path"
    expect "send GET $path, which does not exist on this site, and read the status" 404 "$CODE"
  done
}

# --- TODO 3: directories

@test "a directory shows its index.html" {
  likely "an empty path is the root itself; one that ends in '/' is a directory"
  serve
  expect_body '<h1>home</h1>' /
  expect_body '<h1>sub</h1>' /sub/
  expect_body '<h1>two words</h1>' /two%20words/
  expect_body '<h1>sub</h1>' /sub/deep/..
  expect_body '<h1>sub</h1>' /sub/.
}

@test "a directory without an index shows nothing, and a file is none" {
  likely "without_index() tells a directory that is there from one that is not"
  serve
  expect_code 403 /empty/
  expect_code 404 /nothing/
  expect_code 404 /hello.txt/
  mkdir "$SITE/empty/index.html"
  expect_code 403 /empty/
}

@test "a directory without its slash is moved to where its links work" {
  likely "examine() returns 301 for it"
  serve
  expect_code 301 /sub
  expect_code 301 '/two%20words?x=1'
  expect_code 301 /sub/deep
}

@test "what is not a file is not opened as one" {
  likely "opening a FIFO waits for a writer, unless with O_NONBLOCK"
  serve
  mkfifo "$SITE/fifo"
  expect_code 403 /fifo
  expect_body hello /hello.txt
}

# --- TODO 4: the head of an answer

@test "the head tells date, type, length and last change" {
  likely "see RFC 9110: Date, Content-Type, Last-Modified, Content-Length"
  serve
  touch -d '1994-11-06 08:49:37 UTC' "$SITE/hello.txt"
  get /hello.txt
  expect_match "read the status line" '^HTTP/1\.1 200 OK' "$HEAD"
  expect "read Last-Modified" 'Sun, 06 Nov 1994 08:49:37 GMT' "$(field Last-Modified)"
  expect "read Content-Length" 6 "$(field Content-Length)"
  expect_match "read Content-Type" '^[a-z]+/[a-z-]+' "$(field Content-Type)"
  expect_match "read Date" '^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} 2[0-9]{3} [0-9:]{8} GMT$' \
    "$(field Date)"
  : >"$SITE/nothing"
  get /nothing
  expect "send GET for an empty file, and read Content-Length" 0 "$(field Content-Length)"
  touch -d 'next year' "$SITE/index.html"
  get /index.html
  expect "compare Last-Modified of a file from the future with Date" "$(field Date)" \
    "$(field Last-Modified)"
}

@test "the date is that of the answer, not of the start" {
  likely "the text of the date is kept for as long as the second is the same"
  local before now date
  serve
  before=$(date +%s)
  get /hello.txt
  await "another second" eval '[ "$(date +%s)" -gt "$((before + 1))" ]'
  now=$(date +%s)
  get /hello.txt
  date=$(date -d "$(field Date)" +%s)
  # One less: the kernel's coarse clock is a few milliseconds behind.
  [ "$date" -ge $((now - 1)) ] && [ "$date" -le "$(date +%s)" ] ||
    fail "read Date at second $now" "$now, or what it is by then" "$date"
}

@test "an error comes with a page" {
  likely "an error has a body too, and Content-Length counts it"
  serve
  get /nothing
  expect "read the status" 404 "$CODE"
  expect "read Content-Type" 'text/html; charset=utf-8' "$(field Content-Type)"
  expect_match "read the page" '^<!doctype html>.*404 Not Found' "$BODY"
  expect "count the bytes of the page" "$(field Content-Length)" \
    "$(($(printf '%s\n' "$BODY" | wc -c)))"
  stop_server
  mkdir "$SITE/errors"
  echo 'not in this house' >"$SITE/errors/404.html"
  random_file errors/405.html 20000
  serve
  get /nothing
  expect "with a page errors/404.html in the root: send GET /nothing, and read it" \
    "404 not in this house" "$CODE $BODY"
  ask send 'POST / HTTP/1.1\r\nHost: test\r\n\r\n' response
  expect_match "with a file errors/405.html that is too large: send POST, and read the page" \
    '405 Method Not Allowed' "$BODY"
}

@test "a redirect cannot lead to another site" {
  likely "Location is made from the clean path, not from what the client sent"
  serve
  local target location
  mkdir -p "$SITE/evil.test" "$SITE/a\"<b>"
  while read -r target location; do
    get "$target"
    expect "send GET $target, and read the status" 301 "$CODE"
    expect "send GET $target, and read Location" "$location" "$(field Location)"
  done <<'REDIRECTS'
/sub /sub/
/sub?a=b&c=%2F /sub/?a=b&c=%2F
/sub/deep /sub/deep/
/two%20words /two%20words/
//evil.test /evil.test/
/x/..//evil.test /evil.test/
/a%22%3cb%3E /a%22%3Cb%3E/
REDIRECTS
}

# --- TODO 5: types

@test "the type of a file follows from its extension" {
  likely "the extension is behind the last dot of the last segment, in any case"
  serve
  local file
  mkdir "$SITE/dir.css"
  while read -r file type; do
    : >"$SITE/$file"
    get "/$file"
    expect "send GET /$file, and read Content-Type" "$type" \
      "$(field Content-Type | sed 's/;.*//')"
  done <<'TYPES'
a.html text/html
a.css text/css
a.js text/javascript
a.svg image/svg+xml
a.png image/png
a.JPG image/jpeg
a.woff2 font/woff2
a.json application/json
a.tar.gz application/gzip
a.html.unknown application/octet-stream
html application/octet-stream
dir.css/file application/octet-stream
dir.css/a.txt text/plain
TYPES
  get /hello.txt
  expect "send GET /hello.txt, and read Content-Type" 'text/plain; charset=utf-8' \
    "$(field Content-Type)"
}

# --- TODO 6: methods and decisions

@test "HEAD gets the head that GET gets, and nothing else" {
  likely "Content-Length is that of GET, but no byte of a body follows"
  serve
  local target get_head get_code
  random_file large 200000
  for target in / /hello.txt /large /nothing /sub; do
    ask send "GET $target HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" rest
    get_head=$(printf '%s' "$HEAD" | grep -av '^Date:')
    ask send "HEAD $target HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" rest
    expect "compare HEAD $target with GET $target (without Date)" "$get_head" \
      "$(printf '%s' "$HEAD" | grep -av '^Date:')"
    expect "read what follows the head" "" "$BODY"
  done
}

@test "other methods are refused: 405 if they exist, 501 if not" {
  likely "check_method() comes before the file; case counts: get is not GET"
  serve
  local method
  for method in POST PUT DELETE PATCH; do
    ask send "$method /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n" response
    expect "send $method /hello.txt, and read the status" 405 "$CODE"
    expect_match "read Allow" 'GET, *HEAD' "$(field Allow)"
  done
  for method in BREW get GETS; do
    ask send "$method /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n" response
    expect "send $method /hello.txt, and read the status" 501 "$CODE"
  done
}

@test "it says 503 when descriptors have run out, 500 when the disk fails" {
  likely "503 ends the connection, so that its descriptor is free again"
  FAULTS='openat2:error=EMFILE:path=hello.txt:when=1' serve
  get /hello.txt
  expect "have no descriptor for a file, and read the status" 503 "$CODE"
  expect "read Connection" close "$(field Connection)"
  expect_body hello /hello.txt
  stop_server
  FAULTS='pread:error=EIO:when=1' serve
  expect_code 500 /hello.txt
  expect_body hello /hello.txt
}

# --- TODO 7: requests, however they come

@test "a request may come byte by byte" {
  likely "HTTP_NEED_MORE is no error: the rest is on its way"
  serve
  ask send-each 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response
  expect "send a request byte by byte, and read the body" hello "$BODY"
  ask send 'GET /hel' silence 50 send 'lo.txt HTTP/1.1\r\nHost: test\r\n' silence 50 \
    send '\r' silence 50 send '\n' response
  expect "send a request in pieces, and read the body" hello "$BODY"
}

@test "what is no request gets the status that says why" {
  likely "input_next() returns the status of the parser"
  serve
  local long code request
  long=$(printf '%9000s' '' | tr ' ' a)
  while read -r code request; do
    ask send "$request" response
    expect "send \"${request:0:60}\", and read the status" "$code" "$CODE"
    expect "read Connection" close "$(field Connection)"
  done <<BAD
400 GET /hello.txt HTTP/1.1\r\n\r\n
400 GET /hello.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n
400 GET /hello.txt HTTP/1.1\r\nHost: test\r\nno colon\r\n\r\n
400 GET  /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n
400 GET hello.txt HTTP/1.1\r\nHost: test\r\n\r\n
400 \x16\x03\x01\x02\r\n\r\n
414 GET /$long HTTP/1.1\r\nHost: test\r\n\r\n
431 GET / HTTP/1.1\r\nHost: test\r\nCookie: $long\r\n\r\n
505 GET / HTTP/2.0\r\nHost: test\r\n\r\n
400 POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n
400 POST / HTTP/1.1\r\nHost: test\r\nContent-Length: +1\r\n\r\n
413 POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 99999999999\r\n\r\n
400 POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n
BAD
  expect_body hello /hello.txt
}

@test "the answer to a request comes after its body" {
  likely "skip_body() returns HTTP_NEED_MORE until the whole body has come"
  serve
  ask send 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345' \
    silence 100 send 6789 silence 50 send 0 response
  expect "send a body of ten bytes in three pieces" 405 "$CODE"
  ask send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n' \
    silence 50 send '5\r\nhe' silence 50 send 'llo\r\n0\r' silence 50 send '\n\r\n' response
  expect "send a body of one chunk in pieces" "200 hello" "$CODE $BODY"
}

@test "a client that asks before it sends a body is answered at once" {
  likely "Expect: 100-continue means: I wait; see request_waits()"
  serve
  ask send 'POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n' \
    response eof
  expect "send a head with Expect: 100-continue" "405 close" "$CODE $(field Connection)"
}

# --- TODO 8: answers, however they leave

@test "a large file arrives byte for byte" {
  likely "send() and sendfile() may take less than they are given"
  serve
  local size
  for size in 65000 65536 66000 5000000; do
    random_file "large$size" "$size"
    tcp send "GET /large$size HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" rest
    expect_same_file "large$size"
  done
}

# expect_same_file NAME: what `rest` has printed ends with this file, whole.
expect_same_file() {
  local size got=$BATS_TEST_TMPDIR/got
  size=$(stat -c %s "$SITE/$1")
  tail -c "$size" "$BATS_TEST_TMPDIR/tcp" >"$got"
  cmp "$got" "$SITE/$1" >"$BATS_TEST_TMPDIR/cmp" 2>&1 ||
    fail "GET /$1, $size bytes, and compare" "the same bytes" \
      "$(sed 's/.* differ: /they differ at /' "$BATS_TEST_TMPDIR/cmp")"
}

@test "short writes lose nothing" {
  likely "what a call did not take is sent by the next one, from where it stopped"
  FAULTS='write:short=1000:fd=sock' serve
  random_file small 8000
  random_file large 300000
  tcp send 'GET /small HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' rest
  expect_same_file small
  tcp send 'GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' rest
  expect_same_file large
}

@test "a client that does not read makes nobody wait" {
  likely "EAGAIN: note the state WRITING and go back to the loop"
  serve
  random_file large 8000000
  tcp on slow rcvbuf 16384 send 'GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
    on quick send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    on idle silence 200 \
    on late send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    on slow rest
  expect_same_file large
}

# one_fd_per NAME: no client is connected, and the cache, if there is one, keeps the file open.
one_fd_per() {
  local kinds
  kinds=$(fd_kinds "$PID")
  [ "$(grep -c "/$1\$" <<<"$kinds")" -le 1 ] && [ "$(grep -c socket: <<<"$kinds")" = 1 ]
}

@test "clients that are gone while they are answered harm nobody" {
  likely "EPIPE and ECONNRESET end that connection, and only that one"
  local before
  serve
  random_file large 20000000
  tcp send 'HEAD /large HTTP/1.1\r\nHost: test\r\n\r\n' response-to-head close
  await "that client is gone" one_fd_per large
  before=$(fds "$PID")
  tcp rcvbuf 4096 crowd 20 crowd-send 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' \
    on a send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response crowd-reset \
    on b send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response
  await "it has $before descriptors again" has_descriptors "$before"
  expect_body hello /hello.txt
}

@test "a file that becomes shorter ends its connection, and no other" {
  likely "sendfile() returns 0: the promised bytes will never come"
  local client line size
  serve
  truncate -s 100M "$SITE/large"
  connect client
  env printf 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' >&"$client" # bash's own writes line by line
  read -r -t "$(scaled 5)" -u "$client" line || :
  expect_match "send GET /large, and read the first line" '^HTTP/1.1 200' "$line"
  : >"$SITE/large"
  size=0
  timeout "$(scaled 5)" cat <&"$client" >"$BATS_TEST_TMPDIR/got" || size=$?
  exec {client}>&-
  expect "make the file empty, and read on to the end (124: there was none)" 0 "$size"
  size=$(stat -c %s "$BATS_TEST_TMPDIR/got")
  [ "$size" -lt 100000000 ] ||
    fail "make the file empty, and count what comes" "fewer bytes than 100 MB" "$size bytes"
  expect_body hello /hello.txt
}

# connect NAME: a connection of this shell, as descriptor $NAME.
connect() {
  eval "exec {$1}<>/dev/tcp/127.0.0.1/$PORT"
}

# --- TODO 9: one connection, many requests

@test "a connection serves one request after another" {
  likely "after an answer the connection goes back to IDLE, and is not closed"
  serve
  tcp send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    send 'GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n' response \
    send 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc' response \
    send 'GET /hello.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n' response \
    send 'HEAD /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response-to-head \
    send 'GET /sub/ HTTP/1.1\r\nHost: test\r\n\r\n' response silence 100
  expect "read the status of six answers" "200 404 405 200 200 200" "$(statuses)"
  expect_match "read the answer to HTTP/1.0" 'Connection: keep-alive' "$OUT"
  # All of it is there, but recv() stops in front of the urgent byte, and an edge that
  # has been seen already does not come again.
  ask send 'GET / HTTP/1.1\r\nHost: test\r\n\r\n' response freeze "$PID" send 'GET /hel' \
    send-urgent '!' send 'lo.txt HTTP/1.1\r\nHost: test\r\n\r\n' thaw "$PID" response
  expect "send a request with an urgent byte in it, and read the status" 200 "$CODE"
}

# The statuses of all responses in OUT, in one line.
statuses() {
  LC_ALL=C grep -ao '^HTTP/1.1 [0-9]*' "$BATS_TEST_TMPDIR/tcp" | cut -d' ' -f2 | paste -sd' '
}

@test "64 requests in one piece get 64 answers, in order" {
  likely "answer_next() in a loop: the next request may be in the buffer already"
  serve
  local requests='' i expected=''
  for i in {1..64}; do
    echo "number $i" >"$SITE/$i.txt"
    requests+="GET /$i.txt HTTP/1.1\r\nHost: test\r\n\r\n"
    expected+="number $i"$'\n'
  done
  # shellcheck disable=SC2046  # 64 words
  tcp send "$requests" $(printf 'response %.0s' {1..64}) silence 50
  expect "read their bodies" "$expected" "$(printf '%s\n' "$OUT" | grep -a '^number')"$'\n'
}

@test "the answers to one piece leave in few pieces" {
  likely "add all the answers to the output first, then send it"
  FAULTS='write:delay=1:fd=sock' serve
  local requests='' i sends
  for i in {1..64}; do
    requests+='GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n'
  done
  # shellcheck disable=SC2046  # 64 words
  tcp send "$requests" $(printf 'response %.0s' {1..64})
  sends=$(wc -l <"$BATS_TEST_TMPDIR/faults.log")
  [ "$sends" -le 8 ] ||
    fail "count the writes for 64 requests that came in one piece" "8 at most" "$sends"
}

@test "large and small files take turns on one connection" {
  likely "a request that is in the buffer causes no event: answer it after the file"
  serve
  random_file large 2500000
  local small='GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n'
  local large='GET /large HTTP/1.1\r\nHost: test\r\n\r\n'
  tcp send "$small$large$large$small$small$large" \
    response response response response response response
  expect_same_file large
  expect "read the first answer" 'HTTP/1.1 200 OK' \
    "$(head -n 1 "$BATS_TEST_TMPDIR/tcp" | tr -d '\r')"
  expect "add up the bytes of all answers" "$((3 * 2500000 + 3 * 6))" "$(bodies)"
}

# The sum of all Content-Lengths in what `tcp` printed.
bodies() {
  LC_ALL=C awk '/^Content-Length: / { s += $2 } END { print s }' "$BATS_TEST_TMPDIR/tcp"
}

@test "a body is never taken for the next request" {
  likely "input_drop() goes on behind the body"
  serve
  local body='GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n'
  local next='GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n'
  tcp send "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 37\r\n\r\n$body$next" \
    response response silence 50
  expect "send a body of 37 bytes that looks like a request, then a request" "405 200" \
    "$(statuses)"
  tcp send "GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n25\r\n$body\r\n0\r\nTrailer: x\r\n\r\n$next" \
    response response silence 50
  expect "the same in a chunk" "200 200" "$(statuses)"
  expect_match "read the last body" 'hello$' "$OUT"
  tcp send "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n" \
    send-bytes 100000 send "$next" response response
  expect "send a body that no buffer holds, then a request" "405 200" "$(statuses)"
}

@test "the client can end the connection, and an old one has to ask to keep it" {
  likely "r->keep_alive says what the client wants"
  serve
  local head
  for head in 'GET /hello.txt HTTP/1.1\r\nHost: test\r\nConnection: close' \
    'GET /hello.txt HTTP/1.0'
  do
    ask send "$head\r\n\r\n" response eof
    expect "send \"$head\", and read Connection" close "$(field Connection)"
  done
}

@test "a client that has finished sending gets everything, then the end" {
  likely "recv() returns 0 after the last request, not instead of its answer"
  serve
  random_file large 8000000
  tcp send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\nGET /large HTTP/1.1\r\nHost: test\r\n\r\n' \
    half-close response response eof
  expect_same_file large
  tcp send 'GET /hello.txt HTTP/1.1\r\n' half-close eof
  # With its end, and more than one recv() takes, there at once: an edge that has
  # been seen already does not come again.
  local i many=''
  for i in {1..700}; do many+='GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n'; done
  tcp send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    freeze "$PID" send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' half-close thaw "$PID" \
    response eof
  # shellcheck disable=SC2046  # 700 words
  tcp send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    freeze "$PID" send "$many" thaw "$PID" $(printf 'response %.0s' {1..700})
}

@test "one loop with epoll serves them all, and sleeps when there is nothing to do" {
  likely "no thread for a client, no busy loop; interest follows from the state"
  serve -t 3
  local fd events line
  truncate -s 100M "$SITE/large"
  connect idle
  printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$idle"
  read -r -t "$(scaled 5)" -u "$idle" line || :
  expect "send GET /hello.txt, and read the status line" 'HTTP/1.1 200 OK' "${line%$'\r'}"
  connect stalled
  printf 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' >&"$stalled"
  await "it waits for room in the second socket" waits_for 1c
  expect "count its threads: the loop, and three for files" 4 "$(threads "$PID")"
  expect_match "read the interest list in /proc/PID/fdinfo: listener, signals, idle, worker, stalled" \
    '^10000019 (19 19 1c 80000019|19 1c 80000019 8000201[9b])$' "$(epoll_interest "$PID" | cut -d' ' -f2 | sort | paste -sd' ')"
  while read -r fd events; do
    expect "read O_NONBLOCK (04000) in the flags: of /proc/PID/fdinfo/$fd" 04000 \
      "0$(printf %o $(($(fd_flags "$PID" "$fd") & 04000)))"
  done < <(epoll_interest "$PID")
  expect_idle "$PID" "with one idle client and one that does not read"
  exec {idle}>&- {stalled}>&-
}

waits_for() { epoll_interest "$PID" | grep -q " $1\$"; }

@test "300 clients at once get their answers" {
  serve
  tcp crowd 300 crowd-send 'GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n' \
    on a send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    crowd-expect 'HTTP/1.1 404 Not Found\r\n'
  expect_match "read the answer to the last one" 'hello$' "$OUT"
}

@test "no descriptor is left behind" {
  likely "who holds a struct file closes it; HEAD and errors, too"
  serve
  local before i
  random_file large 300000
  tcp send 'HEAD /large HTTP/1.1\r\nHost: test\r\n\r\n' response-to-head close
  await "that client is gone" one_fd_per large
  before=$(fds "$PID")
  for i in {1..10}; do
    tcp send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\nGET /large HTTP/1.1\r\nHost: test\r\n\r\nHEAD /large HTTP/1.1\r\nHost: test\r\n\r\nGET /sub HTTP/1.1\r\nHost: test\r\n\r\nGET /empty/ HTTP/1.1\r\nHost: test\r\n\r\nGET /x/y HTTP/1.1\r\nHost: test\r\n\r\n' \
      response on b send 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' reset \
      on c send 'BAD\r\n\r\n' response
  done
  await "it has $before descriptors again" has_descriptors "$before"
}

@test "without a free descriptor it rests, and goes on later" {
  local highest line
  serve
  highest=$(fd_kinds "$PID" | sort -n | tail -n 1 | cut -d' ' -f1)
  # Two more: for a client and its file, or for two clients.
  prlimit --pid "$PID" --nofile=$((highest + 3)):
  connect first
  printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$first"
  read -r -t "$(scaled 5)" -u "$first" line || :
  expect "send a request with two free descriptors" 'HTTP/1.1 200 OK' "${line%$'\r'}"
  connect second
  connect third # asks for something that needs no file
  printf 'DELETE /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$third"
  expect_idle "$PID" "with a client waiting and no descriptor for it"
  exec {first}>&- {second}>&-
  read -r -t "$(scaled 5)" -u "$third" line || :
  expect "let the other two go" 'HTTP/1.1 405 Method Not Allowed' "${line%$'\r'}"
  exec {third}>&-
}

@test "it keeps the contract of every server" {
  likely "this is given code: see webserver.c"
  serve
  expect_body hello /hello.txt
  local args
  for args in -x '-p 65536' '-k 0' '-r soon' '-d' 'extra'; do
    # shellcheck disable=SC2086  # two words
    run_program webserver $args
    expect "run webserver $args, and look at its exit status" 2 "$STATUS"
    expect_match "run webserver $args, and read stderr" 'usage: webserver ' "$ERR"
  done
  run_program webserver -h
  expect "run webserver -h, and look at its exit status" 0 "$STATUS"
  expect_match "run webserver -h, and read stdout" '^usage: webserver ' "$OUT"
  run_program webserver -d "$SITE/nowhere"
  expect "give it a docroot that is not there" \
    "webserver: open $SITE/nowhere: No such file or directory" "$ERR"
  run_program webserver -d "$SITE" -p "$PORT"
  expect "start a second one on its port" \
    "webserver: bind 127.0.0.1:$PORT: Address already in use" "$ERR"
  expect "look at its exit status" 1 "$STATUS"
}

@test "SIGTERM and SIGINT end it in order, in the middle of everything" {
  serve
  truncate -s 100M "$SITE/large"
  expect_body hello /hello.txt
  connect idle
  connect stalled
  printf 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' >&"$stalled"
  await "it waits for room in the socket" waits_for 1c
  stop_server
  expect "send SIGTERM, and look how it ends" "exit 0" "$END"
  exec {idle}>&- {stalled}>&-
  serve
  expect_body hello /hello.txt
  kill -INT "$PID"
  await "SIGINT has ended it" ended "$PID"
  stop_server
  expect "send SIGINT, and look how it ended" "exit 0" "$END"
}

ended() { ! [ -e "/proc/$1/exe" ]; }

# --- TODO 10: the end of a connection

@test "a refused client that goes on sending still gets its answer" {
  likely "close() with unread input resets the connection: shutdown(), then linger"
  serve
  ask send 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\n\r\n' \
    send-bytes 2000000 response eof
  expect "send a body of 2 MB, and read the status" "413 close" \
    "$CODE $(field Connection)"
  ask send 'GET / HTTP/9.9\r\n\r\n' send-bytes 500000 response eof
  expect "send half a megabyte behind a wrong version" "505 close" \
    "$CODE $(field Connection)"
  # A body whose client has asked whether to send it may be on its way already.
  tcp send 'POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 9\r\nConnection: close\r\n\r\n' \
    response eof send 1234 send 56789 half-close
  stop_server
  FAULTS='open:delay=400:path=hello' serve
  ask send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
    silence 100 send '\r\n' response
  expect "send an empty line behind the last request, and read the body" hello "$BODY"
}

@test "a connection that lingers ends when the client ends it" {
  likely "recv() returns 0: then it is over"
  serve # its own patience lasts 5 s
  local before i
  before=$(fds "$PID")
  expect_kept
  tcp on a send 'BAD\r\n\r\n' response eof half-close \
    on b send 'BAD\r\n\r\n' response eof reset
  for i in {1..40}; do # for less time than its own patience lasts
    ! has_descriptors "$before" || break
    sleep 0.02
  done
  has_descriptors "$before" || fail "end two connections that linger, and wait for two seconds" \
    "it has $before descriptors again" "$(fds "$PID")"
  # And for one that never does, patience is limited.
  stop_server
  serve -k 1
  before=$(fds "$PID")
  connect deaf
  printf 'BAD\r\n\r\n' >&"$deaf"
  await "it has accepted the client" has_descriptors $((before + 1))
  await "it has $before descriptors again" has_descriptors "$before"
  exec {deaf}>&-
}

# --- TODO 11: time

# Patience can only be seen where a connection is kept: say so at once if not.
expect_kept() {
  tcp send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response
}

@test "a request that does not come in time gets 408" {
  likely "in state READING: refuse() and advance()"
  serve -r 1
  expect_kept
  ask send 'GET /hello.txt HTTP/1.1\r\nHo' response eof
  expect "send half a head, and wait" "408 close" "$CODE $(field Connection)"
  ask send 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf' response eof
  expect "send half a body, and wait" 408 "$CODE"
}

@test "a request that trickles in gets no more time for it" {
  likely "the time runs from the first byte of a request, not from the last"
  serve -r 1
  expect_kept
  local slow line='' i
  connect slow
  for i in {1..50}; do
    printf x >&"$slow" || break
    sleep 0.1
  done 2>/dev/null &
  read -r -t "$(scaled 4)" -u "$slow" line || :
  kill $! 2>/dev/null || :
  wait $! || :
  expect_match "send a byte every 100 ms, with -r 1" '^HTTP/1.1 408 ' "$line"
  exec {slow}>&-
}

@test "an idle connection is closed in silence" {
  likely "in state IDLE there is nothing to say: CLOSED"
  serve -k 1
  expect_kept
  tcp send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response eof
  tcp connect eof
}

@test "a client that never takes its answer is let go" {
  likely "in state WRITING there is nobody to tell: CLOSED"
  serve -k 1
  local before slow taken
  truncate -s 100M "$SITE/large"
  expect_kept
  tcp send 'HEAD /large HTTP/1.1\r\nHost: test\r\n\r\n' response-to-head close
  await "that client is gone" one_fd_per large
  before=$(fds "$PID")
  connect stalled
  printf 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' >&"$stalled"
  await "it waits for room in the socket" waits_for 1c
  await "it has $before descriptors again" has_descriptors "$before"
  exec {stalled}>&-
  # But one that takes 200 KB a second is not.
  connect slow
  printf 'GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' >&"$slow"
  taken=$({ for _ in {1..25}; do head -c 20000; sleep 0.1; done; cat; } <&"$slow" | wc -c)
  exec {slow}>&-
  [ "$taken" -gt 100000000 ] ||
    fail "take 20,000 bytes ten times a second, for 2.5 s, then the rest of 104,857,600" \
      "all of them" "$taken bytes"
}

# --- TODO 12: workers

# stat NAME: a number from /_stats.
stat_of() {
  get /_stats
  sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" <<<"$BODY" | head -n 1
}

# times CALL|CALL...: how often the shim has met one of these calls.
times() { grep -cE "^($1) " "$BATS_TEST_TMPDIR/faults.log"; }

@test "a slow disk delays only those who want its files" {
  likely "open, stat and read belong to a worker: pool_submit(), and wait_for() it"
  FAULTS='open,stat,pread:delay=400:path=slow' serve
  echo slow >"$SITE/slow.txt"
  random_file slow-large 300000
  tcp on slow send 'GET /slow.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
    on large send 'GET /slow-large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
    on quick send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    send 'GET /sub/ HTTP/1.1\r\nHost: test\r\n\r\n' response \
    on slow silence 50 on large silence 50 on slow rest on large rest
  expect_match "read the body of /slow.txt" $'\nslow\n' "$OUT"
  expect_same_file slow-large
}

@test "pages of a large file are read by a worker before they are sent" {
  likely "sendfile() waits for the disk: store_warm() first"
  FAULTS='open,pread:delay=400:path=slow' serve
  random_file slow 300000
  random_file slow-too 300000
  echo after >"$SITE/slow.txt"
  tcp on slow send 'GET /slow HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
    on quick send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    on slow rest
  expect_same_file slow
  expect_match "count the reads of /slow before it was sent" '^[1-9]' "$(times pread)"
  tcp send 'HEAD /slow-too HTTP/1.1\r\nHost: test\r\n\r\nGET /slow-too HTTP/1.1\r\nHost: test\r\n\r\nGET /slow.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' rest
  expect "send three requests in one piece, and read the last body" after "$(tail -n 1 <<<"$OUT")"
}

@test "a download goes on when what was read first is trusted no more" {
  likely "what was read longer ago than WARM_TRUST is forgotten: read it again, and go on"
  # 5 seconds in the reference. One file is read for longer than that, part by part, and of
  # another one not even the first part is there by then.
  FAULTS='pread:delay=68:path=slow-all pread:delay=1300:path=slow-part' serve
  random_file slow-all 6M
  random_file slow-part 300000
  local part
  connect part
  printf 'GET /slow-part HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' >&"$part"
  tcp on all send 'GET /slow-all HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
    on quick send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response \
    on all rest
  expect_same_file slow-all
  timeout "$(scaled 5)" cat <&"$part" >"$BATS_TEST_TMPDIR/tcp" || :
  exec {part}>&-
  expect_same_file slow-part
  expect_body hello /hello.txt
}

@test "a client that leaves while a worker has its file harms nobody" {
  likely "store_cancel() when a connection ends: the worker's result comes later"
  FAULTS='open:delay=300:path=slow open:delay=400:path=late' serve
  echo slow >"$SITE/slow.txt"
  echo late >"$SITE/late.txt"
  tcp send 'GET /slow.txt HTTP/1.1\r\nHost: test\r\n\r\n' reset \
    on b send 'GET /slow.txt HTTP/1.1\r\nHost: test\r\n\r\n' close \
    on c send 'GET /slow.txt HTTP/1.1\r\nHost: test\r\n\r\n' half-close response eof
  expect_body hello /hello.txt
  tcp send 'GET /late.txt HTTP/1.1\r\nHost: test\r\n\r\n' silence 100 close
  stop_server
  expect "send SIGTERM while a worker has a file, and look how it ends" "exit 0" "$END"
}

# --- TODO 13: the cache

@test "a file that is asked for again and again is opened once" {
  likely "cache_insert() keeps the entry, and cache_find() finds it by its key"
  FAULTS='openat2:delay=1:path=hello.txt' serve
  local i requests=''
  for i in {1..50}; do requests+='GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n'; done
  get /hello.txt
  # shellcheck disable=SC2046  # 50 words
  tcp send "$requests" $(printf 'response %.0s' {1..50})
  get '/sub/../%68ello.txt?other=spelling'
  # The file, and its compressed form; and perhaps once more, after a second.
  [ "$(times openat2)" -le 4 ] ||
    fail "send 52 requests for one file, and count openat2()" "2 (or 4)" "$(times openat2)"
  expect "read the number of loads in /_stats" 1 "$(stat_of loads)"
}

@test "a hit is one recv and one send" {
  likely "no open, no stat, no clock, no epoll_ctl, no log for what is in the cache"
  FAULTS='read,write,open,stat,socket,close:delay=1' serve
  local i steps=() before
  for i in {1..20}; do steps+=(send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' response); done
  get /hello.txt
  before=$(wc -l <"$BATS_TEST_TMPDIR/faults.log")
  tcp "${steps[@]}"
  i=$(($(wc -l <"$BATS_TEST_TMPDIR/faults.log") - before))
  # 40, and for the connection, its end, and a look at the file after a second.
  [ "$i" -le 60 ] ||
    fail "count the system calls for 20 hits on one connection" "at most 60" "$i"
  for i in 'recv|recvfrom|recvmsg|read|readv' 'send|sendto|sendmsg|write|writev'; do
    [ "$(times "$i")" -ge 20 ] ||
      fail "count the calls of ${i%%|*}(), or one like it, for 20 hits" "20 or more" "$(times "$i")"
  done
}

@test "200 clients that want one cold file cause one load" {
  likely "find_load(): who comes while it is loaded waits with the others"
  FAULTS='openat2:delay=300:path=cold' serve
  echo cold >"$SITE/cold.txt"
  tcp crowd 200 crowd-send 'GET /cold.txt HTTP/1.1\r\nHost: test\r\n\r\n' \
    crowd-expect 'HTTP/1.1 200 OK\r\n'
  expect_match "count openat2(): the file and, from TODO 18 on, its compressed form" \
    '^[12]$' "$(times openat2)"
  expect "read the number of loads in /_stats" 1 "$(stat_of loads)"
}

# --- TODO 14: the bound

@test "the cache keeps within its limit of bytes" {
  likely "evict() until the new entry fits in; the limit is in bytes, not entries"
  serve -m 300K
  local i requests=''
  for i in {1..100}; do # no larger: such a file could be kept open instead
    random_file "f$i" 8000
    requests+="GET /f$i HTTP/1.1\r\nHost: test\r\n\r\n"
  done
  # shellcheck disable=SC2046  # 100 words
  tcp send "$requests" $(printf 'response %.0s' {1..100})
  expect "add up the bytes of all answers" 800000 "$(bodies)"
  i=$(stat_of bytes)
  [ "$i" -le 307200 ] && [ "$i" -gt 100000 ] ||
    fail "read 100 files of 8,000 bytes, with -m 300K, and then the size of the cache" \
      "at most 307200, but not nothing" "$i"
  expect_match "read the number of evictions" '^[1-9]' "$(stat_of evictions)"
}

@test "a scan does not push out what is in use" {
  likely "S3-FIFO: what was used moves to MAIN; what came once goes from SMALL"
  serve -m 240K
  local i j scan='' hot='' loads
  for i in {1..60}; do random_file "f$i" 8000; done
  random_file hot 8000
  for i in {1..4}; do hot+='GET /hot HTTP/1.1\r\nHost: test\r\n\r\n'; done
  get /hot
  tcp send "$hot" response response response response
  for i in 0 1 2 3 4 5; do # passes by, and meanwhile somebody comes back
    scan=''
    for j in {1..10}; do scan+="GET /f$((10 * i + j)) HTTP/1.1\r\nHost: test\r\n\r\n"; done
    # shellcheck disable=SC2046  # 10 words
    tcp send "$scan" $(printf 'response %.0s' {1..10})
    tcp send "$hot" response response response response
  done
  expect "read 60 other files once each, one hot one often, and count the loads" 61 \
    "$(stat_of loads)"
}

# --- TODO 15: what changes

# later NS: a second has passed since then, which is what the server promises.
later() { [ $(($(date +%s%N) - $1)) -ge 1000000000 ]; }

@test "a file that was changed or removed is seen within a second" {
  likely "an entry is trusted for a second; then a worker compares the version"
  serve
  local t0 tag day='1994-11-06 08:49:37 UTC'
  touch -d "$day" "$SITE/hello.txt"
  expect_body hello /hello.txt
  tag=$(field ETag)
  expect_body '<h1>sub</h1>' /sub/
  echo HELLO >"$SITE/hello.txt"
  touch -d "$day" "$SITE/hello.txt" # as builds do that are to give the same bytes each time
  rm "$SITE/sub/index.html"
  t0=$(date +%s%N)
  await "a second has passed" later "$t0"
  expect_body HELLO /hello.txt
  [ "$(field ETag)" != "$tag" ] ||
    fail "change it, but neither its size nor its time, and read ETag" "another tag" "$tag again"
  expect_code 403 /sub/
  rm "$SITE/hello.txt"
  t0=$(date +%s%N)
  await "a second has passed" later "$t0"
  expect_code 404 /hello.txt
  echo again >"$SITE/hello.txt"
  expect_body again /hello.txt
}

@test "a file that has not changed is not read again" {
  likely "the version is the same: settle() says that the entry is true again"
  FAULTS='pread:delay=1:path=hello.txt' serve
  expect_body hello /hello.txt
  local t0
  t0=$(date +%s%N)
  await "a second has passed" later "$t0"
  expect_body hello /hello.txt
  expect_body hello /hello.txt
  expect "count the reads of the file" 1 "$(times pread)"
  expect "read the number of checks in /_stats" 1 "$(stat_of checks)"
}

@test "nobody waits for a look at a file that is in use" {
  likely "refresh.c: a hit on an entry that was true 500 ms ago has it compared meanwhile"
  serve
  local end=$((SECONDS + 20))
  get /hello.txt
  until [ "$(stat_of checks)" -ge 2 ] || [ "$SECONDS" -ge "$end" ]; do
    expect_body hello /hello.txt
    sleep 0.05
  done
  expect_match "ask for one file until it was compared twice, and count the checks" '^[2-9]$' \
    "$(stat_of checks)"
  # The first one, and perhaps another if the machine was busy for half a second.
  expect_match "count those who had to wait for a worker" '^[12]$' "$(stat_of misses)"
}

# --- TODO 16: conditions

# conditional CODE FIELD TARGET: GET with one more field.
conditional() {
  get "$3" "$2\r\n"
  expect "send GET $3 with \"$2\", and read the status" "$1" "$CODE"
}

@test "a client whose copy is still good gets 304" {
  likely "If-None-Match counts more than If-Modified-Since; tags compare weakly"
  serve
  local tag code fields
  touch -d '1994-11-06 08:49:37 UTC' "$SITE/hello.txt"
  get /hello.txt
  tag=$(field ETag)
  expect_match "read ETag" '^"[^"]+"$' "$tag"
  while read -r code fields; do
    conditional "$code" "$fields" /hello.txt
  done <<CONDITIONS
304 If-None-Match: $tag
304 If-None-Match: "x", W/$tag
304 If-None-Match: "a,b" ,, $tag
304 If-None-Match: *
200 If-None-Match: "x"
200 If-None-Match: ${tag//\"/}
200 If-None-Match: "x"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT
304 If-None-Match: $tag\r\nIf-Modified-Since: Sun, 06 Nov 1993 08:49:37 GMT
304 If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT
304 If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT
304 If-Modified-Since: Sun Nov  6 08:49:37 1994
304 If-Modified-Since: Mon, 07 Nov 1994 08:49:37 GMT
200 If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT
200 If-Modified-Since: yesterday
200 If-Modified-Since: Sun, 31 Feb 1999 08:49:37 GMT
CONDITIONS
  conditional 404 'If-None-Match: *' /nothing
}

@test "a 304 has the validators and no body, and the connection goes on" {
  likely "a 304 ends with its head; the next answer follows at once"
  serve
  get /hello.txt
  local tag
  tag=$(field ETag)
  ask send "GET /hello.txt HTTP/1.1\r\nHost: test\r\nIf-None-Match: $tag\r\n\r\nGET /sub/deep/file.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" rest
  expect "read the status" 304 "$CODE"
  expect "read ETag" "$tag" "$(field ETag)"
  expect "read Content-Length" "" "$(field Content-Length)"
  expect_match "read Date" GMT "$(field Date)"
  expect_match "read what follows the head" '^HTTP/1.1 200 OK' "$BODY"
  ask send "HEAD /hello.txt HTTP/1.1\r\nHost: test\r\nIf-None-Match: $tag\r\n\r\n" response-to-head
  expect "send HEAD with If-None-Match" 304 "$CODE"
}

@test "who takes the file for another one gets 412" {
  likely "If-Match compares strongly, and counts more than If-Unmodified-Since"
  serve
  touch -d '1994-11-06 08:49:37 UTC' "$SITE/hello.txt"
  get /hello.txt
  local tag
  tag=$(field ETag)
  conditional 200 "If-Match: $tag" /hello.txt
  conditional 200 "If-Match: *" /hello.txt
  conditional 412 'If-Match: "x"' /hello.txt
  conditional 412 "If-Match: W/$tag" /hello.txt
  conditional 412 'If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT' /hello.txt
  conditional 200 'If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT' /hello.txt
  conditional 200 "If-Match: $tag\\r\\nIf-Unmodified-Since: Sun, 06 Nov 1993 08:49:36 GMT" /hello.txt
}

# --- TODO 17: ranges

@test "a range is exactly the bytes that were asked for" {
  likely "both ends belong to a range; a suffix counts from the end"
  serve
  local name size range first last n
  random_file small 1000
  random_file large 300000
  while read -r name size range first last; do
    tcp send "GET /$name HTTP/1.1\r\nHost: test\r\nRange: bytes=$range\r\nConnection: close\r\n\r\n" rest
    tail -c +$((first + 1)) "$SITE/$name" | head -c $((last - first + 1)) >"$SITE/part"
    expect_same_file part
    get "/$name" "Range: bytes=$range\r\n"
    expect "send Range: bytes=$range for $name, and read the status" 206 "$CODE"
    expect "read Content-Range" "bytes $first-$last/$size" "$(field Content-Range)"
    expect "read Content-Length" $((last - first + 1)) "$(field Content-Length)"
  done <<'RANGES'
small 1000 0-0 0 0
small 1000 0-99 0 99
small 1000 999- 999 999
small 1000 500-100000 500 999
small 1000 -1 999 999
small 1000 -5000 0 999
small 1000 0-99999999999999999999999 0 999
large 300000 299999- 299999 299999
large 300000 100000-250000 100000 250000
RANGES
  # Who wants one byte does not wait until a part of a gigabyte has been read.
  truncate -s 1G "$SITE/huge"
  n=$(bytes_read)
  get /huge 'Range: bytes=700000000-700000000\r\n'
  expect "send Range for one byte of 1 GiB, and read the status" 206 "$CODE"
  n=$(($(bytes_read) - n))
  [ "$n" -le 3000000 ] ||
    fail "count the bytes that are read for one byte of 1 GiB" "about a megabyte" "$n"
}

# bytes_read: by all threads of the server, from whatever they read.
bytes_read() { sed -n 's/^rchar: //p' "/proc/$PID/io"; }

@test "several ranges come as parts" {
  likely "add_ranges(): each part has its head, and the length counts all of it"
  serve
  printf '0123456789abcdefghij' >"$SITE/digits.txt"
  local boundary expected
  get /digits.txt 'Range: bytes=0-3, 5-5 ,-2,100-\r\n'
  expect "read the status" 206 "$CODE"
  expect_match "read Content-Type" '^multipart/byteranges; boundary=' "$(field Content-Type)"
  boundary=$(field Content-Type | sed 's/.*=//')
  expected=$(printf '\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes %s/20\r\n\r\n%s' \
    "$boundary" 0-3 0123 "$boundary" 5-5 5 "$boundary" 18-19 ij)
  expect "read the body" "$expected"$'\r\n'"--$boundary--" "${BODY%$'\r'}"
  expect "compare Content-Length with the body" $((${#expected} + ${#boundary} + 8)) \
    "$(field Content-Length)"
  # As much as one answer can be asked for, of a page that is in memory.
  stop_server
  serve -i
  mkdir "$SITE/many"
  (cd "$SITE/many" && seq -f "%04g-a-file-with-a-name-that-is-rather-long" 1500 | xargs touch)
  local i ranges='' announced came
  for i in {0..6}; do ranges+=$((i * 10000))-$((i * 10000 + 8191)),; done
  ranges+=70000-76199
  for i in {0..7}; do ranges+=,$((80000 + i * 100))-$((80009 + i * 100)); done
  connect many
  printf 'GET /many/ HTTP/1.1\r\nHost: test\r\nConnection: close\r\nRange: bytes=%s\r\n\r\n' \
    "$ranges" >&"$many"
  timeout "$(scaled 5)" cat <&"$many" >"$BATS_TEST_TMPDIR/parts" || :
  exec {many}>&-
  announced=$(tr -d '\r' <"$BATS_TEST_TMPDIR/parts" | sed -n 's/^Content-Length: //p')
  came=$(sed '1,/^\r$/d' "$BATS_TEST_TMPDIR/parts" | wc -c)
  expect "ask for 16 parts of a listing, and compare Content-Length with what comes" \
    "$announced" "$came"
}

@test "a range that makes no sense is refused or ignored" {
  likely "416 only if it is well formed and lies behind the end"
  serve
  printf '0123456789' >"$SITE/digits.txt"
  local code range many
  many=$(printf '%s-,' {0..9} 0 1 2 3 4 5 6 7 8 9)
  while read -r code range; do
    conditional "$code" "Range: $range" /digits.txt
  done <<RANGES
416 bytes=10-
416 bytes=100-200,50-
416 bytes=-0
200 bytes=5-2
200 bytes=a-b
200 bytes=
200 bytes=1
200 bytes=--1
200 bytes=1-2,x
200 bytes=0x1-2
200 lines=1-2
200 bytes=0-,0-,0-
200 bytes=$many
206 BYTES=0-0
RANGES
  get /digits.txt 'Range: bytes=10-\r\n'
  expect "read Content-Range of the 416" 'bytes */10' "$(field Content-Range)"
  ask send 'HEAD /digits.txt HTTP/1.1\r\nHost: test\r\nRange: bytes=0-0\r\n\r\n' response-to-head
  expect "send HEAD with a range, and read Content-Length" "200 10" "$CODE $(field Content-Length)"
}

@test "a download goes on only if the file is still the same" {
  likely "If-Range: the tag, or the very date of the last change; else everything"
  serve
  touch -d '1994-11-06 08:49:37 UTC' "$SITE/hello.txt"
  get /hello.txt
  local tag code validator
  tag=$(field ETag)
  while read -r code validator; do
    conditional "$code" "Range: bytes=1-\\r\\nIf-Range: $validator" /hello.txt
  done <<VALIDATORS
206 $tag
200 "x"
200 W/$tag
206 Sun, 06 Nov 1994 08:49:37 GMT
200 Sun, 06 Nov 1994 08:49:38 GMT
200 yesterday
VALIDATORS
  # In a second that is not over, the file may change once more.
  validator=$(LC_ALL=C date -u -d '+100 seconds' '+%a, %d %b %Y %H:%M:%S GMT')
  cp "$SITE/hello.txt" "$SITE/new.txt"
  touch -d "$validator" "$SITE/new.txt"
  conditional 200 "Range: bytes=1-\\r\\nIf-Range: $validator" /new.txt
}

# --- TODO 18: compressed forms

@test "who understands gzip gets the compressed form" {
  likely "the file with .gz behind its name, if it is there and not older"
  serve
  printf '%01000d' 0 >"$SITE/page.html"
  gzip -k "$SITE/page.html"
  local plain code accept
  get /page.html
  expect "read Vary" Accept-Encoding "$(field Vary)"
  plain=$(field ETag)
  expect "send GET without Accept-Encoding" " 1000" "$(field Content-Encoding) $(field Content-Length)"
  get /page.html 'Accept-Encoding: deflate, gzip;q=0.5\r\n'
  expect "send GET with Accept-Encoding: gzip" "gzip $(stat -c %s "$SITE/page.html.gz")" \
    "$(field Content-Encoding) $(field Content-Length)"
  expect "read Content-Type" 'text/html; charset=utf-8' "$(field Content-Type)"
  expect "read Vary" Accept-Encoding "$(field Vary)"
  [ "$(field ETag)" != "$plain" ] ||
    fail "compare the tags of both forms" "two different ones" "$plain twice"
  for accept in 'gzip;q=0' 'gzip; q=0.00, *' 'identity' '*;q=0' 'xgzip'; do
    get /page.html "Accept-Encoding: $accept\r\n"
    expect "send Accept-Encoding: $accept" "" "$(field Content-Encoding)"
  done
  expect_code 200 /page.html.gz
  expect "read Content-Type of /page.html.gz" application/gzip "$(field Content-Type)"
  # The lines between parts are not compressed: as a whole nobody could decode them.
  get /page.html 'Accept-Encoding: gzip\r\nRange: bytes=0-3,5-5\r\n'
  expect "send GET with several ranges and Accept-Encoding: gzip" "200 gzip" "$CODE $(field Content-Encoding)"
}

@test "a compressed form that is older than its file is not sent" {
  likely "somebody has changed the page, and forgotten to compress it"
  serve
  printf '%01000d' 0 >"$SITE/page.html"
  gzip -k "$SITE/page.html"
  touch -d '1 hour ago' "$SITE/page.html.gz"
  get /page.html 'Accept-Encoding: gzip\r\n'
  expect "read Content-Encoding" "" "$(field Content-Encoding)"
  mkdir "$SITE/hello.txt.gz"
  get /hello.txt 'Accept-Encoding: gzip\r\n'
  expect "have a directory where the compressed form would be" "200 " "$CODE $(field Content-Encoding)"
  : >"$SITE/index.html.gz"
  get / 'Accept-Encoding: gzip\r\n'
  expect "have an empty file where the compressed form will be" "200 " "$CODE $(field Content-Encoding)"
}

# --- TODO 19: master and workers

# site_with WORKERS [ARGS]: a master with so many workers, sets WORKER to their pids.
serve_with() {
  local n=$1
  shift
  make_site
  start_server webserver -d "$SITE" -w "$n" -t 2 "$@"
  await "it has $n workers" has_workers "$n"
}

# Workers that are ready: they have taken their place in the statistics.
has_workers() {
  # shellcheck disable=SC2046  # one word for each
  set -- "$1" $(children "$PID")
  [ $# -eq $(($1 + 1)) ] || return 1
  WORKERS=${*:2}
  [ "$(stat_of workers)" = "$1" ]
}

@test "a master looks after its workers, and serves nobody itself" {
  likely "fork() in spawn(): the child serves, the master goes on"
  serve_with 2 -n 100
  local worker
  expect_body hello /hello.txt
  expect "count the threads of the master" 1 "$(threads "$PID")"
  for worker in $WORKERS; do
    expect "count the threads of worker $worker: its loop, and two for files" 3 \
      "$(threads "$worker")"
  done
  expect "read the limits of both, added up, in /_stats" 200 "$(stat_of limit)"
  expect_idle "$PID" "the master"
  stop_server
  expect "send SIGTERM, and look how it ends" "exit 0, 0 left" "$END, $LEFT left"
}

@test "a worker that is killed is replaced, and takes only its own clients along" {
  likely "reap() and bury() know who it was; another takes its place"
  serve_with 2
  local victim first line
  # One connection to each: a worker that is stopped cannot accept.
  get /_stats
  victim=$(stat_of pid)
  connect mine
  printf 'GET /_stats HTTP/1.1\r\nHost: test\r\n\r\n' >&"$mine"
  while read -r -t "$(scaled 5)" -u "$mine" line && [[ $line != *'"pid"'* ]]; do :; done
  first=${line#*: } first=${first%%,*}
  while read -r -t "$(scaled 5)" -u "$mine" line && [[ $line != *']}'* ]]; do :; done
  for victim in $WORKERS; do [ "$victim" = "$first" ] || break; done
  kill -KILL "$victim"
  await "another has taken its place" replaced "$victim"
  printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$mine"
  read -r -t "$(scaled 5)" -u "$mine" line || :
  expect "kill one worker, and ask the other one on an old connection" 'HTTP/1.1 200 OK' \
    "${line%$'\r'}"
  exec {mine}>&-
  expect_body hello /hello.txt
  kill -KILL "$first"
  await "another has taken its place" replaced "$first"
  expect_body hello /hello.txt
}

replaced() { has_workers 2 && [[ " $WORKERS " != *" $1 "* ]]; }

# --- TODO 20: reload

@test "SIGHUP brings new workers with the new configuration" {
  likely "reload(): open the new site, start its workers, then SIGQUIT to the old"
  make_site
  mkdir "$BATS_TEST_TMPDIR/other"
  echo other >"$BATS_TEST_TMPDIR/other/hello.txt"
  printf 'root %s\nworkers 1\n' "$SITE" >"$BATS_TEST_TMPDIR/conf"
  start_server webserver -c "$BATS_TEST_TMPDIR/conf"
  await "it has a worker" has_workers 1
  local old=$WORKERS
  expect_body hello /hello.txt
  connect kept
  printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$kept"
  await "the old worker has answered" answered "$kept"
  printf 'root %s # another\nworkers 2\n' "$BATS_TEST_TMPDIR/other" >"$BATS_TEST_TMPDIR/conf"
  kill -HUP "$PID"
  await "new clients see the other site" sees other
  # The old worker owes its client one more answer, and says that it is the last.
  (printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$kept") || :
  HEAD=$(timeout "$(scaled 5)" cat <&"$kept") || :
  exec {kept}>&-
  expect_match "ask on the old connection, too" '^HTTP/1.1 200 OK.*hello' "$HEAD"
  expect "read Connection" close "$(field Connection)"
  await "the old worker has gone" replaced "$old"
}

# The answer has come, and is read.
answered() {
  local line
  read -r -t 1 -u "$1" line && [ "$line" = hello ]
}
sees() {
  get /hello.txt
  [ "$BODY" = "$1" ]
}

@test "a wrong configuration changes nothing, and is told with file and line" {
  likely "config_read() leaves *c alone unless all is well"
  make_site
  printf 'root %s\nworkers 1\n' "$SITE" >"$BATS_TEST_TMPDIR/conf"
  start_server webserver -c "$BATS_TEST_TMPDIR/conf"
  await "it has a worker" has_workers 1
  expect_body hello /hello.txt
  printf '# a comment\n\nroot %s\nthreads many\n' "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/conf"
  kill -HUP "$PID"
  await "it tells the line that is wrong" grep -q 'conf:4: threads: "many" is not' "$LOG"
  await "it says what it does" grep -q 'the configuration stays' "$LOG"
  expect_body hello /hello.txt
  # Old workers that do not go: when there is no place left, new ones are not begun.
  stop_server
  BIN=$PLAIN serve_with 64
  local n
  for n in 128 192 256; do
    # shellcheck disable=SC2046  # pids
    kill -STOP $(children "$PID")
    kill -HUP "$PID"
    await "there are $n workers" has_children "$n"
  done
  # shellcheck disable=SC2046
  kill -STOP $(children "$PID")
  kill -HUP "$PID"
  await "it says that there is no place" grep -q 'no place for 64' "$LOG"
  # shellcheck disable=SC2046
  kill -CONT $(children "$PID")
  await "the old workers have gone" has_children 64
  expect_body hello /hello.txt
}
has_children() { [ "$(children "$PID" | wc -w)" = "$1" ]; }

@test "20 reloads under load lose nothing" {
  likely "the listener stays open; an old worker gives each client one more answer"
  BIN=$PLAIN serve_with 2
  expect_body hello /hello.txt
  local i reloads first=$WORKERS
  for i in {1..20}; do
    kill -HUP "$PID"
    sleep 0.05
  done &
  reloads=$!
  for i in {1..15}; do
    tcp crowd 30 crowd-send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
      crowd-expect 'HTTP/1.1 200 OK\r\n'
  done
  wait "$reloads"
  await "none of the first workers is left" none_left "$first"
  tcp crowd 30 crowd-send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' \
    crowd-expect 'HTTP/1.1 200 OK\r\n'
}

none_left() {
  local pid now
  now=" $(children "$PID")"
  for pid in $1; do [[ $now != *" $pid "* ]] || return 1; done
}

@test "SIGQUIT ends it when every client has its answer" {
  likely "drain(): no new clients, and the old ones get what they asked for"
  serve_with 1
  random_file large 8000000
  connect slow
  printf 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' >&"$slow"
  await "the answer is under way" eval '[ "$(stat_of writing)" = 1 ]'
  kill -QUIT "$PID"
  await "it takes no new clients" eval '! (exec 9<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null'
  timeout "$(scaled 10)" cat <&"$slow" >"$BATS_TEST_TMPDIR/tcp" || :
  exec {slow}>&-
  expect_same_file large
  await "it has ended" ended "$PID"
  stop_server
  expect "look how it ended" "exit 0" "$END"
}

# --- TODO 21: the configuration file

@test "a configuration file says what the options say, and options count more" {
  likely "read_line() looks for the setting in the table, and set()s it"
  make_site
  printf '%s\n' '# a site' '' "root  $SITE   # here" 'workers 0' $'threads\t2' \
    'listing on' 'cache 1M' 'connections 50' >"$BATS_TEST_TMPDIR/conf"
  start_server webserver -c "$BATS_TEST_TMPDIR/conf" -t 5
  expect_body hello /hello.txt
  expect "read the number of threads, 2 in the file and 5 as option" 5 "$(stat_of threads)"
  get /_stats
  expect_match "read the limit of the cache" '"limit": 1048576' "$BODY"
  expect_match "read the limit of connections" '"limit": 50' "$BODY"
  expect_code 200 /empty/
  local line
  while read -r line; do
    printf 'workers 1\n%s\n' "$line" >"$BATS_TEST_TMPDIR/wrong"
    run_program webserver -c "$BATS_TEST_TMPDIR/wrong"
    expect "give it a file with \"$line\", and look at its exit status" 2 "$STATUS"
    expect_match "give it a file with \"$line\", and read stderr" "wrong:2: " "$ERR"
  done <<'LINES'
worker 4
workers
workers -1
workers 4x
port 65536
listing perhaps
cache 1T
root
LINES
  run_program webserver -d "$SITE" -p 0 -u no-such-user
  expect "give it a user that does not exist" "webserver: user no-such-user: there is none" "$ERR"
  expect "look at its exit status" 1 "$STATUS"
  run_program webserver -d "$SITE" -p 0 -l "$SITE/no/such/log"
  expect "give it a log that cannot be written" \
    "webserver: open $SITE/no/such/log: No such file or directory" "$ERR"
  run_program webserver -c "$SITE/nowhere"
  expect "give it a file that is not there" 2 "$STATUS"
  run_program webserver -c "$SITE"
  expect "give it a directory as file" 2 "$STATUS"
  printf 'workers 1\nroot %s\0/hidden\n' "$SITE" >"$BATS_TEST_TMPDIR/wrong"
  run_program webserver -c "$BATS_TEST_TMPDIR/wrong"
  expect "give it a file with a byte that is 0, and look at its exit status" 2 "$STATUS"
  expect_match "give it a file with a byte that is 0, and read stderr" "wrong:2: a byte that is 0" "$ERR"
}

@test "a directory without index can be listed" {
  likely "listing.c is given: see -i, and with_index()"
  serve -i
  : >"$SITE/empty/a<b>&\"c".txt
  : >"$SITE/empty/.hidden"
  mkdir "$SITE/empty/dir"
  get /empty/
  expect "read the status" 200 "$CODE"
  expect_match "read the page" 'href="./a%3Cb%3E%26%22c.txt">a&lt;b&gt;&amp;&quot;c.txt<' "$BODY"
  expect_match "read the page" 'href="./dir/">dir/<' "$BODY"
  [[ $BODY != *hidden* ]] || fail "read the page" "no hidden file" "$BODY"
  [[ $BODY != *"No more than"* ]] || fail "read the page" "nothing is left out" "$BODY"
  (cd "$SITE/empty" && seq 5001 | xargs touch)
  await "a page of 5,001 names says that it does not show all" eval \
    'get /empty/; [[ $BODY == *"No more than 5000 names"* ]]'
  expect_body '<h1>sub</h1>' /sub/
}

# --- TODO 22: limits

@test "with as many connections as it may have, the one idle longest makes room" {
  likely "has_room(): who is idle_longest() goes, and only for somebody who has come"
  serve -n 5
  expect_kept
  await "it has no client" has_no_client
  local client clients=() line i
  for i in 1 2 3 4 5; do
    connect client
    clients+=("$client")
    printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$client"
    read -r -t "$(scaled 5)" -u "$client" line || :
  done
  printf 'GET ' >&"${clients[0]}" # this one has begun to ask
  await "the first one's request has begun" has_begun
  expect_body hello /hello.txt # the sixth
  i=0
  timeout "$(scaled 5)" cat <&"${clients[1]}" >"$BATS_TEST_TMPDIR/second" || i=$?
  expect "read to the end of the second connection, idle longest (124: no end)" 0 "$i"
  printf '/hello.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' >&"${clients[0]}"
  line=$(timeout "$(scaled 5)" cat <&"${clients[0]}" | tail -c 6) || :
  expect "finish the request on the first one" hello "$line"
  for client in "${clients[@]}"; do exec {client}>&-; done
  # Who has asked is not idle, though nobody has looked at it yet.
  await "it has no client" has_no_client
  clients=()
  for i in 1 2 3 4; do
    connect client
    clients+=("$client")
    printf 'GET ' >&"$client"
  done
  tcp crowd 20 crowd-send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' \
    crowd-expect 'HTTP/1.1 200 OK\r\n'
  for client in "${clients[@]}"; do exec {client}>&-; done
}

@test "a worker that is full leaves new clients to those that have room" {
  likely "has_room(): nobody goes while stats_have_room() says that another worker can take the client"
  local first second third leaves line
  serve_with 2 -n 1
  for leaves in first second; do
    await "no client is left" eval '[ "$(accepted)" = 0 ]'
    connect first
    connect second
    printf 'GET ' >&"$first"
    printf 'GET ' >&"$second"
    await "two requests have begun, one at each worker" has_begun
    connect third
    printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' >&"$third"
    sleep 0.2 # so that a worker that cannot take it has heard of it
    eval "exec {$leaves}>&-"
    line=''
    read -r -t "$(scaled 5)" -u "$third" line || :
    expect "let a third client come to two places, and the $leaves one go" 'HTTP/1.1 200 OK' \
      "${line%$'\r'}"
    exec {third}>&-
    if [ $leaves = first ]; then exec {second}>&-; else exec {first}>&-; fi
  done
  stop_server
  serve_with 2 -n 10
  await "no client is left" eval '[ "$(accepted)" = 0 ]'
  local client clients=()
  for _ in {1..15}; do # one after the other: each wakes up the same worker
    connect client
    clients+=("$client")
    printf 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' >&"$client"
    read -r -t "$(scaled 5)" -u "$client" line || :
    [ ${#clients[@]} -ne 10 ] || sleep 0.2 # now they are idle
  done
  get /_stats
  expect_match "let 15 clients come to two workers with ten places each" '"refused": 0' "$BODY"
  for client in "${clients[@]}"; do exec {client}>&-; done
}
has_no_client() { [ "$(fd_kinds "$PID" | grep -c socket:)" = 1 ]; } # the listener
# There is no room for a client that asks; but what is read is in no queue any more.
has_begun() {
  local port
  port=$(printf ':%04X$' "$PORT")
  awk -v port="$port" '$2 ~ port && $4 == "01" && $5 !~ /:00000000$/ { n++ }
    END { exit n > 0 }' /proc/net/tcp
}
accepted() { # connections of the server, those included that the client has closed
  awk -v port="$(printf ':%04X$' "$PORT")" '$2 ~ port && $4 ~ /^0[18]$/ { n++ }
    END { print n + 0 }' /proc/net/tcp
}

@test "an idle client costs next to no memory" {
  likely "buffers go back as soon as there is nothing in them: server_settle()"
  BIN=$PLAIN LIMITS='-n 9000' serve
  expect_kept
  local before after
  before=$(rss)
  "$TOOLS/tcp" "$PORT" crowd 2000 crowd-send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n' \
    crowd-expect 'HTTP/1.1 200 OK\r\n' on a connect silence 20000 >"$BATS_TEST_TMPDIR/tcp" 2>&1 3>&- 4>&- &
  await "2000 clients have their answer" eval '[ "$(fds "$PID")" -gt 2000 ]'
  await "they are idle, all but the one that asks" eval '[ "$(stat_of idle)" -ge 2001 ]'
  after=$(rss)
  kill $!
  wait $! || :
  [ $((after - before)) -le 3000 ] ||
    fail "open 2000 connections, and look how much memory they take" \
      "at most 1.5 KB each" "$((after - before)) KB for all"
}
rss() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$PID/status"; }

# --- TODO 23: powers

@test "a worker has given up what it does not need" {
  likely "harden(): another user, no capabilities, no new privileges"
  [ "$(id -u)" = 0 ] || skip "only root can become another user"
  BIN=$PLAIN serve_with 1 -u nobody
  expect_body hello /hello.txt
  local status
  status=$(cat "/proc/${WORKERS% }/status")
  expect "read the user of the worker" "$(id -u nobody)" \
    "$(awk '$1 == "Uid:" { print $3 }' <<<"$status")"
  expect "read its group" "$(id -g nobody)" "$(awk '$1 == "Gid:" { print $3 }' <<<"$status")"
  expect "read its other groups" "" "$(awk '$1 == "Groups:" { print $2 }' <<<"$status")"
  expect "read its capabilities" 0000000000000000 \
    "$(awk '$1 == "CapEff:" { print $2 }' <<<"$status")"
  expect "read NoNewPrivs" 1 "$(awk '$1 == "NoNewPrivs:" { print $2 }' <<<"$status")"
  echo SECRET >"$SITE/private.txt"
  chmod 600 "$SITE/private.txt"
  expect_code 403 /private.txt
}

@test "a worker can open nothing outside of its site" {
  likely "confine(): Landlock allows what lies beneath the root, and nothing else"
  [ "$("$TOOLS/confine" -k)" -gt 0 ] || skip "this kernel has no Landlock, or does not allow it"
  local outside=$BATS_TEST_TMPDIR/outside.txt
  echo SECRET >"$outside"
  chmod 755 "$BATS_TEST_TMPDIR"
  FAULTS="read:reach=$outside:fd=sock:when=1 read:reach=$BATS_TEST_TMPDIR/site/hello.txt:fd=sock:when=1" BIN=$PLAIN serve_with 1
  expect_body hello /hello.txt
  expect "have the worker open a file outside, which everybody may read, and one of the site" \
    "reach $outside: Permission denied
reach $SITE/hello.txt: open" "$(grep ^reach "$BATS_TEST_TMPDIR/faults.log")"
}

@test "hostile clients leave nothing behind" {
  likely "every way that a connection can end has to give everything back"
  serve -k 2 -r 2
  expect_kept
  random_file large 3000000
  tcp send 'HEAD /large HTTP/1.1\r\nHost: test\r\n\r\n' response-to-head close
  await "that client is gone" one_fd_per large
  local before round
  before=$(fds "$PID")
  for round in 1 2 3; do
    tcp rcvbuf 4096 crowd 40 crowd-send 'GET /large HTTP/1.1\r\nHost: test\r\n\r\n' crowd-reset \
      crowd 40 crowd-send 'GET / HT' crowd-close \
      crowd 40 crowd-send 'POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab' crowd-reset \
      crowd 40 crowd-send '\x16\x03\x01\x00\xff' crowd-close \
      crowd 40 crowd-send 'GET /nothing HTTP/1.1\r\nHost: test\r\n\r\nGET /large HTTP/1.1\r\nHost: test\r\nRange: bytes=0-5,9-,-7\r\n\r\n' crowd-reset
  done
  await "it has $before descriptors again" has_descriptors "$before"
  expect_body hello /hello.txt
  stop_server
  expect "send SIGTERM (the sanitizer looks for leaks), and look how it ends" "exit 0" "$END"
}

# misbehave N: N clients of each kind, some of them well-behaved, come and go.
misbehave() {
  local get='GET /f%s HTTP/1.1\r\nHost: test\r\n\r\n' i requests=''
  for i in {1..20}; do requests+=${get/\%s/$((RANDOM % 300))}; done
  # shellcheck disable=SC2046  # 20 words
  tcp crowd "$1" crowd-send 'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\nGET / HT' crowd-close \
    crowd "$1" crowd-send 'GET /large HTTP/1.1\r\nHost: test\r\nRange: bytes=5-99999\r\n\r\n' crowd-reset \
    crowd "$1" crowd-send 'POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab' crowd-reset \
    crowd "$1" crowd-send 'GET /nothing HTTP/1.1\r\n\r\n' crowd-expect 'HTTP/1.1 400' crowd-close \
    connect send "$requests" $(printf 'response %.0s' {1..20})
}

@test "under mixed load neither memory nor descriptors grow" {
  likely "something is kept for each client, or each request, and never used again"
  # As long as MIXED_SECONDS says, 15 rounds at least. make test FULL=1: a minute.
  # One heap for all threads: several grow for a while, for no fault of the server.
  export MALLOC_ARENA_MAX=1
  BIN=$PLAIN serve -k 2 -r 2 -m 1M
  local i before memory round=0 end=$((SECONDS + ${MIXED_SECONDS:-0}))
  random_file large 100000
  for i in {0..299}; do random_file "f$i" $((25 * i)); done
  for i in {1..25}; do misbehave 100; done # until caches and spare buffers are full
  await "all clients are gone" eval '[ "$(stat_of open)" = 1 ]'
  memory=$(rss)
  before=$(fds "$PID")
  until ((round++ >= 15 && SECONDS >= end)); do misbehave 100; done
  await "all clients are gone" eval '[ "$(stat_of open)" = 1 ]'
  ((before + 1 >= $(fds "$PID"))) || # the large file may have left the cache, and be back
    fail "have clients misbehave for $round rounds, and count the descriptors" \
      "at most $((before + 1)), as before" "$(fds "$PID")"
  (($(rss) - memory <= 800 + 2 * round)) || # memory is in more pieces with time
    fail "have clients misbehave for $round rounds, 400 each, and see how much its memory grows" \
      "at most $((800 + 2 * round)) KiB" "$(($(rss) - memory)) KiB"
}

# --- TODO 24: the log

@test "the access log has a line for each answer, in the combined format" {
  likely "log_answer(): what a client has sent goes through put_escaped()"
  local log=$BATS_TEST_TMPDIR/access.log
  serve -l "$log"
  get '/hello.txt?a=b' 'Referer: http://test/\r\nUser-Agent: agent "x" \\\\ \t\xff\r\n'
  get /nothing
  ask send 'HEAD /hello.txt HTTP/1.0\r\n\r\n' response-to-head
  ask send 'BAD\r\n\r\n' response
  await "the log has four lines" eval '[ "$(wc -l <"$log")" -eq 4 ]'
  local time='\[[0-9]{2}/[A-Z][a-z]{2}/20[0-9]{2}:[0-9:]{8} \+0000\]'
  expect_match "read the first line" \
    "^127\\.0\\.0\\.1 - - $time \"GET /hello.txt\\?a=b HTTP/1.1\" 200 6 \"http://test/\" \"agent " \
    "$(sed -n 1p "$log")"
  expect_match "read how the quote in User-Agent is written" 'agent \\x22x\\x22 \\x5c' \
    "$(sed -n 1p "$log")"
  expect_match "read the second line" '"GET /nothing HTTP/1.1" 404 [1-9][0-9]* "-" "-"$' \
    "$(sed -n 2p "$log")"
  expect_match "read the third line" '"HEAD /hello.txt HTTP/1.0" 200 0 "-" "-"$' \
    "$(sed -n 3p "$log")"
  expect_match "read the fourth line" '"-" 400 [1-9][0-9]* "-" "-"$' "$(sed -n 4p "$log")"
  # Nobody may hide behind a flood of his own requests.
  local i many=''
  for i in {1..700}; do many+='GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n'; done
  # shellcheck disable=SC2046  # 700 words
  tcp send "$many" $(printf 'response %.0s' {1..700})
  await "700 requests in one piece add 700 lines" eval '[ "$(wc -l <"$log")" -eq 704 ]'
}
