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

# Of each hint its TODO, its number, and the code in it: in the order of the alphabet,
# for Korean puts the verb last.
hints() { # FILE.md
  awk '/^## / { todo = $0; print; next }
       /^[0-9]\. / {
         code = split($0, part, "`")
         if (code % 2 == 0) print "an odd number of `", NR
         for (i = 2; i < code; i += 2) print todo, $1, part[i]
         print todo, $1 }' "$1" | sort
}

@test "the hints in Korean are for the same TODOs, as many, and show the same code" {
  local file
  diff <(cd handouts/hints && ls) <(cd handouts/ko/hints && ls)
  for file in handouts/ko/hints/*.md; do
    diff <(hints "handouts/hints/${file##*/}") <(hints "$file") || { echo "^ $file"; return 1; }
  done
}

@test "the Korean edition is in Korean" {
  local file
  for file in handouts/ko/*.md handouts/ko/hints/*.md README.ko.md; do
    [ "$(LC_ALL=C.UTF-8 grep -cP '\p{Hangul}' "$file")" -gt 10 ] || { echo "$file"; return 1; }
  done
}
