# Tests for the pages in www/: what they claim is true, and they need nobody else.
bats_require_minimum_version 1.5.0

# In a copy, as what pages link to is made from handouts/ by `make run`.
setup_file() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  cp -r www handouts scripts labs "$BATS_FILE_TMPDIR"
  "$BATS_FILE_TMPDIR/scripts/pages"
}

setup() { cd "$BATS_FILE_TMPDIR" || return; }

@test "the landing page shows the stages that there are" {
  diff <(sed -n 's/.*data-stage="\([^"]*\)".*/\1/p' www/index.html) <(cd labs && printf '%s\n' [0-9]*)
}

@test "a page loads nothing from another site" {
  run ! grep -nE '(src|href|data|action)="(https?:)?//|@import|url\((https?:)?//' www/*.html www/*.css
}

@test "what a page links to is there" {
  local page link
  for page in www/*.html; do
    while read -r link; do
      [ "$link" = _stats ] || [ -e "www/${link#/}" ] || { echo "$page: no $link"; return 1; }
    done < <(grep -oE '(src|href)="[^"#]+"' "$page" | sed 's/.*="//; s/[?"].*//')
  done
}
