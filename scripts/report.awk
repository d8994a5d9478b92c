# Turns the output of bats (--formatter cat --timing) into a report for a person
# and into the neutral result file. First file: tests/points. Then: the stream.
#   stage, build, source, env   what was tested          json  file to write
#   all=1     show every failure in full                 filter  names chosen
#   error=... nothing could be run; the stream says why
#
# The result file, one line per test so that it can be read with sed as well:
#   {"schema":"lab-result/1","stage","build","env","points","max","skipped",
#    "status","tests":[{"id","status","points","max","todo","title","message",
#    "expected","actual","repro","cause","hint","duration_ms"}]}
# status: pass, fail, skip, timeout, or error (it could not run). Points come
# from the verdict of bats alone: nothing that a program prints can change them.

# s without what is no UTF-8, or no character: JSON and XML have room for neither.
function utf8(s,    out) {
    while (s != "") {
        if (match(s, /^([\001-\177]|[\302-\337][\200-\277]|\340[\240-\277][\200-\277]|[\341-\354\356][\200-\277][\200-\277]|\355[\200-\237][\200-\277]|\357[\200-\276][\200-\277]|\357\277[\200-\275]|\360[\220-\277][\200-\277][\200-\277]|[\361-\363][\200-\277][\200-\277][\200-\277]|\364[\200-\217][\200-\277][\200-\277])+/)) {
            out = out substr(s, 1, RLENGTH)
            s = substr(s, RLENGTH + 1)
        } else {
            out = out "?"
            s = substr(s, 2)
        }
    }
    return out
}

function text(s) { # a JSON string
    if (s ~ /[\200-\377]/)
        s = utf8(s)
    gsub(/\\/, "&&", s)
    gsub(/"/, "\\\"", s)
    gsub(/\t/, "\\t", s)
    gsub(/\n/, "\\n", s)
    gsub(/[\001-\037\177]/, "?", s)
    return "\"" s "\""
}

function member(key, value) {
    return "," text(key) ":" value
}

# The labelled line `label: value` of a message, continuation lines included.
function field(message, label,    n, lines, i, value, in_it) {
    n = split(message, lines, "\n")
    for (i = 1; i <= n; i++) {
        if (index(lines[i], label ":") == 1) {
            value = substr(lines[i], length(label) + 2)
            sub(/^ +/, "", value)
            in_it = 1
        } else if (in_it && lines[i] ~ /^          /) {
            value = value "\n" substr(lines[i], 11)
        } else if (in_it) {
            break
        }
    }
    return value
}

# Where the learner's TODO stands: "echo.c:93" if its comment is still there.
function place(todo,    cmd, line) {
    cmd = "cd " source "/" stage " 2>/dev/null && grep -n 'TODO " todo ":' *.[ch] /dev/null"
    cmd | getline line
    close(cmd)
    if (match(line, /^[^:]+:[0-9]+/))
        return source "/" stage "/" substr(line, 1, RLENGTH)
    return source "/" stage
}

# The TODO whose code, or whose function, has this line of the learner's; 0: none.
function todo_at(file, line,    path, code, n, t) {
    path = source "/" stage "/" file
    while (n++ < line && (getline code < path) > 0) {
        if (code ~ /^}/)
            t = 0
        if (match(code, /TODO [0-9]+: /))
            t = substr(code, RSTART + 5, RLENGTH - 7) + 0
    }
    close(path)
    return t
}

# Where a sanitizer says that the program crashed: "#1 0x55 in turn /x/echo.c:93"
function crashed(id,    n, lines, i, at, t) {
    n = split(why[id], lines, "\n")
    for (i = 1; i <= n && !t; i++)
        if (lines[i] ~ / #[0-9]+ 0x|runtime error:/ &&
            match(lines[i], /[a-z_0-9]+\.[ch]:[0-9]+/)) {
            split(substr(lines[i], RSTART, RLENGTH), at, ":")
            t = todo_at(at[1], at[2])
        }
    return t
}

# A stub that ended the program has said which TODO it stands for. A crash or a
# missing ready line is not the fault of the test that happened to meet it.
function blamed(id,    t) {
    if (match(why[id], /TODO [0-9]+ is not done/))
        return substr(why[id], RSTART + 5, RLENGTH - 17) + 0
    if ((t = crashed(id)))
        return t
    if (why[id] ~ /actual: +(no ready line|first line was)/ && (number ".ready") in todo)
        return todo[number ".ready"]
    return todo[id]
}

function advice(id,    t) {
    t = blamed(id)
    return sprintf("todo:     TODO %d, %s\nread:     handouts/%s.md, \"TODO %d\"\n" \
                   "hint:     make hint STAGE=%s TODO=%d",
                   t, place(t), stage, t, number, t)
}

function show(id, mark,    n, lines, i, message) {
    printf "  %-7s %3d  %s\n", mark, max[id], title[id]
    if (status[id] == "pass")
        return
    if (status[id] == "skip") {
        print "               " why[id]
        return
    }
    if (shown && !all)
        return
    shown = 1
    message = why[id] (error ? "" : advice(id))
    n = split(message, lines, "\n")
    for (i = 1; i <= n; i++)
        if (!(lines[i] ~ /^cause: / && message ~ /TODO [0-9]+ is not done/))
            print "               " lines[i]
}

function settle() { # the test of the last verdict line has said all it has to say
    if (current == "")
        return
    show(current, status[current] == "pass" ? "pass" : \
                  status[current] == "skip" ? "skip" : "FAIL")
    current = ""
}

BEGIN {
    number = substr(stage, 1, 2)
    printf "\n%s, %s build of %s\n\n", stage, build, source
}

FNR == NR { # tests/points
    if ($0 ~ /^ *(#|$)/ || substr($1, 1, 3) != number ".")
        next
    id = $1
    order[++count] = id
    max[id] = $2
    todo[id] = $3
    line = $0
    sub(/^ *[^ ]+ +[^ ]+ +[^ ]+ +/, "", line)
    title[id] = line
    by_title[line] = id
    status[id] = line ~ filter ? "error" : "left out"
    next
}

error {
    noise = noise $0 "\n"
    next
}

/^begin [0-9]+ / {
    settle()
    next
}

/^(ok|not ok) [0-9]+ / {
    settle()
    good = /^ok /
    line = $0
    sub(/^(not )?ok [0-9]+ /, "", line)
    ms = 0
    if (match(line, / in [0-9]+ms/)) {
        ms = substr(line, RSTART + 4, RLENGTH - 6) + 0
        reason = substr(line, RSTART + RLENGTH)
        line = substr(line, 1, RSTART - 1)
    } else {
        reason = line
        sub(/ # (skip|timeout).*/, "", line)
        reason = substr(reason, length(line) + 1)
    }
    if (!(line in by_title)) {
        noise = noise $0 "\n"
        next
    }
    id = current = by_title[line]
    took[id] = ms
    status[id] = good ? "pass" : "fail"
    if (good && reason ~ /# skip/) {
        status[id] = "skip"
        sub(/.*# skip ?/, "", reason)
        why[id] = reason
    } else if (!good && reason ~ /# timeout/) {
        status[id] = "timeout"
        why[id] = "actual:   the test did not end within its time limit\n"
    }
    next
}

/^# / {
    line = substr($0, 3)
    if (line ~ /^(\(| )(in test file|from function) |^ *in test file |^  `.*' failed/)
        next # where in the bats file: of use to nobody who writes a server
    if (current != "")
        why[current] = why[current] line "\n"
    else
        noise = noise line "\n"
}

END {
    settle()
    for (i = 1; i <= count; i++) {
        id = order[i]
        if (status[id] == "left out")
            continue
        if (status[id] == "error") {
            why[id] = error ? "actual:   " error "\n" : "actual:   the test gave no result\n"
            if (error != "" || noise != "")
                why[id] = why[id] "log:\n" noise
            if (!error)
                show(id, "ERROR")
        }
        total += max[id]
        if (status[id] == "pass")
            points += max[id]
        else if (status[id] == "skip")
            skipped += max[id]
        else if (!next_todo || blamed(id) < next_todo)
            next_todo = blamed(id)
    }
    if (error)
        printf "  %s:\n\n%s\n", error, noise
    left = total - points - skipped

    printf "{\"schema\":\"lab-result/1\"%s%s%s%s%s%s%s,\"tests\":[\n",
        member("stage", text(stage)), member("build", text(build)),
        member("env", text(env)), member("points", points + 0),
        member("max", total + 0), member("skipped", skipped + 0),
        member("status", text(left ? "fail" : "pass")) > json
    for (i = 1; i <= count; i++) {
        id = order[i]
        if (status[id] == "left out")
            continue
        printf "%s{\"id\":%s%s%s%s%s%s%s%s%s%s%s%s%s}", comma, text(id),
            member("status", text(status[id])),
            member("points", status[id] == "pass" ? max[id] : 0),
            member("max", max[id]), member("todo", blamed(id)),
            member("title", text(title[id])), member("message", text(why[id])),
            member("expected", text(field(why[id], "expected"))),
            member("actual", text(field(why[id], "actual"))),
            member("repro", text(field(why[id], "repeat"))),
            member("cause", text(field(why[id], "cause"))),
            member("hint", text("make hint STAGE=" number " TODO=" blamed(id))),
            member("duration_ms", took[id] + 0) > json
        comma = ",\n"
    }
    print "\n]}" > json

    bar = sprintf("%*s", total ? int(30 * points / total) : 0, "")
    gsub(/ /, "#", bar)
    printf "\n  %d of %d points  [%-30s]%s\n", points, total - skipped, bar,
        skipped ? "  (" skipped " more skipped)" : ""
    if (left) {
        printf "  next: TODO %d, %s\n", next_todo, place(next_todo)
        printf "        read handouts/%s.md, \"TODO %d\";  make hint STAGE=%s TODO=%d\n",
            stage, next_todo, number, next_todo
    }
    exit left != 0
}
