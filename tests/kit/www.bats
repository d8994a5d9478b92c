# Tests for the pages in www/: what they claim is true, and they need nobody else.
bats_require_minimum_version 1.5.0

setup() { cd "$BATS_TEST_DIRNAME/../.." || return; }

@test "the landing page shows the stages that exist as such, and no others" {
  local stage state
  while read -r stage state; do
    if [ -e "labs/$stage/Makefile" ]; then
      [ "$state" = here ] || { echo "$stage exists, but the page says: $state"; return 1; }
    else
      [ "$state" = planned ] || { echo "there is no $stage, but the page says: $state"; return 1; }
    fi
  done < <(sed -n 's/.*data-stage="\([^"]*\)" data-state="\([^"]*\)".*/\1 \2/p' www/index.html)
  run -0 grep -c 'data-stage="' www/index.html
  [ "$output" = 14 ]
  for stage in $(cd labs && echo [0-9]*); do
    grep -q "data-stage=\"$stage\"" www/index.html || { echo "$stage is not on the page"; return 1; }
  done
}

@test "a page loads nothing from another site" {
  run ! grep -nE '(src|href|data|action)="(https?:)?//|@import|url\((https?:)?//' www/*.html www/*.css
}

@test "what a page links to is there" {
  local page link
  [ -e www/handouts/index.html ] || scripts/pages # what `make run` makes
  for page in www/*.html; do
    while read -r link; do
      [ -e "www/${link#/}" ] || { echo "$page: no $link"; return 1; }
    done < <(grep -oE '(src|href)="[^"#]+"' "$page" | sed 's/.*="//; s/[?"].*//')
  done
}
