# Tests of the pages in a browser: the server of stage 14 serves them, headless Chromium shows
# them. Nothing may err, and the scope has to move.
bats_require_minimum_version 1.5.0

setup() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  BROWSER=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    skip "no Chromium (apt-get install chromium)"
  command -v curl >/dev/null || skip "no curl (apt-get install curl)"
  [ -d solutions ] || skip "the server is built from solutions/"
  cp -r solutions/14-web-server "$BATS_TEST_TMPDIR/server"
  cp -r www "$BATS_TEST_TMPDIR"
  make -s -C "$BATS_TEST_TMPDIR/server"
  exec {out}< <(exec timeout 100 "$BATS_TEST_TMPDIR/server/webserver" -p 0 -d "$BATS_TEST_TMPDIR/www" 3>&- 4>&-)
  SERVER=$!
  read -r -t 10 -u "$out" line
  SITE=http://127.0.0.1:${line##*:}
}

teardown() { [ -z "${SERVER:-}" ] || kill "$SERVER" 2>/dev/null || :; }

# look PAGE [OPTIONS]: DOM is the page as it is after some (virtual) seconds.
look() {
  local page=$1
  shift
  timeout 90 "$BROWSER" --headless --no-sandbox --disable-gpu --virtual-time-budget=5000 \
    --user-data-dir="$BATS_TEST_TMPDIR/profile" --enable-logging=stderr --dump-dom "$@" \
    "$SITE/$page" >"$BATS_TEST_TMPDIR/dom" 2>"$BATS_TEST_TMPDIR/browser.log" 3>&- 4>&-
  DOM=$(<"$BATS_TEST_TMPDIR/dom")
}

number() { # ID: the number that stands in the element
  grep -oE "id=\"$1\"[^>]*>[0-9.]+" "$BATS_TEST_TMPDIR/dom" | grep -oE '[0-9.]+$'
}

@test "each page loads without an error" {
  local page
  for page in index.html scope.html bench.html errors/404.html; do
    look "$page"
    [[ $DOM == *'</html>'* ]]
    # What has not been measured yet is not there, and the page says so.
    run ! grep 'CONSOLE' <(grep -v 'bench/' "$BATS_TEST_TMPDIR/browser.log")
  done
}

@test "the scope shows what the server does, and moves under load" {
  look scope.html
  [[ $DOM == *'data-live="yes"'* ]]
  [ "$(number open)" -ge 1 ]
  local before load
  before=$(curl -s "$SITE/_stats" | grep -oE '"answered": [0-9]+' | head -n 1 | grep -oE '[0-9]+')
  for _ in {1..500}; do printf 'url = %s/\noutput = /dev/null\n' "$SITE"; done >"$BATS_TEST_TMPDIR/urls"
  while curl -s -K "$BATS_TEST_TMPDIR/urls" 2>/dev/null; do :; done 3>&- 4>&- &
  load=$!
  look scope.html
  kill "$load"
  [ "$(number turns)" -ge 1 ]
  [[ $(number hits) == 9* || $(number hits) == 100* ]]
  [ "$(curl -s "$SITE/_stats" | grep -oE '"answered": [0-9]+' | head -n 1 | grep -oE '[0-9]+')" \
    -ge $((before + 500)) ]
}

# probe PAGE OPTIONS: what a page measures in a frame that is as wide as a phone.
probe() {
  local page=$1
  shift
  cat >"$BATS_TEST_TMPDIR/www/probe.html" <<END
<!doctype html><iframe id="f" src="$page" width="390" height="800"></iframe><p id="wide"><p id="paper">
<script>document.getElementById('f').onload = e => {
  const page = e.target.contentDocument;
  document.getElementById('wide').textContent = page.documentElement.scrollWidth;
  document.getElementById('paper').textContent =
    getComputedStyle(page.body).backgroundColor.match(/[0-9]+/)[0];
}</script>
END
  look probe.html "$@"
}

@test "no page is wider than a phone, and in the dark all are dark" {
  local page
  for page in index.html scope.html bench.html errors/404.html errors/503.html; do
    probe $page
    [ "$(number wide)" -le 390 ]
    [ "$(number paper)" -gt 200 ]
    probe $page --blink-settings=preferredColorScheme=0
    [ "$(number paper)" -lt 60 ]
  done
}
