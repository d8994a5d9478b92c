# What the scripts share. They source it from the top of the tree, after set -eu.
# shellcheck shell=bash

# --- messages: see scripts/messages.en

# shellcheck source=scripts/messages.en
. scripts/messages.en
if [ -f "scripts/messages.${LAB_LANG:-en}" ]; then
  # shellcheck source=scripts/messages.en
  . "scripts/messages.${LAB_LANG:-en}"
fi

say() { # KEY [ARGS]
  local format=m_$1
  shift
  # shellcheck disable=SC2059  # that is what a catalogue of messages is
  printf "${!format}\n" "$@"
}

die() { # KEY [ARGS]
  printf '%s: ' "${0##*/}" >&2
  say "$@" >&2
  exit 2
}

# It multiplies every deadline, in sums of the shell, which know whole numbers only.
[[ ${TIMEOUT_FACTOR:-1} =~ ^[1-9][0-9]{0,2}$ ]] ||
  die bad_value TIMEOUT_FACTOR "$TIMEOUT_FACTOR" "$(say whole_number)"

# TEXT, cut or padded to COLUMNS of a terminal, of which a Korean letter takes two.
fit() { # TEXT COLUMNS
  local text=$1 columns
  while columns=$(LC_ALL=C.UTF-8 wc -L <<<"$text"); [ "$columns" -gt "$2" ]; do
    text=${text%..}
    text=${text%?}..
  done
  printf '%s%*s' "$text" $(($2 - columns)) ''
}

# Colours are for people who look at a terminal and have not asked for none.
bold='' green='' red='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
fi
export bold green red dim plain

# --- stages

# Where GIVEN files and Makefiles come from that nobody has edited: solutions/,
# or in a tree that was handed out without them, the copies beside the tests.
reference=solutions
[ -d solutions ] || reference=tests/starters
[ -d $reference ] || reference=labs

# What the Makefiles of the stages say, which may go on after a backslash:
# "${of[01-blocking-echo YOURS]}" are the files that the learner writes there.
declare -A of=()
while read -r stage name value; do
  of[$stage $name]=$value
done < <(awk '{ $0 = held $0; held = "" }
  sub(/\\$/, "") { held = $0; next }
  /^(YOURS|GIVEN) *:=/ {
    folders = split(FILENAME, folder, "/")
    name = substr($0, 1, 5)
    sub(/^[^=]*=/, "")
    print folder[folders - 1], name, $0
  }' "$reference"/[0-9]*/Makefile)

# The stages of the lab: those whose tests have points.
stages() {
  local stage
  for stage in "$reference"/[0-9]*; do
    stage=${stage##*/}
    [[ -z ${points_of[${stage%%-*}]:-} ]] || echo "$stage"
  done
}
declare -A points_of=()
while read -r number points; do
  points_of[$number]=$points
done < <(awk '/^[0-9]/ { n[substr($1, 1, 2)] += $2 } END { for (i in n) print i, n[i] }' tests/points)

# The stage that a person calls 1, 01 or 01-blocking-echo; fails if there is none.
stage_called() { # NAME
  local stage number=$1
  [[ $number != [0-9] ]] || number=0$number
  for stage in $(stages); do
    if [[ $stage == "$number" || $stage == "$number"-* ]]; then
      echo "$stage"
      return
    fi
  done
  return 1
}

# The latest earlier stage that lists FILE as YOURS; else the first that has it.
owner() { # STAGE FILE
  local stage first='' yours=''
  for stage in $(cd "$reference" && echo [0-9]*); do
    [[ $stage < $1 ]] || break
    [[ " ${of[$stage YOURS]} " != *" $2 "* ]] || yours=$stage
    [[ " ${of[$stage GIVEN]} " != *" $2 "* ]] || first=${first:-$stage}
  done
  echo "${yours:-${first:-$1}}"
}

# handouts/FILE, in the language of LAB_LANG if it has been translated.
handout() { # FILE
  local translated=handouts/${LAB_LANG:-en}/$1
  if [ -f "$translated" ]; then echo "$translated"; else echo "handouts/$1"; fi
}

title() { # STAGE: "01: A blocking echo server"
  sed -n '1s/^# *//p' "$(handout "$1.md")" 2>/dev/null | grep . || echo "$1"
}

# --- what the learner has done

# Sets handed_out to the folder with the starters as they were handed out. With
# solutions at hand it is made from them, and anew when they have changed.
find_handed_out() {
  handed_out=$reference
  [ "$reference" = solutions ] || return 0
  handed_out=build/starters
  if [ ! -e build/starters/.made ] || [ -n "$(find solutions scripts/starters \
    scripts/strip.awk tests/points -newer build/starters/.made -print -quit)" ]; then
    scripts/starters -o build/starters
    touch build/starters/.made
  fi
}

untouched() { # STAGE: are its YOURS files as in handed_out?
  local file
  for file in ${of[$1 YOURS]}; do
    cmp -s "$handed_out/$1/$file" "labs/$1/$file" || return
  done
}

edited_since() { # STAGE FILE: has a file of the stage changed after FILE was written?
  local file
  for file in ${of[$1 YOURS]}; do
    [ ! "labs/$1/$file" -nt "$2" ] || return 0
  done
  return 1
}

# A number or text of the first line of a result file.
result() { # FILE KEY; nothing if there is no such file
  [ ! -f "$1" ] || sed -n "1s/.*\"$2\":\"\{0,1\}\([^\",]*\).*/\1/p" "$1"
}
complete() { # STAGE: did everything pass at its last check?
  [ "$(result "build/check/$1.json" status)" = pass ] && ! untouched "$1"
}

# The stage to work on: what was edited last, if it is not complete; else the
# first that is not. Nothing when all are.
current_stage() {
  local stage file newest='' first='' mine=''
  for stage in $(stages); do
    ! complete "$stage" || continue
    first=${first:-$stage}
    ! untouched "$stage" || continue
    for file in ${of[$stage YOURS]}; do
      if [ -z "$newest" ] || [ "labs/$stage/$file" -nt "$newest" ]; then
        newest=labs/$stage/$file mine=$stage
      fi
    done
  done
  echo "${mine:-$first}"
}

# The TODO to do next in a stage: what its last check says, else the first. 0:
# what stops it is not a TODO.
next_todo() { # STAGE
  if untouched "$1"; then echo 1; return; fi
  result "build/check/$1.json" next_todo | grep . || echo 1
}
