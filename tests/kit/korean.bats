# Tests for the Korean edition: it says what the English one says.
bats_require_minimum_version 1.5.0

setup() { cd "$BATS_TEST_DIRNAME/../.." || return; }

# What no translation changes: sections, TODOs, blocks of code, and the ids of tests.
skeleton() { # FILE.md
  awk '/^```/ { code = !code; print; next }
       code { sub(/  +# .*/, ""); print; next } # comments may be translated
       /^## / && /What you will build|Before you begin|Predict before|Tasks|How it is tested|When it goes wrong|Measure it|still missing|Questions|Read next/ { print; next }
       match($0, /^### TODO [0-9]+:/) { print substr($0, 1, RLENGTH); next }
       /^#/ { print "heading"; next }
       /^<details>/ { print "question" }
       { line = $0
         while (match(line, /(^|[^0-9a-z.])[01][0-9]\.[a-z][a-z0-9-]+/)) {
           id = substr(line, RSTART, RLENGTH)
           sub(/^[^0-9]/, "", id)
           print id
           line = substr(line, RSTART + RLENGTH) } }' "$1"
}

@test "every handout has a Korean one, and no other" {
  diff <(cd handouts && ls *.md) <(cd handouts/ko && ls *.md)
}

@test "a Korean handout has the sections, the TODOs, the code and the tests of the English one" {
  local file
  for file in handouts/ko/*.md; do
    diff <(skeleton "handouts/${file##*/}") <(skeleton "$file") || { echo "^ $file"; return 1; }
  done
}

@test "a Korean handout is in Korean" {
  local file
  for file in handouts/ko/*.md README.ko.md; do
    [ "$(LC_ALL=C.UTF-8 grep -cP '\p{Hangul}' "$file")" -gt 20 ] || { echo "$file"; return 1; }
  done
}
